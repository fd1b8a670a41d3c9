"""Lengths of time as an operator types them: ``12h``, ``7d``."""

from __future__ import annotations

import argparse
import re

_UNITS_MS = {"min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_LONGEST_MS = 100 * 366 * 86_400_000

SAYS = "a number of min, h, d or w such as 12h or 7d, up to a hundred years"


def duration_ms(text: str) -> int:
    """For argparse: the length of time in ms, at least a minute."""
    match = re.fullmatch(r"([0-9]{1,8})(min|h|d|w)", text)
    length_ms = int(match[1]) * _UNITS_MS[match[2]] if match else 0
    if not 0 < length_ms <= _LONGEST_MS:
        raise argparse.ArgumentTypeError(f"{text!r} is not {SAYS}")
    return length_ms

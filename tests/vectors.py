"""Test vectors of the onepw protocol and its tokens, as the original server 1.36.0 computes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_TEXTS = {"kind", "email", "password"}


def vectors(group: str) -> list[dict[str, Any]]:
    """The rows of ``password``, ``tokens``, ``bundle`` or ``stretch``; what is hex in the file comes as bytes."""
    rows = json.loads(Path(__file__).with_name("vectors.json").read_text("utf-8"))[group]
    return [{name: _value(name, value) for name, value in row.items()} for row in rows]


def _value(name: str, value: Any) -> Any:
    return bytes.fromhex(value) if isinstance(value, str) and name not in _TEXTS else value

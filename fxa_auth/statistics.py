"""The ``op: stat`` lines of the log: what the parts count, told again and again."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fxa_auth.periodic import Periodic

_log = Logger()

INTERVAL_S = 15

Source = tuple[str, Callable[[], Mapping[str, object]]]
"""The name of a line (its ``stat``), and what gives its other fields."""


class Statistics:
    """Writes a line for each source every ``INTERVAL_S`` seconds, between ``start`` and ``stop``."""

    def __init__(self, clock: IReactorTime, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._turns = Periodic(clock, INTERVAL_S, "stat", self._tell)

    def start(self) -> None:
        self._turns.start()

    async def stop(self) -> None:
        await self._turns.stop()

    async def _tell(self) -> None:
        for name, fields in self._sources:
            _log.info("stat", stat=name, **fields())


def memory() -> Mapping[str, object]:
    """``rss``: the bytes of memory that this process occupies."""
    return {"rss": _resident_bytes()}


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * resource.getpagesize()

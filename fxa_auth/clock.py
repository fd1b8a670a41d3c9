"""The time as rows and protocol have it, from whatever clock a part was given."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime


def time_ms(clock: IReactorTime) -> int:
    """Milliseconds since the epoch."""
    return int(clock.seconds() * 1000)

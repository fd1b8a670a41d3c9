"""The time as rows and protocol have it, from whatever clock a part was given."""

from __future__ import annotations

from datetime import UTC, datetime

from twisted.internet.interfaces import IReactorTime


def time_ms(clock: IReactorTime) -> int:
    """Milliseconds since the epoch."""
    return int(clock.seconds() * 1000)


def iso_utc(ms: int) -> str:
    """A moment in ms since the epoch, to the second, for people to read: ``2023-11-14T22:13:20Z``."""
    return datetime.fromtimestamp(ms // 1000, UTC).isoformat().replace("+00:00", "Z")

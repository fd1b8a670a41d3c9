"""Events as lines of text, for a program that reads them from a pipe, and for an operator.

Nothing here blocks: a reader that is slow, or has stopped, is waited for.
"""

from __future__ import annotations

import json
import os
import select
from collections.abc import Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from fxa_auth.records import Event

_POLL_S = 0.05


def line(event: Event) -> str:
    """One JSON object in ASCII, without a line's end."""
    members: Mapping[str, object] = {
        "event": event.kind,
        "data": event.payload,
        "number": event.number,
        "time": event.created_at_ms,
    }
    return json.dumps(members)


class LineWriter:
    """Writes each event as a line to an open file, such as that of stdout (1)."""

    def __init__(self, clock: IReactorTime, file: int) -> None:
        self._clock = clock
        self._file = file

    async def deliver(self, event: Event) -> None:
        """Return when the line is written; OSError when nobody reads any more."""
        rest = f"{line(event)}\n".encode("ascii")
        while rest:
            while not self._takes_more():
                await deferLater(self._clock, _POLL_S)
            # What a pipe that takes more takes at once: as much as is written there in one piece.
            rest = rest[os.write(self._file, rest[: select.PIPE_BUF]) :]

    def _takes_more(self) -> bool:
        poll = select.poll()
        poll.register(self._file, select.POLLOUT)
        return bool(poll.poll(0))

"""Publishing events: the sequencer that numbers them, a feed for each publisher, and what hands an event over to whom.

Nothing here knows what changes an account, nor how the log is kept: it comes in by the constructor as an ``EventLog``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fxa_auth.records import Event

DELIVERY_TIMEOUT_S = 5.0
"""The longest that handing over one event may take."""


@dataclass(frozen=True)
class Publisher:
    """Somebody who is told of events of these ``kinds`` (values of ``EventKind``).

    ``name`` is that of its place in the log.

    ``deliver`` returns when the receiver has taken the event, or refused it for good. If it raises anything, or takes
    longer than ``DELIVERY_TIMEOUT_S``, the event is delivered again later, and all others wait until then.
    """

    name: str
    kinds: frozenset[str]
    deliver: Callable[[Event], Awaitable[None]]

    def wants(self, event: Event) -> bool:
        return event.kind in self.kinds


class EventLog(Protocol):
    """The log. Any method may fail with any exception: it is logged, and asked again after a pause.

    A place is the number of an event that is done with, as are all before it; a ``holder`` is 16 bytes.
    """

    async def number(self, limit: int, now_ms: int) -> int:
        """Give their numbers to at most ``limit`` events; the answer is how many got one."""

    async def after(self, number: int, limit: int) -> Sequence[Event]:
        """At most ``limit`` events that follow this one, in order; empty only if there are none yet."""

    async def attend(self, publisher: str, place: int | None, now_ms: int) -> int:
        """Note that this publisher is there, and its place; the answer is its place, perhaps moved by another daemon.

        One that is new, and says None, begins with the next event that gets a number.
        """

    async def place(self, publisher: str) -> int | None:
        """A publisher's place; None if it has none."""

    async def claim(self, publisher: str, holder: bytes, now_ms: int, expires_at_ms: int) -> int | None:
        """Take the lease on a publisher; the answer is its place, or None if another daemon holds the lease."""

    async def advance(self, publisher: str, place: int, holder: bytes, now_ms: int, expires_at_ms: int) -> bool:
        """Note the place and lengthen the lease; False, and nothing noted, if another daemon holds it meanwhile."""

    async def release(self, publisher: str, place: int, holder: bytes, now_ms: int) -> None:
        """Note the place and give the lease back."""

    async def prune(self, before_ms: int, attended_since_ms: int, limit: int) -> int:
        """Remove at most ``limit`` events that were made before ``before_ms`` and that every publisher is done with.

        Publishers count that were attended since ``attended_since_ms``. The answer is how many were removed.
        """

"""Work that is done again and again in the background, under a clock, by someone who will stop it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger()

JITTER = 0.25
"""By how much of itself a pause may be shorter or longer, where chance has a say in it."""


def jittered(pause: float, random: Callable[[int], bytes]) -> float:
    """The pause, in whatever unit, shorter or longer by up to ``JITTER`` of itself; ``random(n)`` gives n bytes."""
    chance = int.from_bytes(random(4), "big") / 0xFFFFFFFF
    return pause * (1 - JITTER + 2 * JITTER * chance)


class Periodic:
    """Does ``work`` every ``interval_s`` seconds; a failure is logged under ``name`` and does not end the series.

    With a source of ``random`` bytes the pauses differ by up to a quarter, so that servers that were started together
    do not go on working at the same moments.
    """

    def __init__(
        self,
        clock: IReactorTime,
        interval_s: float,
        name: str,
        work: Callable[[], Awaitable[None]],
        random: Callable[[int], bytes] | None = None,
    ) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._name = name
        self._work = work
        self._random = random
        self._next: IDelayedCall | None = None
        self._running: Deferred[None] | None = None
        self._stopped: Deferred[None] | None = None

    def start(self) -> None:
        """Begin; the first time comes after one interval."""
        self._next = self._clock.callLater(self._pause_s(), self._turn)

    async def stop(self) -> None:
        """No further turn; wait for the one under way."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        elif self._running is not None:
            self._stopped = Deferred()
            await self._stopped

    def _pause_s(self) -> float:
        if self._random is None:
            return self._interval_s
        return jittered(self._interval_s, self._random)

    def _turn(self) -> None:
        self._next = None
        self._running = Deferred.fromCoroutine(self._do())
        self._running.addBoth(self._done)

    async def _do(self) -> None:
        await self._work()

    def _done(self, result: object) -> None:
        self._running = None
        if isinstance(result, Failure):
            _log.failure("periodic.failed", result, task=self._name)
        if self._stopped is not None:
            self._stopped.callback(None)
        else:
            self.start()

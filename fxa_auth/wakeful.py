"""Work that is done when somebody says that there is some, and otherwise looked for now and then, under a clock.

What the work is, and how long to rest after a turn of it, is for its owner to say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

_log = Logger()

FAILURE_PAUSE_S = 10.0
"""How long to leave work alone that ended in an exception."""


@dataclass(frozen=True)
class Rest:
    """How long to do nothing after a turn; a ``deaf`` rest is not ended by ``wake``."""

    seconds: float
    deaf: bool = False


class Wakeful:
    """Calls ``turn`` at once, and again after the rest that it answers with, between ``start`` and ``stop``.

    A turn that fails is logged under ``name`` and does not end the series.
    """

    def __init__(self, clock: IReactorTime, name: str, turn: Callable[[], Awaitable[Rest]]) -> None:
        self._clock = clock
        self._name = name
        self._turn = turn
        self._running: Deferred[None] | None = None
        self._sleep: Deferred[None] | None = None
        self._is_deaf = False
        self._woken = False
        self.stopping = False

    def start(self) -> None:
        """Begin. Call it once."""
        self._running = Deferred.fromCoroutine(self._run())

    def wake(self) -> None:
        """Say that there is work. One that is said during a turn, or a deaf rest, counts after it."""
        self._woken = True
        if not self._is_deaf:
            self._end_sleep()

    async def stop(self) -> None:
        """No further turn; wait for the one under way, which may look at ``stopping``."""
        self.stopping = True
        self._end_sleep()
        if self._running is not None:
            await self._running

    async def _run(self) -> None:
        while not self.stopping:
            self._woken = False
            try:
                rest = await self._turn()
            except Exception:
                _log.failure("wakeful.failed", task=self._name)
                rest = Rest(FAILURE_PAUSE_S, deaf=True)
            await self._take(rest)

    async def _take(self, rest: Rest) -> None:
        if self.stopping or (self._woken and not rest.deaf):
            return
        self._is_deaf = rest.deaf
        self._sleep = Deferred()
        alarm = self._clock.callLater(rest.seconds, self._end_sleep)
        await self._sleep
        if alarm.active():
            alarm.cancel()

    def _end_sleep(self) -> None:
        sleep, self._sleep = self._sleep, None
        if sleep is not None:
            sleep.callback(None)

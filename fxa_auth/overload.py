"""How far the reactor is behind: the measure by which a busy server refuses further work."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from fxa_auth.periodic import Periodic

_INTERVAL_S = 0.25


class ReactorLag:
    """Watches how late the reactor keeps an appointment. ``max_lag_ms`` 0 means that no lag is too much."""

    def __init__(self, clock: IReactorTime, max_lag_ms: int) -> None:
        self._clock = clock
        self._max_lag_ms = max_lag_ms
        self._expected_at_s = 0.0
        self._lag_ms = 0.0
        self._watch = Periodic(clock, _INTERVAL_S, "reactor lag", self._measure)

    def start(self) -> None:
        self._expected_at_s = self._clock.seconds() + _INTERVAL_S
        self._watch.start()

    async def stop(self) -> None:
        await self._watch.stop()

    def is_too_much(self) -> bool:
        return 0 < self._max_lag_ms < self._lag_ms

    async def _measure(self) -> None:
        now_s = self._clock.seconds()
        self._lag_ms = max(0.0, now_s - self._expected_at_s) * 1000
        self._expected_at_s = now_s + _INTERVAL_S

"""Routes about the server itself: its version, its health, and random bytes for those who ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fxa_auth.http.route import Answer, Call, NoParams, Route, json_answer
from fxa_auth.version import Version


class OperationsRoutes:
    """``ping`` asks the store for a sign of life and raises DatabaseUnavailable."""

    def __init__(self, version: Version, ping: Callable[[], Awaitable[None]], random: Callable[[int], bytes]) -> None:
        self._version = version
        self._ping = ping
        self._random = random

    def table(self) -> list[Route]:
        return [
            Route("GET", "/", self.root),
            Route("GET", "/__heartbeat__", self.heartbeat),
            Route("GET", "/__lbheartbeat__", self.load_balancer_heartbeat),
            Route("GET", "/__version__", self.version),
            Route("POST", "/v1/get_random_bytes", self.get_random_bytes),
        ]

    async def root(self, call: Call[NoParams]) -> Answer:
        return json_answer({"version": self._version.version, "commit": self._version.commit})

    async def heartbeat(self, call: Call[NoParams]) -> Answer:
        await self._ping()
        return json_answer({})

    async def load_balancer_heartbeat(self, call: Call[NoParams]) -> Answer:
        return json_answer({})

    async def version(self, call: Call[NoParams]) -> Answer:
        return json_answer(vars(self._version))

    async def get_random_bytes(self, call: Call[NoParams]) -> Answer:
        return json_answer({"data": self._random(32).hex()})

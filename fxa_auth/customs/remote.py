"""The abuse policy of a separate customs server, asked over HTTP (docs/protocol.md, "The abuse policy").

It fails open: a customs server that is down, slow or talks nonsense blocks nobody. That is logged and counted. What
the rules are is the other server's business.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fxa_auth import errors
from fxa_auth.customs import Guess, Step
from fxa_auth.outgoing import answer_to

_log = Logger()

TIMEOUT_S = 1.0
"""For the whole exchange, the body of the answer included."""

MAX_ANSWER_BYTES = 16 * 1024
MAX_RETRY_AFTER_S = 24 * 3600
"""The longest wait a client is told of: that of a manual ban."""


class _BadAnswer(Exception):
    """An answer that the customs protocol does not know; the message says why."""


class RemoteCustoms:
    """A ``Customs`` that asks the server at ``url``.

    ``failures`` counts the questions that got no usable answer since the process started.
    """

    def __init__(self, clock: IReactorTime, http: HTTPClient, url: str) -> None:
        self.failures = 0
        self._clock = clock
        self._http = http
        self._url = url.rstrip("/")

    async def check(self, ip: str, email: str, action: str) -> None:
        answer = await self._ask("check", {"ip": ip, "email": email, "action": action}, action, flag="block")
        if answer.get("block"):
            wait_s = _wait_s(answer.get("retryAfter"))
            _log.info("customs.blocked", rule="customs server", action=action, ip=ip, email=email, retryAfter=wait_s)
            raise errors.too_many_requests(wait_s)

    @asynccontextmanager
    async def guess(self, ip: str, email: str, action: str) -> AsyncIterator[Guess]:
        """The customs server hears of failures only; how many tries are under way is no concern of its protocol."""
        yield _Guess(lambda: self._failed_login(ip, email))

    async def password_reset(self, email: str) -> None:
        await self._ask("passwordReset", {"email": email}, "passwordReset")

    async def unlocked(self, email: str) -> None:
        """A customs server has no word of its own for this; a password reset clears the same count, and more."""
        await self._ask("passwordReset", {"email": email}, "unlocked")

    async def _failed_login(self, ip: str, email: str) -> bool:
        path = "failedLoginAttempt"
        answer = await self._ask(path, {"ip": ip, "email": email}, path, flag="lockout")
        return answer.get("lockout") is True

    async def _ask(
        self, path: str, question: Mapping[str, str], action: str, flag: str | None = None
    ) -> Mapping[str, Any]:
        """The JSON object answered to ``question``, with ``flag`` a boolean in it; empty if no such answer came."""
        try:
            answer = _json_object(await self._exchange(path, question))
            if flag is not None and not isinstance(answer.get(flag), bool):
                raise _BadAnswer(f"no boolean {flag}")
        except CancelledError:
            # It is the caller who gave up, which says nothing about the customs server.
            raise
        except Exception as error:
            self.failures += 1
            _log.warn("customs.unavailable", action=action, reason=f"{type(error).__name__}: {error}")
            return {}
        return answer

    async def _exchange(self, path: str, question: Mapping[str, str]) -> bytes:
        asked = self._http.post(f"{self._url}/{path}", json=dict(question), allow_redirects=False, unbuffered=True)
        answer = await answer_to(asked, MAX_ANSWER_BYTES, TIMEOUT_S, self._clock)
        if answer.status != 200:
            raise _BadAnswer(f"status {answer.status}")
        return answer.body


class _Guess:
    if_right: Sequence[Step] = ()

    def __init__(self, failed_login: Callable[[], Awaitable[bool]]) -> None:
        self._failed_login = failed_login

    async def wrong(self) -> bool:
        return await self._failed_login()


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise _BadAnswer("not JSON") from None
    if not isinstance(answer, dict):
        raise _BadAnswer("not a JSON object")
    return answer


def _wait_s(retry_after: object) -> int | None:
    """Whole seconds from a customs server's ``retryAfter``; None where it says nothing of use."""
    if isinstance(retry_after, bool) or not isinstance(retry_after, int | float) or not retry_after > 0:
        return None
    return math.ceil(min(retry_after, MAX_RETRY_AFTER_S))

"""The abuse policy that is part of this server: it counts in the store and judges by the rules of ``policy``.

So what it knows survives a restart, and is the same for all daemons on one database. Passwords that are being checked
count as if they were wrong until they turn out right; who exceeds what is allowed with them waits for their outcome.
Which tables there are is the store's business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from twisted.internet.defer import Deferred, DeferredLock, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from fxa_auth import clientnetwork, errors
from fxa_auth.clock import time_ms
from fxa_auth.customs import Guess, Step
from fxa_auth.customs.networks import network_keys
from fxa_auth.customs.policy import (
    LOGINS,
    MAILS,
    PASSWORD_ACTIONS,
    Rules,
    Verdict,
    judge,
    judge_lockout,
    strictest,
    verdicts,
)
from fxa_auth.records import Counted, Recorded

_log = Logger()

LEASE_MS = 60_000
"""How long a password that is being checked counts when its daemon has died; until then it is renewed in time."""

POLL_S = 0.25
"""How often to look for the outcome of passwords that other daemons check."""


class Records(Protocol):
    """What is kept in the store; ``store.limits`` says it in full."""

    async def recorded(self, client: str, email: str, networks: Sequence[str], now_ms: int) -> Recorded: ...

    async def take_in(
        self,
        event: Counted,
        now_ms: int,
        *,
        room: int,
        since_ms: int,
        leased_until_ms: int | None,
        expires_at_ms: int,
    ) -> tuple[bool, Sequence[int]]: ...

    async def renew(self, event: Counted, leased_until_ms: int) -> None: ...

    def release(self, event: Counted) -> Step: ...

    async def remove(self, event: Counted) -> None: ...

    async def settle(
        self, event: Counted, now_ms: int, *, since_ms: int, most: int, expires_at_ms: int
    ) -> Sequence[int]: ...

    async def forgive(self, email: str, now_ms: int) -> None: ...

    async def clear(self, rule: str | None = None, email: str | None = None, client: str | None = None) -> int: ...


@dataclass
class _Line:
    """Those of this daemon who want to try a password of one address from one client, in the order of arrival."""

    head: DeferredLock = field(default_factory=DeferredLock)
    members: int = 0
    outcome: Deferred[None] | None = None

    def tell_outcome(self) -> None:
        """One who tried has ended: whoever is first in line may look again."""
        if self.outcome is not None and not self.outcome.called:
            self.outcome.callback(None)


class BuiltinCustoms:
    """A ``Customs`` over ``records``. Nobody waits longer than ``wait_s`` for the passwords of others."""

    def __init__(
        self, records: Records, rules: Rules, clock: IReactorTime, random: Callable[[int], bytes], wait_s: float
    ) -> None:
        self._records = records
        self._rules = rules
        self._clock = clock
        self._random = random
        self._wait_s = wait_s
        self._lines: dict[tuple[str, str], _Line] = {}
        self._blocked = 0

    def statistics(self) -> Mapping[str, int]:
        """How many were blocked since the process started, and how many passwords are tried or wait for that now."""
        return {"blocked": self._blocked, "guesses": sum(line.members for line in self._lines.values())}

    async def check(self, ip: str, email: str, action: str) -> None:
        client, now_ms = clientnetwork.of(ip), time_ms(self._clock)
        recorded = await self._records.recorded(client, email, network_keys(ip), now_ms)
        found = verdicts(self._rules, action, recorded, now_ms)
        may_go_on = strictest(found) is None
        if may_go_on and any(verdict.rule == MAILS and not verdict.block for verdict in found):
            found.append(await self._count_mail(email))
        self._heed(found, client, email, action)

    @asynccontextmanager
    async def guess(self, ip: str, email: str, action: str) -> AsyncIterator[Guess]:
        attempt = Counted(LOGINS, email, clientnetwork.of(ip), self._random(16))
        if action not in PASSWORD_ACTIONS or self._rules.logins.report_only:
            yield _Guess((), lambda: self._count_failure(attempt, action))
            return
        line = self._lines.setdefault((email, attempt.client), _Line())
        line.members += 1
        try:
            await self._stand_in_line(line, attempt, action)
            guess = _Guess((self._records.release(attempt),), lambda: self._count_failure(attempt, action))
            renewing = self._begin_renewing(attempt)
            try:
                yield guess
            except Exception:
                if not guess.was_wrong:
                    await self._tell("guess.untried", self._records.remove(attempt))
                raise
            finally:
                renewing.stop()
                line.tell_outcome()
        finally:
            line.members -= 1
            if not line.members:
                del self._lines[email, attempt.client]

    async def password_reset(self, email: str) -> None:
        await self._tell("password_reset", self._records.clear(LOGINS, email))

    async def unlocked(self, email: str) -> None:
        await self._tell("unlocked", self._records.forgive(email, time_ms(self._clock)))

    async def _stand_in_line(self, line: _Line, attempt: Counted, action: str) -> None:
        """Return once it is this attempt's turn, and recorded as under way.

        :raises ApiError: 114, too many were wrong meanwhile, or it took too long to know
        """
        deadline_s = self._clock.seconds() + self._wait_s
        try:
            await line.head.acquire().addTimeout(self._wait_s, self._clock)
        except TimeoutError:
            raise self._kept_waiting(attempt, action) from None
        try:
            while True:
                outcome: Deferred[None] = Deferred()
                line.outcome = outcome
                if await self._take_in(attempt, action):
                    return
                left_s = deadline_s - self._clock.seconds()
                if left_s <= 0:
                    raise self._kept_waiting(attempt, action)
                with suppress(TimeoutError):
                    await outcome.addTimeout(min(left_s, POLL_S), self._clock)
        finally:
            line.head.release()

    async def _take_in(self, attempt: Counted, action: str) -> bool:
        """Whether this attempt now counts as under way; if not, others have to end first.

        :raises ApiError: 114
        """
        rule, now_ms = self._rules.logins, time_ms(self._clock)
        is_in, failures_ms = await self._records.take_in(
            attempt,
            now_ms,
            room=rule.max + 1,
            since_ms=now_ms - rule.window_ms,
            leased_until_ms=now_ms + LEASE_MS,
            expires_at_ms=now_ms + self._rules.login_memory_ms,
        )
        verdict = judge(rule, failures_ms, now_ms)
        if is_in and verdict.block:
            await self._tell("guess.untried", self._records.remove(attempt))
        self._heed([verdict], attempt.client, attempt.email, action)
        return is_in

    def _begin_renewing(self, attempt: Counted) -> LoopingCall:
        """See that an attempt counts as under way however long it is, until the call is stopped."""

        def renew() -> Deferred[None]:
            leased_until_ms = time_ms(self._clock) + LEASE_MS
            return Deferred.fromCoroutine(self._tell("guess.lease", self._records.renew(attempt, leased_until_ms)))

        renewing = LoopingCall(renew)
        renewing.clock = self._clock
        renewing.start(LEASE_MS / 2000, now=False)
        return renewing

    async def _count_mail(self, email: str) -> Verdict:
        """Count a mail that is asked for; what is one too many counts too, but what comes after it does not."""
        rule, now_ms = self._rules.mails, time_ms(self._clock)
        _, times_ms = await self._records.take_in(
            Counted(MAILS, email, "", self._random(16)),
            now_ms,
            room=rule.max + 1,
            since_ms=now_ms - rule.window_ms,
            leased_until_ms=None,
            expires_at_ms=now_ms + rule.memory_ms,
        )
        return judge(rule, times_ms, now_ms)

    async def _count_failure(self, attempt: Counted, action: str) -> bool:
        """Count a wrong password; the answer is whether the account is to be locked."""
        rule, now_ms = self._rules.lockout, time_ms(self._clock)
        times_ms = await self._records.settle(
            attempt,
            now_ms,
            since_ms=now_ms - rule.window_ms,
            most=rule.max + 1,
            expires_at_ms=now_ms + self._rules.login_memory_ms,
        )
        verdict = judge_lockout(rule, times_ms, now_ms)
        if verdict.lockout and verdict.report_only:
            self._log(verdict, attempt.client, attempt.email, action)
        return verdict.lockout and not verdict.report_only

    def _heed(self, found: Sequence[Verdict], client: str, email: str, action: str) -> None:
        """Log what blocks or would do so.

        :raises ApiError: 114, for as long as the strictest verdict says
        """
        for verdict in found:
            if verdict.block and verdict.report_only:
                self._log(verdict, client, email, action)
        blocking = strictest(found)
        if blocking is not None:
            self._blocked += 1
            self._log(blocking, client, email, action)
            raise errors.too_many_requests(blocking.retry_after_s)

    def _kept_waiting(self, attempt: Counted, action: str) -> errors.ApiError:
        """What an attempt is refused with whose turn did not come."""
        self._blocked += 1
        _log.info("customs.blocked", rule=LOGINS, action=action, ip=attempt.client, email=attempt.email, waited=True)
        return errors.too_many_requests(None)

    def _log(self, verdict: Verdict, client: str, email: str, action: str) -> None:
        about: dict[str, object] = {"rule": verdict.rule, "action": action, "ip": client, "email": email}
        about |= {"count": verdict.count, "windowMs": verdict.window_ms, "retryAfter": verdict.retry_after_s}
        if verdict.report_only:
            _log.info("customs.would_block", **about)
        else:
            _log.info("customs.blocked", **about)

    async def _tell(self, what: str, telling: Awaitable[object]) -> None:
        """Have something recorded; if that fails, somebody is limited for longer or shorter, and no more than that."""
        try:
            await telling
        except Exception as error:
            _log.warn("customs.not_recorded", what=what, reason=f"{type(error).__name__}: {error}")


class _Guess:
    def __init__(self, if_right: Sequence[Step], count_failure: Callable[[], Awaitable[bool]]) -> None:
        self.if_right = if_right
        self.was_wrong = False
        self._count_failure = count_failure

    async def wrong(self) -> bool:
        self.was_wrong = True
        return await self._count_failure()

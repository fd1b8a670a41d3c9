"""The rules of the builtin abuse policy: pure functions from (rules, what was recorded, now) to a verdict.

What is recorded, where it is kept and what follows from a verdict is no matter here: times go in, in any order, and
verdicts come out. docs/abuse.md ("The rules") says it in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fxa_auth.records import Ban, Recorded

MAIL_ACTIONS = frozenset(
    {
        "accountCreate",
        "recoveryEmailResendCode",
        "passwordForgotSendCode",
        "passwordForgotResendCode",
        "accountUnlockResendCode",
    }
)
"""The actions by which a mail is sent: each counts for its address."""

PASSWORD_ACTIONS = frozenset({"accountLogin", "accountDestroy", "passwordChange"})
"""The actions that are refused to a client who has guessed wrong too often."""

MAILS, LOGINS, LOCKOUT, BAN = "mails", "logins", "lockout", "ban"
"""The names of the rules, as the log and the commands have them."""


@dataclass(frozen=True)
class Rule:
    """More than ``max`` events within ``window_ms`` are too many; what follows lasts as long as the window.

    A rule that is ``report_only`` has no consequence but a line in the log.
    """

    name: str
    max: int
    window_ms: int
    report_only: bool = False

    @property
    def memory_ms(self) -> int:
        """How long an event can matter: as the first one of too many, and then as long as these have consequences."""
        return 2 * self.window_ms


@dataclass(frozen=True)
class Rules:
    """The whole policy; a ban carries its own length."""

    mails: Rule = Rule(MAILS, 3, 15 * 60_000)
    logins: Rule = Rule(LOGINS, 2, 15 * 60_000)
    lockout: Rule = Rule(LOCKOUT, 20, 3 * 3_600_000)
    bans_report_only: bool = False

    @property
    def login_memory_ms(self) -> int:
        """How long a failed login can matter to any rule."""
        return max(self.logins.memory_ms, self.lockout.window_ms)


@dataclass(frozen=True)
class Verdict:
    """What one rule says.

    ``count`` is how many events it goes by: those that were too many, or else those of the last ``window_ms``.
    ``until_ms`` is when they are forgotten. ``retry_after_s`` is 0 unless it blocks.
    """

    rule: str
    block: bool
    lockout: bool
    retry_after_s: int
    count: int
    window_ms: int
    until_ms: int
    report_only: bool


def judge(rule: Rule, times_ms: Iterable[int], now_ms: int) -> Verdict:
    """Whether events at these times were too many at some moment, and that less than a window ago."""
    times = sorted(times_ms)
    for last in range(len(times) - 1, rule.max - 1, -1):
        if times[last] - times[last - rule.max] < rule.window_ms:
            too_many = [time for time in times[: last + 1] if times[last] - time < rule.window_ms]
            until_ms = too_many[-1] + rule.window_ms
            if now_ms < until_ms:
                wait_ms = min(until_ms - now_ms, rule.window_ms)  # another daemon's clock may be ahead
                return _verdict(rule, len(too_many), until_ms, block=True, wait_ms=wait_ms)
            break
    recent = [time for time in times if now_ms - time < rule.window_ms]
    return _verdict(rule, len(recent), recent[-1] + rule.window_ms if recent else now_ms)


def judge_lockout(rule: Rule, times_ms: Sequence[int], now_ms: int) -> Verdict:
    """Whether failed logins at these times call for the account to be locked; it never blocks by itself."""
    recent = [time for time in times_ms if now_ms - time < rule.window_ms]
    until_ms = max(recent) + rule.window_ms if recent else now_ms
    return _verdict(rule, len(recent), until_ms, lockout=len(recent) > rule.max)


def judge_ban(ban: Ban, report_only: bool, now_ms: int) -> Verdict:
    """Whether a ban is still in force."""
    left_ms = max(0, ban.expires_at_ms - now_ms)
    return Verdict(
        rule=BAN,
        block=left_ms > 0,
        lockout=False,
        retry_after_s=_seconds(left_ms),
        count=1,
        window_ms=ban.expires_at_ms - ban.banned_at_ms,
        until_ms=ban.expires_at_ms,
        report_only=report_only,
    )


def verdicts(rules: Rules, action: str, recorded: Recorded, now_ms: int) -> list[Verdict]:
    """What every rule that has a say in ``action`` makes of what is recorded about its client and address."""
    found = [judge_ban(ban, rules.bans_report_only, now_ms) for ban in recorded.bans]
    if action in MAIL_ACTIONS:
        found.append(judge(rules.mails, recorded.mails_ms, now_ms))
    if action in PASSWORD_ACTIONS:
        found.append(judge(rules.logins, recorded.failures_ms, now_ms))
    return found


def strictest(found: Iterable[Verdict]) -> Verdict | None:
    """Of the verdicts that block and are more than a report, the one that blocks for longest."""
    blocking = [verdict for verdict in found if verdict.block and not verdict.report_only]
    return max(blocking, key=lambda verdict: verdict.retry_after_s, default=None)


def _verdict(
    rule: Rule, count: int, until_ms: int, *, block: bool = False, lockout: bool = False, wait_ms: int = 0
) -> Verdict:
    return Verdict(
        rule=rule.name,
        block=block,
        lockout=lockout,
        retry_after_s=_seconds(wait_ms),
        count=count,
        window_ms=rule.window_ms,
        until_ms=until_ms,
        report_only=rule.report_only,
    )


def _seconds(ms: int) -> int:
    """Whole seconds, rounded up."""
    return -(-ms // 1000)

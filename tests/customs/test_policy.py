"""The rules of the builtin policy: every row of the table with its edges, and what holds whatever was recorded."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.customs.policy import (
    MAIL_ACTIONS,
    PASSWORD_ACTIONS,
    Rule,
    Rules,
    Verdict,
    judge,
    judge_ban,
    judge_lockout,
    strictest,
    verdicts,
)
from fxa_auth.records import Ban, Recorded

S, MIN, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
RULES = Rules()
OTHER_ACTIONS = frozenset({"accountLock"})
ALL_ACTIONS = MAIL_ACTIONS | PASSWORD_ACTIONS | OTHER_ACTIONS


class DefaultTests(SynchronousTestCase):
    """The numbers of docs/abuse.md, and which actions they are about."""

    def test_the_numbers(self) -> None:
        self.assertEqual((RULES.mails.max, RULES.mails.window_ms), (3, 15 * MIN))
        self.assertEqual((RULES.logins.max, RULES.logins.window_ms), (2, 15 * MIN))
        self.assertEqual((RULES.lockout.max, RULES.lockout.window_ms), (20, 3 * HOUR))

    def test_a_failed_login_is_remembered_for_as_long_as_any_rule_needs_it(self) -> None:
        self.assertEqual(RULES.login_memory_ms, 3 * HOUR)
        self.assertEqual(replace(RULES, logins=Rule("logins", 2, 2 * HOUR)).login_memory_ms, 4 * HOUR)

    def test_each_rule_blocks_its_own_actions_only(self) -> None:
        mails, failures = (0,) * 4, (0,) * 3
        for action in ALL_ACTIONS:
            for recorded, blocked in (
                (Recorded(), False),
                (Recorded(mails_ms=mails), action in MAIL_ACTIONS),
                (Recorded(failures_ms=failures), action in PASSWORD_ACTIONS),
                (Recorded(bans=(Ban("192.0.2.0/24", "", 0, 10),)), True),
                (Recorded(under_way=9), False),
            ):
                found = strictest(verdicts(RULES, action, recorded, 1))
                self.assertEqual(found is not None, blocked, (action, recorded))

    def test_the_actions_are_those_of_the_protocol(self) -> None:
        sends = {"accountCreate", "recoveryEmailResendCode", "accountUnlockResendCode"}
        self.assertEqual(MAIL_ACTIONS, sends | {"passwordForgotSendCode", "passwordForgotResendCode"})
        self.assertEqual(PASSWORD_ACTIONS, {"accountLogin", "accountDestroy", "passwordChange"})


class EdgeTests(SynchronousTestCase):
    """Times against the three rules as they come."""

    def test_limits(self) -> None:
        at = 15 * MIN
        rows: tuple[tuple[Rule, tuple[int, ...], int, tuple[bool, int, int]], ...] = (
            # rule, times, now, (block, retryAfter, count)
            (RULES.mails, (), 0, (False, 0, 0)),
            (RULES.mails, (0, 0, 0), 0, (False, 0, 3)),
            (RULES.mails, (0, 0, 0, 0), 0, (True, 900, 4)),
            (RULES.mails, (0, 1, 2, 3), 3, (True, 900, 4)),
            (RULES.mails, (0, 1, 2, 3), 4, (True, 900, 4)),  # rounded up
            (RULES.mails, (0, 1, 2, 3), 3 + S, (True, 899, 4)),
            (RULES.mails, (0, 1, 2, 3), at + 2, (True, 1, 4)),
            (RULES.mails, (0, 1, 2, 3), at + 3, (False, 0, 0)),
            (RULES.mails, (0, 1, 2, at - 1), at - 1, (True, 900, 4)),
            (RULES.mails, (0, 1, 2, at), at, (False, 0, 3)),  # the first has just left the window
            (RULES.mails, (0, 1, 2, at - 1), 2 * at - 2, (True, 1, 4)),  # long after the first three have left it
            (RULES.mails, (0, 1, 2, at - 1), 2 * at - 1, (False, 0, 0)),
            (RULES.logins, (0, 0), 0, (False, 0, 2)),
            (RULES.logins, (0, 0, 0), 0, (True, 900, 3)),
            (RULES.logins, (0, 7 * MIN, 14 * MIN), 14 * MIN, (True, 900, 3)),
            (RULES.logins, (0, 7 * MIN, 14 * MIN), 20 * MIN, (True, 540, 3)),
            (RULES.logins, (0, 7 * MIN, 14 * MIN), 29 * MIN - 1, (True, 1, 3)),
            (RULES.logins, (0, 7 * MIN, 14 * MIN), 29 * MIN, (False, 0, 0)),
            (RULES.logins, (0, 7 * MIN, 15 * MIN), 15 * MIN, (False, 0, 2)),
            # two that were too many long ago do not make it shorter
            (RULES.logins, (0, 1, 2, 20 * MIN, 21 * MIN), 21 * MIN, (False, 0, 2)),
            (RULES.logins, (0, 1, 2, 20 * MIN, 21 * MIN, 22 * MIN), 22 * MIN, (True, 900, 3)),
            # another daemon's clock is ahead
            (RULES.logins, (5 * S, 5 * S, 5 * S), 0, (True, 900, 3)),
            # none at all is allowed
            (Rule("x", 0, at), (), 0, (False, 0, 0)),
            (Rule("x", 0, at), (0,), 0, (True, 900, 1)),
        )
        for rule, times, now_ms, expected in rows:
            found = judge(rule, times, now_ms)
            self.assertEqual((found.block, found.retry_after_s, found.count), expected, (rule, times, now_ms))
            self.assertEqual((found.rule, found.window_ms, found.lockout), (rule.name, rule.window_ms, False))

    def test_until_when_a_count_stands(self) -> None:
        for times, now_ms, until_ms in (((), 7, 7), ((0, 5), 7, 15 * MIN + 5), ((0, 1, 2), 2, 15 * MIN + 2)):
            self.assertEqual(judge(RULES.logins, times, now_ms).until_ms, until_ms, times)

    def test_lockout(self) -> None:
        for times, now_ms, lockout, count in (
            ((), 0, False, 0),
            ((0,) * 20, 0, False, 20),
            ((0,) * 21, 0, True, 21),
            ((0,) * 21, 3 * HOUR - 1, True, 21),
            ((0,) * 21, 3 * HOUR, False, 0),
            ((0, *(5,) * 20), 3 * HOUR, False, 20),
            ((0, *(5,) * 20), 3 * HOUR - 1, True, 21),
        ):
            found = judge_lockout(RULES.lockout, times, now_ms)
            self.assertEqual((found.lockout, found.count), (lockout, count), (len(times), now_ms))
            self.assertEqual((found.block, found.retry_after_s), (False, 0), "it blocks nothing by itself")

    def test_bans(self) -> None:
        ban = Ban("me@example.com", "", 1000, 1000 + DAY)
        for now_ms, block, retry_after_s in (
            (1000, True, 86400),
            (1001, True, 86400),
            (2000, True, 86399),
            (1000 + DAY - 1, True, 1),
            (1000 + DAY, False, 0),
            (1000 + 2 * DAY, False, 0),
        ):
            found = judge_ban(ban, False, now_ms)
            self.assertEqual((found.block, found.retry_after_s), (block, retry_after_s), now_ms)
            self.assertEqual((found.rule, found.window_ms), ("ban", DAY))

    def test_of_several_rules_the_longest_wait_counts(self) -> None:
        recorded = Recorded(
            bans=(Ban("a", "", 0, 100 * S), Ban("b", "", 0, 20 * MIN), Ban("c", "", 0, 50 * S)), failures_ms=(0, 0, 0)
        )
        for now_ms, rule, retry_after_s in ((0, "ban", 1200), (11 * MIN, "ban", 540), (20 * MIN, None, None)):
            found = strictest(verdicts(RULES, "accountLogin", recorded, now_ms))
            self.assertEqual((found and found.rule, found and found.retry_after_s), (rule, retry_after_s))
        recorded = replace(recorded, bans=recorded.bans[:1])
        found = strictest(verdicts(RULES, "accountLogin", recorded, 0))
        self.assertEqual((found and found.rule, found and found.retry_after_s), ("logins", 900))

    def test_a_report_only_rule_blocks_nothing_and_says_what_it_would_have_blocked(self) -> None:
        reporting = Rules(
            mails=replace(RULES.mails, report_only=True),
            logins=replace(RULES.logins, report_only=True),
            bans_report_only=True,
        )
        recorded = Recorded(bans=(Ban("a", "", 0, 10),), mails_ms=(0,) * 4, failures_ms=(0,) * 3)
        for action in ALL_ACTIONS:
            found = verdicts(reporting, action, recorded, 1)
            self.assertIsNone(strictest(found))
            strict = verdicts(RULES, action, recorded, 1)
            self.assertEqual([(v.rule, v.block) for v in found], [(v.rule, v.block) for v in strict])
        mixed = replace(reporting, logins=RULES.logins)
        found = strictest(verdicts(mixed, "accountLogin", recorded, 1))
        self.assertEqual(found and found.rule, "logins")


def rules() -> st.SearchStrategy[Rule]:
    return st.builds(Rule, st.just("x"), st.integers(0, 5), st.integers(1, 20 * S))


def times(longest: int = 12) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 60 * S), max_size=longest)


def most_within(window_ms: int, found: list[int]) -> int:
    """The most of these times that lie within any one window, counted the slow way."""
    return max((sum(1 for time in found if 0 <= last - time < window_ms) for last in found), default=0)


class PropertyTests(SynchronousTestCase):
    """Whatever the rule, and whatever was recorded up to now."""

    @given(rules(), times(), st.integers(0, 60 * S))
    def test_nothing_is_blocked_before_the_threshold(self, rule: Rule, found: list[int], later_ms: int) -> None:
        now_ms = max(found, default=0) + later_ms
        if most_within(rule.window_ms, found) <= rule.max:
            self.assertFalse(judge(rule, found, now_ms).block)
        self.assertFalse(judge(rule, found[: rule.max], now_ms).block)

    @given(rules(), times(), st.integers(0, 60 * S))
    def test_something_is_blocked_beyond_the_threshold(self, rule: Rule, found: list[int], later_ms: int) -> None:
        last = max(found, default=0)
        too_many = sum(1 for time in found if last - time < rule.window_ms) > rule.max
        if too_many:
            self.assertEqual(judge(rule, found, last + later_ms).block, later_ms < rule.window_ms)

    @given(rules(), times(), st.integers(0, 60 * S))
    def test_retry_after_is_within_the_window(self, rule: Rule, found: list[int], later_ms: int) -> None:
        verdict = judge(rule, found, max(found, default=0) + later_ms)
        longest_s = -(-rule.window_ms // 1000)
        self.assertTrue(1 <= verdict.retry_after_s <= longest_s if verdict.block else verdict.retry_after_s == 0)

    @given(rules(), times(), st.integers(-60 * S, 60 * S))
    def test_retry_after_is_within_the_window_also_for_times_to_come(
        self, rule: Rule, found: list[int], later_ms: int
    ) -> None:
        verdict = judge(rule, found, max(found, default=0) + later_ms)
        self.assertLessEqual(verdict.retry_after_s, -(-rule.window_ms // 1000))

    @given(rules(), times(), st.integers(0, 60 * S))
    def test_waiting_for_retry_after_unblocks(self, rule: Rule, found: list[int], later_ms: int) -> None:
        now_ms = max(found, default=0) + later_ms
        verdict = judge(rule, found, now_ms)
        if verdict.block:
            self.assertFalse(judge(rule, found, now_ms + verdict.retry_after_s * 1000).block)
            self.assertTrue(judge(rule, found, verdict.until_ms - 1).block)

    @given(rules(), times(), st.integers(0, 120 * S), st.randoms())
    def test_the_order_of_events_does_not_matter(
        self, rule: Rule, found: list[int], now_ms: int, chance: random.Random
    ) -> None:
        shuffled = list(found)
        chance.shuffle(shuffled)
        self.assertEqual(judge(rule, shuffled, now_ms), judge(rule, found, now_ms))
        self.assertEqual(judge_lockout(rule, shuffled, now_ms), judge_lockout(rule, found, now_ms))

    @given(rules(), times(), st.integers(0, 60 * S))
    def test_what_is_older_than_the_memory_does_not_matter(self, rule: Rule, found: list[int], later_ms: int) -> None:
        now_ms = max(found, default=0) + later_ms
        remembered = [time for time in found if now_ms - time < rule.memory_ms]
        self.assertEqual(judge(rule, remembered, now_ms), judge(rule, found, now_ms))

    @given(rules(), times(), st.integers(0, 60 * S))
    def test_a_lockout_comes_beyond_its_threshold_and_no_sooner(
        self, rule: Rule, found: list[int], later_ms: int
    ) -> None:
        now_ms = max(found, default=0) + later_ms
        within = sum(1 for time in found if now_ms - time < rule.window_ms)
        self.assertEqual(judge_lockout(rule, found, now_ms).lockout, within > rule.max)

    @given(st.integers(0, 60 * S), st.integers(1, 60 * S), st.integers(0, 120 * S))
    def test_a_ban_holds_to_its_end(self, from_ms: int, length_ms: int, later_ms: int) -> None:
        verdict = judge_ban(Ban("a", "", from_ms, from_ms + length_ms), False, from_ms + later_ms)
        self.assertEqual(verdict.block, later_ms < length_ms)
        self.assertLessEqual(verdict.retry_after_s, -(-length_ms // 1000))

    @given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 9))))
    def test_the_strictest_is_the_longest_that_blocks(self, found: list[tuple[bool, bool, int]]) -> None:
        given = [Verdict("x", block, False, wait_s, 1, 1, 1, report) for block, report, wait_s in found]
        waits = [wait_s for block, report, wait_s in found if block and not report]
        chosen = strictest(given)
        self.assertEqual(chosen and chosen.retry_after_s, max(waits, default=None))

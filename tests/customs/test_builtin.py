"""The policy that counts in the store: what it blocks and for how long, also when everything comes at once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Coroutine
from dataclasses import replace
from itertools import count
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from fxa_auth import errors
from fxa_auth.customs.builtin import LEASE_MS, POLL_S, BuiltinCustoms
from fxa_auth.customs.networks import network_key, parse_network
from fxa_auth.customs.policy import MAIL_ACTIONS, PASSWORD_ACTIONS, Rules
from fxa_auth.errors import ApiError
from fxa_auth.pruning import Pruning
from fxa_auth.records import Ban
from fxa_auth.store import Store
from fxa_auth.store.database import DatabaseUnavailable
from fxa_auth.tokens import Lifetimes
from tests.store.contract import DatabaseContract, OnSqliteFile, OnSqliteMemory
from tests.store.on_postgres import OnPostgres, opened

IP, OTHER_IP = "192.0.2.7", "192.0.2.8"
EMAIL, OTHER = "me@example.com", "other@example.com"
NOW_S = 1_800_000_000
MIN, HOUR, DAY = 60, 3600, 86400
WAIT_S = 15.0
RULES = Rules()
LEGACY = ("message", "time", "system", "format", "isError")
"""What Twisted adds to an event for observers of old."""


class BuiltinContract(DatabaseContract):
    """The default rules over an empty store; the time is the test's."""

    assertIs: Any
    assertLessEqual: Any
    assertNoResult: Any
    assertTrue: Any
    patch: Any

    async def setUp(self) -> None:
        await super().setUp()
        self.clock = Clock()
        self.clock.advance(NOW_S)
        self.customs = self.make()
        self.clients = count(1)
        self.logged: list[tuple[str, dict[str, Any]]] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def make(
        self,
        rules: Rules = RULES,
        store: Store | None = None,
        wait_s: float = WAIT_S,
        clock: Clock | None = None,
    ) -> BuiltinCustoms:
        limits = (store or self.store).limits
        return BuiltinCustoms(limits, rules, clock or self.clock, os.urandom, wait_s)

    def observe(self, event: dict[str, Any]) -> None:
        if str(event.get("log_format")).startswith("customs."):
            fields = {name: event[name] for name in event if not name.startswith("log_") and name not in LEGACY}
            self.logged.append((event["log_format"], fields))

    # What tests do.

    async def may(self, action: str = "accountLogin", ip: str = IP, email: str = EMAIL) -> int:
        """0 if the action may go on, else its retryAfter."""
        try:
            await self.customs.check(ip, email, action)
        except ApiError as error:
            self.assertEqual((error.status, error.errno), (429, 114))
            wait_s = error.extras["retryAfter"]
            self.assertEqual(error.headers, {"Retry-After": str(wait_s)})
            self.assertTrue(wait_s)
            return int(wait_s)
        return 0

    async def guess_wrong(self, ip: str = IP, email: str = EMAIL, action: str = "accountLogin") -> bool:
        """Try a wrong password; the answer is whether that is to lock the account."""
        await self.customs.check(ip, email, action)
        async with self.customs.guess(ip, email, action) as guess:
            return await guess.wrong()

    async def succeed(self, customs: BuiltinCustoms | None = None) -> None:
        """Try the right password."""
        async with (customs or self.customs).guess(IP, EMAIL, "accountLogin") as guess:
            await self.store.change(*guess.if_right)

    async def fail_often(self, times: int, email: str = EMAIL) -> list[bool]:
        """So many wrong passwords, each from a client of its own."""
        clients = [f"198.51.100.{next(self.clients)}" for _ in range(times)]
        return [await self.guess_wrong(client, email) for client in clients]

    async def ban(self, subject: str, length_s: int = DAY) -> None:
        now_ms = int(self.clock.seconds() * 1000)
        await self.store.bans.add(Ban(subject, "", now_ms, now_ms + length_s * 1000))

    # The rules.

    async def test_after_three_wrong_passwords_a_client_has_to_wait(self) -> None:
        for _ in range(3):
            self.assertEqual(await self.may(), 0)
            self.assertIs(await self.guess_wrong(), False)
        for action in PASSWORD_ACTIONS:
            self.assertEqual(await self.may(action), 15 * MIN, action)
        for action in (*MAIL_ACTIONS, "accountLock"):
            self.assertEqual(await self.may(action, email=OTHER if action in MAIL_ACTIONS else EMAIL), 0, action)
            if action in MAIL_ACTIONS:
                await self.store.limits.clear("mails")
        self.assertEqual(await self.may(ip=OTHER_IP), 0)
        self.assertEqual(await self.may(email=OTHER), 0)
        self.clock.advance(15 * MIN - 1)
        self.assertEqual(await self.may(), 1)
        self.clock.advance(1)
        self.assertEqual(await self.may(), 0)

    async def test_wrong_passwords_of_all_three_actions_count_together(self) -> None:
        for action in PASSWORD_ACTIONS:
            await self.guess_wrong(action=action)
        self.assertEqual(await self.may(), 15 * MIN)

    async def test_the_password_of_a_lock_counts_but_is_not_held_back(self) -> None:
        for _ in range(5):
            await self.guess_wrong(action="accountLock")
        self.assertEqual(await self.may(), 15 * MIN)

    async def test_a_success_clears_nothing(self) -> None:
        await self.guess_wrong()
        await self.guess_wrong()
        await self.succeed()
        await self.guess_wrong()
        self.assertEqual(await self.may(), 15 * MIN)

    async def test_refused_attempts_do_not_count(self) -> None:
        for _ in range(3):
            await self.guess_wrong()
        for action in ("accountLogin", "passwordForgotSendCode"):
            for _ in range(15):
                await self.may(action)
                self.clock.advance(MIN)
            self.assertEqual(await self.may(), 0)

    async def test_an_ipv6_client_is_its_64_and_a_mapped_address_is_ipv4(self) -> None:
        for first, same, other in (
            ("2001:db8::1", "2001:db8::ffff:2:3:4", "2001:db8:0:1::1"),
            ("::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.2"),
        ):
            for _ in range(3):
                await self.guess_wrong(first)
            self.assertEqual(await self.may(ip=same), 15 * MIN, first)
            self.assertEqual(await self.may(ip=other), 0, first)

    async def test_after_three_mails_an_address_gets_no_more(self) -> None:
        for action in [*MAIL_ACTIONS][:3]:
            self.assertEqual(await self.may(action), 0)
        for action in MAIL_ACTIONS:
            self.assertEqual(await self.may(action, OTHER_IP), 15 * MIN)
        self.assertEqual(await self.may("passwordForgotSendCode", email=OTHER), 0)
        for action in PASSWORD_ACTIONS:
            self.assertEqual(await self.may(action), 0)
        self.clock.advance(15 * MIN - 1)
        self.assertEqual(await self.may("passwordForgotSendCode"), 1)
        self.clock.advance(1)
        self.assertEqual(await self.may("passwordForgotSendCode"), 0)

    async def test_the_mail_that_is_one_too_many_begins_the_wait(self) -> None:
        for minutes, wait_s in ((0, 0), (7, 0), (7, 0), (0.5, 15 * MIN), (1, 14 * MIN), (13.5, 30)):
            self.clock.advance(minutes * MIN)
            self.assertEqual(await self.may("accountCreate"), wait_s, minutes)

    async def test_the_21st_wrong_password_from_anywhere_calls_for_a_lockout(self) -> None:
        self.assertEqual(await self.fail_often(22), [False] * 20 + [True] * 2)
        self.assertEqual(await self.may(ip="203.0.113.1"), 0, "nobody is blocked by that")
        self.assertIs(await self.guess_wrong("203.0.113.1", OTHER), False)

    async def test_failures_count_towards_a_lockout_for_three_hours(self) -> None:
        await self.fail_often(10)
        self.clock.advance(3 * HOUR - 1)
        self.assertEqual(await self.fail_often(10), [False] * 10)
        self.clock.advance(1)
        self.assertEqual(await self.fail_often(11), [False] * 10 + [True])

    async def test_a_reset_lifts_what_failed_logins_have_brought(self) -> None:
        for ip in (IP, OTHER_IP):
            for _ in range(3):
                await self.guess_wrong(ip)
        await self.fail_often(14)
        for _ in range(3):
            await self.may("passwordForgotSendCode")
        await self.customs.password_reset(EMAIL)
        self.assertEqual((await self.may(), await self.may(ip=OTHER_IP)), (0, 0))
        self.assertEqual(await self.may("passwordForgotSendCode"), 15 * MIN, "mails are another matter")
        self.assertEqual(await self.fail_often(21), [False] * 20 + [True])

    async def test_an_unlocking_clears_the_way_to_a_lockout_only(self) -> None:
        for _ in range(3):
            await self.guess_wrong()
        await self.fail_often(17)
        await self.customs.unlocked(EMAIL)
        self.assertEqual(await self.may(), 15 * MIN)
        self.clock.advance(1)
        self.assertEqual(await self.fail_often(21), [False] * 20 + [True])

    async def test_an_unlocking_counts_for_as_long_as_what_it_forgives(self) -> None:
        await self.fail_often(21)
        await self.may("accountUnlockResendCode")
        await self.customs.unlocked(EMAIL)
        self.clock.advance(31 * MIN)
        limits, now_ms = self.store.limits, int(self.clock.seconds() * 1000)
        await self.store.change(limits.prune_events(now_ms, 1000), limits.prune_addresses(now_ms, 1000))
        self.assertEqual(await self.fail_often(1), [False])

    async def test_a_ban_blocks_every_action(self) -> None:
        await self.ban(network_key(parse_network("192.0.2.7")))
        await self.ban(OTHER)
        await self.ban(network_key(parse_network("2001:db8::/32")))
        for action in (*MAIL_ACTIONS, *PASSWORD_ACTIONS, "accountLock"):
            for ip, email, blocked in (
                (IP, EMAIL, True),
                (OTHER_IP, OTHER, True),
                ("2001:db8:9::1", EMAIL, True),
                ("2001:db9::1", f"{action}@example.com", False),
            ):
                self.assertEqual(await self.may(action, ip, email), DAY if blocked else 0, (action, ip))
        self.assertEqual((await self.rows("limit_events"))[5:], [], "who is banned is not counted")

    async def test_the_longest_wait_is_told(self) -> None:
        for _ in range(3):
            await self.guess_wrong()
        await self.ban(EMAIL, 10 * MIN)
        self.assertEqual(await self.may(), 15 * MIN)
        self.clock.advance(6 * MIN)
        await self.ban(network_key(parse_network("192.0.0.0/8")), 10 * MIN)
        self.assertEqual(await self.may(), 10 * MIN)

    async def test_the_numbers_are_those_of_the_rules(self) -> None:
        self.customs = self.make(
            replace(
                RULES,
                mails=replace(RULES.mails, max=0, window_ms=10_000),
                logins=replace(RULES.logins, max=0, window_ms=20_000),
                lockout=replace(RULES.lockout, max=1),
            )
        )
        self.assertEqual(await self.may("accountCreate"), 10)
        self.assertIs(await self.guess_wrong(), False)
        self.assertEqual(await self.may(), 20)
        self.assertIs(await self.guess_wrong(OTHER_IP), True)

    # What is told.

    async def test_each_refusal_is_logged_with_its_rule(self) -> None:
        for _ in range(3):
            await self.guess_wrong("2001:db8::1")
        self.assertEqual(self.logged, [])
        self.clock.advance(10)
        await self.may("accountDestroy", "2001:db8::1")
        expected = {"rule": "logins", "action": "accountDestroy", "ip": "2001:db8::/64", "email": EMAIL}
        expected |= {"count": 3, "windowMs": 900_000, "retryAfter": 890}
        self.assertEqual(self.logged, [("customs.blocked", expected)])
        self.logged.clear()
        for _ in range(5):
            await self.may("accountCreate")
        await self.ban(OTHER, 60)
        await self.may(email=OTHER)
        told = [(op, fields["rule"], fields["count"], fields["retryAfter"]) for op, fields in self.logged]
        self.assertEqual(told, [("customs.blocked", "mails", 4, 900)] * 2 + [("customs.blocked", "ban", 1, 60)])
        self.assertEqual(self.customs.statistics(), {"blocked": 4, "guesses": 0})

    async def test_rules_that_only_report_block_nobody_and_log_what_they_would_have_blocked(self) -> None:
        self.customs = self.make(
            Rules(
                mails=replace(RULES.mails, report_only=True),
                logins=replace(RULES.logins, report_only=True),
                lockout=replace(RULES.lockout, max=4, report_only=True),
                bans_report_only=True,
            )
        )
        await self.ban(OTHER)
        for _ in range(6):
            self.assertEqual(await self.may(), 0)
            self.assertIs(await self.guess_wrong(), False)
            self.assertEqual(await self.may("accountCreate"), 0)
        await self.succeed()
        self.assertEqual(await self.may("accountCreate", email=OTHER), 0)
        told = [(op, fields["rule"], fields["action"]) for op, fields in self.logged]
        op = "customs.would_block"
        self.assertEqual(told.count((op, "logins", "accountLogin")), 6, "twice each time from the fourth on")
        self.assertEqual(told.count((op, "mails", "accountCreate")), 3, "once each time from the fourth on")
        self.assertEqual(told.count((op, "lockout", "accountLogin")), 2)
        self.assertEqual(told.count((op, "ban", "accountCreate")), 1)
        self.assertEqual(len(told), 12)

    # Failing parts.

    async def test_a_store_that_fails_lets_nobody_try(self) -> None:
        await self.guess_wrong()
        await self.database.stop()
        for call in (self.may(), self.may("accountCreate"), self.guess_wrong(), self.succeed()):
            await self.assertFailure(Deferred.fromCoroutine(call), DatabaseUnavailable)
        self.assertEqual(self.customs.statistics(), {"blocked": 0, "guesses": 0})

    async def test_good_news_that_cannot_be_recorded_is_logged(self) -> None:
        await self.database.stop()
        await self.customs.password_reset(EMAIL)
        await self.customs.unlocked(EMAIL)
        told = [(op, fields["what"]) for op, fields in self.logged]
        self.assertEqual(told, [("customs.not_recorded", "password_reset"), ("customs.not_recorded", "unlocked")])

    async def test_a_wrong_password_that_cannot_be_recorded_stays_under_way(self) -> None:
        async def break_down(*_: object, **__: object) -> None:
            raise DatabaseUnavailable("it has gone")

        self.patch(self.store.limits, "settle", break_down)
        await self.assertFailure(Deferred.fromCoroutine(self.guess_wrong()), DatabaseUnavailable)
        self.assertEqual(await self.under_way(), 1)

    async def under_way(self) -> int:
        return (await self.store.limits.recorded(IP, EMAIL, [], int(self.clock.seconds() * 1000))).under_way

    # All at once.

    async def test_whoever_does_not_come_to_try_counts_for_nothing(self) -> None:
        for _ in range(5):
            await self.assertFailure(Deferred.fromCoroutine(self.trouble()), ZeroDivisionError)
        self.assertEqual((await self.may(), await self.under_way(), await self.rows("limit_events")), (0, 0, []))

    async def trouble(self) -> None:
        async with self.customs.guess(IP, EMAIL, "accountLogin"):
            self.assertEqual(await self.under_way(), 1)
            raise ZeroDivisionError

    async def test_of_50_wrong_passwords_at_once_three_are_tried(self) -> None:
        tries = Tries(self)
        outcomes = await self.driven([tries.enter(self.customs, number, False) for number in range(50)])
        self.assertEqual(len(tries.begun), 3)
        self.assertEqual(outcomes, ["tried"] * 3 + ["refused"] * 47)
        self.assertEqual(self.customs.statistics(), {"blocked": 47, "guesses": 0})

    async def test_what_is_left_of_the_allowance_bounds_those_at_once(self) -> None:
        await self.guess_wrong()
        await self.guess_wrong()
        tries = Tries(self)
        outcomes = await self.driven([tries.enter(self.customs, number, number < 5) for number in range(10)])
        self.assertEqual((tries.begun, tries.most), ([*range(6)], 1), "five right ones and a wrong one, each alone")
        self.assertEqual(outcomes, ["tried"] * 6 + ["refused"] * 4)

    async def test_50_right_passwords_at_once_all_get_their_turn_in_order(self) -> None:
        tries = Tries(self)
        outcomes = await self.driven([tries.enter(self.customs, number, True) for number in range(50)])
        self.assertEqual((outcomes, tries.begun), (["tried"] * 50, [*range(50)]))
        self.assertLessEqual(tries.most, 3)
        self.assertEqual(await self.rows("limit_events"), [])

    async def test_other_addresses_and_clients_do_not_wait(self) -> None:
        tries = Tries(self, hold=True)
        calls = [tries.enter(self.customs, number, True, *who) for number, who in enumerate(((IP, EMAIL),) * 4)]
        calls += [tries.enter(self.customs, 10, True, OTHER_IP, EMAIL), tries.enter(self.customs, 11, True, IP, OTHER)]
        running = [Deferred.fromCoroutine(call) for call in calls]
        await self.until(lambda: len(tries.begun) == 5)
        self.assertEqual(sorted(tries.begun), [0, 1, 2, 10, 11])
        self.assertEqual(self.customs.statistics()["guesses"], 6)
        tries.go_on()
        self.assertEqual(await gatherResults(running), ["tried"] * 6)

    async def test_nobody_waits_for_ever(self) -> None:
        tries = Tries(self, hold=True)
        running = [Deferred.fromCoroutine(tries.enter(self.customs, number, True)) for number in range(5)]
        await self.until(lambda: len(tries.begun) == 3)
        for _ in range(int(WAIT_S / POLL_S) - 1):
            await self.quiet()
            self.clock.advance(POLL_S)
        await self.quiet()
        for waiting in running[3:]:
            self.assertNoResult(waiting)
        self.clock.advance(POLL_S)
        self.assertEqual(await gatherResults(running[3:]), ["kept waiting"] * 2)
        waited = [fields for _, fields in self.logged if fields.get("waited")]
        self.assertEqual([(fields["rule"], fields["email"]) for fields in waited], [("logins", EMAIL)] * 2)
        tries.go_on()
        self.assertEqual(await gatherResults(running[:3]), ["tried"] * 3)
        self.assertEqual((self.clock.getDelayedCalls(), self.customs.statistics()["guesses"]), ([], 0))

    async def test_passwords_of_a_daemon_that_died_count_until_their_lease_runs_out(self) -> None:
        stopped = Clock()
        stopped.advance(NOW_S)
        tries, dead = Tries(self, hold=True), self.make(clock=stopped)
        dying = [Deferred.fromCoroutine(tries.enter(dead, number, True)) for number in range(3)]
        await self.until(lambda: len(tries.begun) == 3)
        waiting = Deferred.fromCoroutine(tries.enter(self.make(wait_s=1000), 3, True))
        for _ in range(int(LEASE_MS / 1000 / POLL_S) - 1):
            await self.quiet()
            self.clock.advance(POLL_S)
        await self.quiet()
        self.assertEqual(len(tries.begun), 3)
        self.clock.advance(POLL_S)
        await self.until(lambda: len(tries.begun) == 4)
        tries.go_on()
        await gatherResults([*dying, waiting])

    async def test_a_password_counts_for_as_long_as_it_is_being_checked(self) -> None:
        tries = Tries(self, hold=True)
        slow = [Deferred.fromCoroutine(tries.enter(self.customs, number, False)) for number in range(3)]
        await self.until(lambda: len(tries.begun) == 3)
        for _ in range(10):
            self.clock.advance(LEASE_MS / 1000 - 1)
            await self.quiet()
            self.assertEqual(await self.under_way(), 3)
        tries.go_on()
        await gatherResults(slow)
        self.assertEqual((await self.may(), await self.under_way()), (15 * MIN, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_of_50_mails_at_once_three_are_let_through(self) -> None:
        waits = await self.driven([self.may("passwordForgotSendCode") for _ in range(50)])
        self.assertEqual(sum(1 for wait_s in waits if wait_s == 0), 3)
        self.assertLessEqual(len(await self.rows("limit_events")), 4)

    async def until(self, condition: Any) -> None:
        while not condition():
            await deferLater(reactor, 0.001)  # type: ignore[arg-type]

    async def quiet(self) -> None:
        """Return when no call of the database is under way, and none has begun for some turns of the reactor."""
        for _ in range(3):
            await self.until(lambda: not any(database.pending for database in self.databases()))
            await deferLater(reactor, 0)  # type: ignore[arg-type]

    def databases(self) -> list[Any]:
        return [self.database]

    async def driven(self, calls: list[Coroutine[Any, Any, Any]]) -> list[Any]:
        """The outcomes of calls that run at once; when all of them wait, time goes on."""
        done = gatherResults([Deferred.fromCoroutine(call) for call in calls])
        while not done.called:
            await self.quiet()
            self.clock.advance(POLL_S)
        return await done


class Tries:
    """Passwords that are tried, each of which takes a moment; with ``hold`` none ends before ``go_on``.

    ``begun`` are the numbers of those that came to it, in order, and ``most`` is how many there were at a time.
    """

    def __init__(self, case: BuiltinContract, hold: bool = False) -> None:
        self._case = case
        self._held: Deferred[None] | None = Deferred() if hold else None
        self._now = 0
        self.begun: list[int] = []
        self.most = 0

    def go_on(self) -> None:
        held, self._held = self._held, None
        assert held is not None
        held.callback(None)

    async def enter(
        self, customs: BuiltinCustoms, number: int, is_right: bool, ip: str = IP, email: str = EMAIL
    ) -> str:
        """How it ended: ``tried``, ``refused`` for long, or ``kept waiting`` in vain."""
        try:
            async with customs.guess(ip, email, "accountLogin") as guess:
                self._now += 1
                self.most = max(self.most, self._now)
                self.begun.append(number)
                await self._take_time()
                self._now -= 1
                if is_right:
                    await self._case.store.change(*guess.if_right)
                else:
                    await guess.wrong()
        except ApiError as error:
            self._case.assertEqual(error.errno, 114)
            wait_s = error.extras["retryAfter"]
            return "kept waiting" if wait_s == errors.RETRY_AFTER_S else "refused"
        return "tried"

    async def _take_time(self) -> None:
        if self._held is None:
            await deferLater(reactor, 0.001)  # type: ignore[arg-type]
            return
        ended: Deferred[None] = Deferred()
        self._held.addCallback(ended.callback)
        await ended


class SharedDatabaseContract(BuiltinContract):
    """A database that several daemons can open, one after the other or at once."""

    async def another_store(self) -> Store:
        """What another daemon sees of the database."""
        raise NotImplementedError

    def databases(self) -> list[Any]:
        return [self.database, *self.others]

    async def setUp(self) -> None:
        self.others: list[Any] = []
        await super().setUp()

    async def another(self) -> BuiltinCustoms:
        store = await self.another_store()
        self.others.append(store._database)
        return self.make(store=store, wait_s=1000)

    async def test_of_50_wrong_passwords_at_two_daemons_three_are_tried(self) -> None:
        daemons, tries = [self.make(wait_s=1000), await self.another()], Tries(self)
        outcomes = await self.driven([tries.enter(daemons[n % 2], n, False) for n in range(50)])
        self.assertEqual((len(tries.begun), Counter(outcomes)), (3, {"tried": 3, "refused": 47}))

    async def test_50_right_passwords_at_two_daemons_all_get_their_turn(self) -> None:
        daemons, tries = [self.make(wait_s=1000), await self.another()], Tries(self)
        outcomes = await self.driven([tries.enter(daemons[n % 2], n, True) for n in range(50)])
        self.assertEqual((outcomes, len(tries.begun)), (["tried"] * 50, 50))
        self.assertLessEqual(tries.most, 3)
        for one in (0, 1):
            self.assertEqual([n for n in tries.begun if n % 2 == one], [*range(one, 50, 2)])

    async def test_of_50_mails_at_two_daemons_three_are_let_through(self) -> None:
        daemons = [self.customs, await self.another()]

        async def ask(number: int) -> bool:
            try:
                await daemons[number % 2].check(IP, EMAIL, "accountCreate")
            except ApiError:
                return False
            return True

        self.assertEqual(sum(await self.driven([ask(number) for number in range(50)])), 3)

    async def test_what_one_daemon_has_counted_another_knows(self) -> None:
        for _ in range(3):
            await self.guess_wrong()
            await self.may("accountCreate")
        await self.ban(OTHER)
        self.customs = await self.another()
        self.assertEqual((await self.may(), await self.may("accountCreate")), (900, 900))
        self.assertEqual(await self.may(email=OTHER), DAY)

    async def test_a_restart_and_twenty_idle_minutes_leave_a_ban_in_force(self) -> None:
        await self.ban(EMAIL, DAY)
        for _ in range(3):
            await self.guess_wrong(email=OTHER)
        await self.database.stop()
        store = await self.another_store()
        self.customs = self.make(store=store)
        pruning = Pruning(self.clock, store, Lifetimes({}), 1, 60, os.urandom)
        pruning.start()
        for _ in range(20):
            await pruning.prune()
            self.clock.advance(MIN)
        self.assertEqual(await self.may(), DAY - 20 * MIN)
        self.assertEqual(await self.may(email=OTHER), 0)
        self.clock.advance(DAY - 20 * MIN - 1)
        self.assertEqual(await self.may(), 1)
        self.clock.advance(1)
        self.assertEqual(await self.may(), 0)
        await pruning.stop()


class SqliteFileTests(OnSqliteFile, SharedDatabaseContract, TestCase):
    """In an SQLite file."""

    async def another_store(self) -> Store:
        return Store(await self.open(self.path), self.seal)


class SqliteMemoryTests(OnSqliteMemory, BuiltinContract, TestCase):
    """In memory."""


class PostgresTests(OnPostgres, SharedDatabaseContract, TestCase):
    """On a PostgreSQL server."""

    async def another_store(self) -> Store:
        return Store(await opened(self, self.url), self.seal)

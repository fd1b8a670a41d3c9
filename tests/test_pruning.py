"""Removing expired tokens, on real databases and under a clock that the test sets."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import psycopg2
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from fxa_auth import pruning
from fxa_auth.periodic import JITTER
from fxa_auth.pruning import INVITES_KEPT_MS, LEASE_MS, PAUSE_S, Pruning
from fxa_auth.records import Ban, Counted, TokenKind
from fxa_auth.store import Store
from fxa_auth.store.database import DatabaseUnavailable, Row, Statement
from fxa_auth.store.suppressions import REMEMBERED_MS
from fxa_auth.tokens import Lifetimes
from tests.postgres import administer
from tests.store.contract import (
    DatabaseContract,
    OnSqliteFile,
    OnSqliteMemory,
    a_letter,
    an_account,
    an_invite,
    keys,
)
from tests.store.on_postgres import OnPostgres, opened

NOW_MS = 1_800_000_000_000
INTERVAL_S = 900
DEAD_LETTER_AGE_MS = 30_000
BATCH = 3
LIFETIMES = Lifetimes(
    {TokenKind.ACCOUNT_RESET: 10_000, TokenKind.PASSWORD_FORGOT: 60_000, TokenKind.PASSWORD_CHANGE: -5_000}
)


class PruningContract(DatabaseContract):
    """Batches are of three tokens here."""

    patch: Any
    assertTrue: Any
    flushLoggedErrors: Any

    async def setUp(self) -> None:
        await super().setUp()
        self.patch(pruning, "BATCH", BATCH)
        self.clock = Clock()
        self.clock.advance(NOW_MS / 1000)
        self.pruning = self.make_pruning(self.store)

    def make_pruning(self, store: Store) -> Pruning:
        return Pruning(self.clock, store, LIFETIMES, DEAD_LETTER_AGE_MS, INTERVAL_S, os.urandom)

    async def give(self, kind: TokenKind, age_ms: int) -> None:
        """A token of this age to an account of its own."""
        account, token = await self.add(an_account(f"{os.urandom(8).hex()}@example.com")), keys(kind)
        created_at_ms, tokens = NOW_MS - age_ms, self.store.tokens
        if kind is TokenKind.ACCOUNT_RESET:
            step = tokens.add_single(token, account.uid, created_at_ms, "account is there")
        elif kind is TokenKind.PASSWORD_FORGOT:
            step = tokens.add_single(token, account.uid, created_at_ms, "account is there", os.urandom(16), 3)
        else:
            bundle = os.urandom(96) if kind is TokenKind.KEY_FETCH else None
            step = tokens.add(token, account, created_at_ms, "account is there", bundle)
        await self.store.change(step)

    async def give_expired(self, count: int) -> None:
        for _ in range(count):
            await self.give(TokenKind.PASSWORD_FORGOT, 3_600_000)

    async def ages_ms(self) -> list[tuple[str, int]]:
        return sorted((row["kind"], NOW_MS - row["created_at_ms"]) for row in await self.rows("tokens"))

    async def count(self) -> int:
        return len(await self.rows("tokens"))

    def watch(self, before: Callable[[], None] = lambda: None) -> list[int]:
        """How many tokens each batch removes that succeeds from now on; ``before`` is called ahead of each."""
        batches: list[int] = []
        change = self.database.change

        async def watched(statements: Sequence[Statement]) -> list[Sequence[Row]]:
            is_batch = any("FROM tokens" in statement.sql for statement in statements)
            if is_batch:
                before()
            results: list[Sequence[Row]] = await change(statements)
            if is_batch:
                batches.append(len(results[-1]))
            return results

        self.patch(self.database, "change", watched)
        return batches

    async def until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            await deferLater(reactor, 0)  # type: ignore[arg-type]

    async def finished(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for the work, and let the pauses that it makes go by."""
        running = Deferred.fromCoroutine(work)

        def is_done() -> bool:
            if self.clock.getDelayedCalls():
                self.clock.advance(PAUSE_S)
            return bool(running.called)

        await self.until(is_done)
        await running

    def is_pausing(self) -> bool:
        return bool(self.clock.getDelayedCalls())

    async def test_what_has_expired_is_removed_and_nothing_else(self) -> None:
        lives = [
            (TokenKind.ACCOUNT_RESET, 9_999),
            (TokenKind.PASSWORD_FORGOT, 59_999),
            (TokenKind.PASSWORD_CHANGE, -1),
            (TokenKind.SESSION, NOW_MS),
            (TokenKind.KEY_FETCH, NOW_MS),
        ]
        for kind, age_ms in lives:
            await self.give(kind, age_ms)
        for kind, age_ms in (
            (TokenKind.ACCOUNT_RESET, 10_001),
            (TokenKind.PASSWORD_FORGOT, 60_001),
            (TokenKind.PASSWORD_CHANGE, 1),
        ):
            await self.give(kind, age_ms)
        await self.finished(self.pruning.prune())
        self.assertEqual(await self.ages_ms(), sorted((kind.value, age_ms) for kind, age_ms in lives))

    async def test_suppressions_that_ended_long_ago_are_forgotten(self) -> None:
        for ended_for_ms in (-1000, 0, REMEMBERED_MS - 9000, REMEMBERED_MS + 1, 10**10, REMEMBERED_MS + 2, 2 * 10**9):
            account = await self.add(an_account(f"{ended_for_ms}@example.com", email_verified=True))
            until_ms = NOW_MS - ended_for_ms
            await self.store.change(self.store.suppressions.add(account.uid, "bounce", 1, NOW_MS, until_ms))
        await self.finished(self.pruning.prune())
        left = [NOW_MS - row["until_ms"] for row in await self.rows("suppressions")]
        self.assertEqual(sorted(left), [-1000, 0, REMEMBERED_MS - 9000])

    async def test_old_dead_letters_are_removed_and_no_mail_that_waits(self) -> None:
        account = await self.add(an_account())
        for dead_for_ms in (None, 29_000, 31_000, 10**9, 20_000, 32_000):
            await self.store.change(self.store.mails.queue(a_letter(account), 1))
            [mail] = await self.store.mails.claim(1, NOW_MS, 1)
            if dead_for_ms is None:
                await self.store.mails.defer(mail, NOW_MS, "451 come back later")
            else:
                await self.store.mails.bury(mail, NOW_MS - dead_for_ms, "550 no such user", 1)
        await self.finished(self.pruning.prune())
        left = [row["dead_at_ms"] for row in await self.rows("mails")]
        self.assertEqual(sorted(left, key=str), [NOW_MS - 29_000, NOW_MS - 20_000, None])

    async def test_what_the_abuse_policy_no_longer_needs_is_removed_and_nothing_else(self) -> None:
        for number in range(2 * BATCH + 1):
            for ends_ms in (-number, (number + 1) * 60_000):
                email, expires_at_ms = f"{ends_ms}@example.com", NOW_MS + ends_ms
                event = Counted("logins", email, "192.0.2.1", os.urandom(16))
                await self.store.limits.settle(event, 0, since_ms=0, most=1, expires_at_ms=expires_at_ms)
                await self.store.bans.add(Ban(email, "", 0, expires_at_ms))
        await self.finished(self.pruning.prune())
        for table in ("limit_events", "limit_addresses", "bans"):
            left = sorted(row["expires_at_ms"] - NOW_MS for row in await self.rows(table))
            self.assertEqual(left, [(number + 1) * 60_000 for number in range(2 * BATCH + 1)], table)

    async def test_an_invite_goes_thirty_days_after_its_end(self) -> None:
        invites, end_ms = self.store.invites, NOW_MS - INVITES_KEPT_MS
        kept = [an_invite(expires_at_ms=end_ms), an_invite(expires_at_ms=NOW_MS), an_invite()]
        gone = an_invite(expires_at_ms=end_ms - 1)
        await self.store.change(*(invites.add(invite, None) for invite in (*kept, gone)))
        await self.finished(self.pruning.prune())
        self.assertEqual({invite.id for invite in await invites.all()}, {invite.id for invite in kept})

    async def test_it_takes_a_batch_at_a_time(self) -> None:
        await self.give_expired(2 * BATCH + 1)
        await self.give(TokenKind.ACCOUNT_RESET, 20_000)
        batches = self.watch()
        await self.finished(self.pruning.prune())
        self.assertEqual(batches, [1, BATCH, BATCH, 1, 0])
        self.assertEqual(await self.count(), 0)

    async def test_between_two_batches_there_is_a_pause(self) -> None:
        await self.give_expired(BATCH + 1)
        batches = self.watch()
        pruned = Deferred.fromCoroutine(self.pruning.prune())
        await self.until(self.is_pausing)
        self.clock.advance(PAUSE_S / 2)
        self.assertTrue(self.is_pausing())
        self.assertEqual((batches, await self.count()), ([0, BATCH], 1))
        self.clock.advance(PAUSE_S / 2)
        await pruned
        self.assertEqual(await self.count(), 0)

    async def test_nobody_prunes_while_another_does(self) -> None:
        await self.give_expired(BATCH + 1)
        pruned = Deferred.fromCoroutine(self.pruning.prune())
        await self.until(self.is_pausing)
        await self.make_pruning(self.store).prune()
        self.assertEqual(await self.count(), 1)
        self.clock.advance(PAUSE_S)
        await pruned
        await self.give_expired(1)
        await self.make_pruning(self.store).prune()
        self.assertEqual(await self.count(), 0, "the lease was not given back")

    async def test_each_batch_lengthens_the_lease(self) -> None:
        await self.give_expired(3 * BATCH + 1)
        pruned = Deferred.fromCoroutine(self.pruning.prune())
        for left in (2 * BATCH + 1, BATCH + 1, 1):
            await self.until(self.is_pausing)
            await self.make_pruning(self.store).prune()
            self.assertEqual(await self.count(), left)
            self.clock.advance(LEASE_MS / 1000 - 1)
        await pruned
        self.assertEqual(await self.rows("leases"), [])

    async def test_the_lease_of_a_daemon_that_died_runs_out(self) -> None:
        await self.give_expired(BATCH + 1)
        pruned = Deferred.fromCoroutine(self.pruning.prune())
        await self.until(self.is_pausing)
        pruned.cancel()
        await self.assertFailure(pruned, CancelledError)
        other = self.make_pruning(self.store)
        self.clock.advance(LEASE_MS / 1000 - 1)
        await other.prune()
        self.assertEqual(await self.count(), 1)
        self.clock.advance(1)
        await other.prune()
        self.assertEqual(await self.count(), 0)

    async def test_who_lost_the_lease_goes_no_further_and_does_not_give_it_back(self) -> None:
        await self.give_expired(BATCH + 1)
        pruned = Deferred.fromCoroutine(self.pruning.prune())
        await self.until(self.is_pausing)
        other, now_ms = os.urandom(16), NOW_MS + 10 * LEASE_MS
        await self.store.change(self.store.leases.claim("prune", other, now_ms, now_ms + LEASE_MS, "lease is free"))
        self.clock.advance(PAUSE_S)
        await pruned
        self.assertEqual(await self.count(), 1)
        self.assertEqual([row["holder"] for row in await self.rows("leases")], [other])

    async def test_turns_come_after_about_an_interval_each(self) -> None:
        batches = self.watch()
        self.pruning.start()
        for turn in (1, 2):
            self.clock.advance(INTERVAL_S * (1 - JITTER) - 1)
            self.assertEqual(len(batches), 3 * (turn - 1))
            self.clock.advance(INTERVAL_S * 2 * JITTER + 2)
            await self.until(self.is_pausing)
            self.assertEqual(len(batches), 3 * turn)
        await self.pruning.stop()

    async def test_chance_has_a_say_in_when_a_turn_comes(self) -> None:
        due_s = []
        for random in (bytes, lambda length: b"\xff" * length):
            pruning = Pruning(self.clock, self.store, LIFETIMES, DEAD_LETTER_AGE_MS, INTERVAL_S, random)
            pruning.start()
            [turn] = self.clock.getDelayedCalls()
            due_s.append(round(turn.getTime() - self.clock.seconds()))
            await pruning.stop()
        self.assertEqual(due_s, [INTERVAL_S * (1 - JITTER), INTERVAL_S * (1 + JITTER)])

    async def test_a_failure_is_logged_and_the_series_goes_on(self) -> None:
        await self.give_expired(1)
        failures = [DatabaseUnavailable("it has gone")]
        change = self.database.change

        async def fail_once(statements: Sequence[Statement]) -> list[Sequence[Row]]:
            if failures:
                raise failures.pop()
            results: list[Sequence[Row]] = await change(statements)
            return results

        self.patch(self.database, "change", fail_once)
        self.pruning.start()
        with capturedLogs() as events:
            self.clock.advance(INTERVAL_S * (1 + JITTER))
            await self.until(self.is_pausing)
        self.assertEqual([event["task"] for event in events if event["log_format"] == "periodic.failed"], ["prune"])
        self.assertEqual(len(self.flushLoggedErrors(DatabaseUnavailable)), 1)
        self.assertEqual(await self.count(), 1)
        self.clock.advance(INTERVAL_S * (1 + JITTER))
        await self.until(self.is_pausing)
        self.assertEqual(await self.count(), 0)
        await self.pruning.stop()

    async def test_after_a_batch_that_failed_it_takes_as_many_tokens_one_at_a_time(self) -> None:
        await self.give_expired(2 * BATCH)
        failures = [None, DatabaseUnavailable("somebody holds one")]

        def fail_at_the_second() -> None:
            if failures and (failure := failures.pop(0)):
                raise failure

        batches = self.watch(before=fail_at_the_second)
        await self.finished(self.pruning.prune())
        self.assertEqual(batches, [0, *[1] * BATCH, BATCH, 0, 0])

    async def test_a_turn_ends_when_too_many_tokens_cannot_be_removed(self) -> None:
        self.patch(pruning, "MOST_SKIPPED", 2)
        tries = []

        def fail() -> None:
            tries.append("in vain")
            raise DatabaseUnavailable("not now")

        self.watch(before=fail)
        await self.assertFailure(Deferred.fromCoroutine(self.pruning.prune()), DatabaseUnavailable)
        self.assertEqual(len(tries), 1 + 2 + 1, "a batch, two tokens that were skipped, one too many")

    async def test_stopping_ends_it_after_the_batch_under_way(self) -> None:
        await self.give_expired(2 * BATCH)
        stopping: list[Deferred[None]] = []

        def stop_at_the_first_that_finds_some() -> None:
            if len(batches) == 1:
                stopping.append(Deferred.fromCoroutine(self.pruning.stop()))

        batches = self.watch(before=stop_at_the_first_that_finds_some)
        self.pruning.start()
        self.clock.advance(INTERVAL_S * (1 + JITTER))
        await self.until(self.is_pausing)
        self.assertEqual([stopped.called for stopped in stopping], [False])
        self.clock.advance(PAUSE_S)
        await stopping[0]
        self.assertEqual((batches, await self.count()), ([0, BATCH], BATCH))
        self.assertEqual((self.clock.getDelayedCalls(), await self.rows("leases")), ([], []))


class SharedDatabaseContract(PruningContract):
    """A database that several daemons can open."""

    async def another_store(self) -> Store:
        """What another daemon sees of the database."""
        raise NotImplementedError

    async def test_daemons_on_one_database_agree_who_prunes(self) -> None:
        other_store = await self.another_store()
        await self.give_expired(BATCH + 1)
        pruned = Deferred.fromCoroutine(self.pruning.prune())
        await self.until(self.is_pausing)
        await self.make_pruning(other_store).prune()
        self.assertEqual(await self.count(), 1)
        self.clock.advance(PAUSE_S)
        await pruned
        self.assertEqual(await self.count(), 0)

    async def test_daemons_that_begin_together_do_not_disturb_each_other(self) -> None:
        await self.give_expired(1)
        other_store = await self.another_store()
        both = [self.pruning.prune(), self.make_pruning(other_store).prune()]
        await gatherResults([Deferred.fromCoroutine(prune) for prune in both])
        self.assertEqual((await self.count(), await self.rows("leases")), (0, []))


class SqliteFileTests(OnSqliteFile, SharedDatabaseContract, TestCase):
    """In an SQLite file."""

    async def another_store(self) -> Store:
        return Store(await self.open(self.path), self.seal)


class SqliteMemoryTests(OnSqliteMemory, PruningContract, TestCase):
    """In memory."""


class PostgresTests(OnPostgres, SharedDatabaseContract, TestCase):
    """On a PostgreSQL server."""

    async def another_store(self) -> Store:
        return Store(await opened(self, self.url), self.seal)

    async def hold_one(self) -> tuple[psycopg2.extensions.connection, bytes]:
        """Lock a token that is not the first to be removed, until the connection rolls back."""
        held: bytes = sorted(row["id_hash"] for row in await self.rows("tokens"))[1]
        connection = psycopg2.connect(self.url)
        self.addCleanup(connection.close)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM tokens WHERE id_hash = %s FOR UPDATE", (held,))
        return connection, held

    async def test_a_token_that_somebody_holds_keeps_no_other(self) -> None:
        await self.give_expired(2 * BATCH + 1)
        connection, held = await self.hold_one()
        self.database = await opened(self, self.url, lock_timeout_s=0.05)
        batches = self.watch()
        await self.finished(self.make_pruning(Store(self.database, self.seal)).prune())
        self.assertEqual([row["id_hash"] for row in await self.rows("tokens")], [held])
        self.assertEqual(batches, [0, 1, 1, BATCH, 1, 0], "one at a time until past the one that is held")
        connection.rollback()
        await self.finished(self.pruning.prune())
        self.assertEqual(await self.count(), 0)

    async def test_the_lease_is_not_locked_while_a_batch_waits(self) -> None:
        await self.give_expired(BATCH)
        connection, _ = await self.hold_one()
        pruned = Deferred.fromCoroutine(self.pruning.prune())
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        await self.until(lambda: administer(self.url, waiting))
        self.assertEqual(administer(self.url, "SELECT name FROM leases FOR UPDATE NOWAIT"), [("prune",)])
        connection.rollback()
        await self.until(self.is_pausing)
        self.clock.advance(PAUSE_S)
        await pruned


class LifetimeTests(SynchronousTestCase):
    @given(st.integers(-(10**12), 10**12), st.integers(0, 10**13))
    def test_whatever_was_created_before_the_limit_has_expired(self, lifetime_ms: int, now_ms: int) -> None:
        kind = TokenKind.ACCOUNT_RESET
        lifetimes = Lifetimes({kind: lifetime_ms})
        before_ms = lifetimes.expired_before_ms(kind, now_ms)
        self.assertTrue(lifetimes.is_expired(kind, before_ms - 1, now_ms))
        if lifetime_ms > 0:
            self.assertFalse(lifetimes.is_expired(kind, before_ms + 1, now_ms))

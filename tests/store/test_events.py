"""What the steps that record events leave in the table, on every database."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase, TestCase

from fxa_auth.records import Account, EventKind
from fxa_auth.store.database import Statement
from fxa_auth.store.events import EventTable, Steps
from tests.store.contract import DatabaseContract, OnSqliteFile, OnSqliteMemory, an_account

EMAIL = "Mé@example.com"
DOMAIN = "api.example.com:9000"
NOW_MS = 1_700_000_100_000


def all_kinds(uid: bytes) -> list[Steps]:
    """The steps of an event of each kind, in the order in which an account may come by them."""
    events = EventTable()
    return [
        events.created(uid, EMAIL, "fr", "sync", NOW_MS),
        events.verified(uid, EMAIL, "fr", NOW_MS),
        events.login(uid, EMAIL, NOW_MS),
        events.password_changed(uid, DOMAIN, NOW_MS),
        events.reset(uid, DOMAIN, NOW_MS),
        events.locked(uid, EMAIL, NOW_MS),
        events.unlocked(uid, EMAIL, NOW_MS),
        events.deleted(uid, DOMAIN, NOW_MS),
    ]


class EventContract(DatabaseContract):
    """An account, and what is recorded of it."""

    assertEqual: Any

    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.add(an_account(EMAIL))
        self.uid = self.account.uid

    async def recorded(self, *steps: Statement) -> list[dict[str, Any]]:
        """All events there are, by their stamps, once the steps are done."""
        await self.store.change(*steps)
        return sorted(await self.rows("events"), key=lambda row: row["stamp"])

    async def test_what_each_kind_says(self) -> None:
        uid, account = self.uid, {"email": EMAIL, "uid": self.uid.hex()}
        principal = {"uid": f"{uid.hex()}@{DOMAIN}"}
        says: dict[str, dict[str, Any]] = {
            "created": {**account, "locale": "fr", "service": "sync"},
            "verified": {**account, "locale": "fr"},
            "login": account,
            "passwordChange": {**principal, "generation": NOW_MS},
            "reset": {**principal, "generation": NOW_MS},
            "lock": account,
            "unlock": account,
            "delete": principal,
        }
        for steps in all_kinds(uid):
            if steps[1].params["kind"] == "unlock":
                await self.store.change(self.store.accounts.lock(uid, NOW_MS, b"c" * 16))
            await self.store.change(*steps)
        rows = await self.recorded()
        self.assertEqual({row["kind"]: json.loads(row["payload"]) for row in rows}, says)
        self.assertEqual({kind.value for kind in EventKind}, set(says))
        for row in rows:
            self.assertEqual((row["uid"], row["created_at_ms"], row["number"]), (uid, NOW_MS, None))

    async def test_an_account_without_a_locale(self) -> None:
        [row] = await self.recorded(*self.store.events.verified(self.uid, EMAIL, None, NOW_MS))
        self.assertEqual(json.loads(row["payload"])["locale"], None)

    async def test_the_stamps_of_an_account_grow_whatever_the_clock_says(self) -> None:
        for now_ms in (NOW_MS, NOW_MS, NOW_MS - 50, NOW_MS + 10):
            await self.store.change(*self.store.events.login(self.uid, EMAIL, now_ms))
        rows = await self.recorded()
        self.assertEqual([row["stamp"] - NOW_MS for row in rows], [0, 1, 2, 10])
        self.assertEqual([row["created_at_ms"] - NOW_MS for row in rows], [0, 0, -50, 10])

    async def test_the_stamps_of_different_accounts_know_nothing_of_each_other(self) -> None:
        other = await self.add(an_account("other@example.com"))
        for uid in (self.uid, other.uid):
            await self.store.change(*self.store.events.login(uid, EMAIL, NOW_MS))
        self.assertEqual({row["stamp"] for row in await self.recorded()}, {NOW_MS})

    async def test_of_an_account_that_is_not_there_nothing_is_recorded(self) -> None:
        for steps in all_kinds(b"x" * 16):
            self.assertEqual(await self.recorded(*steps), [])

    async def test_events_stand_with_the_making_and_ahead_of_the_removal(self) -> None:
        made = an_account("made@example.com")
        await self.store.change(
            self.store.accounts.add(made, "address is free"),
            *self.store.events.created(made.uid, made.email, None, None, NOW_MS),
        )
        await self.store.change(
            *self.store.events.deleted(made.uid, DOMAIN, NOW_MS), self.store.accounts.remove(made.uid, "there")
        )
        self.assertEqual([row["kind"] for row in await self.recorded()], ["created", "delete"])

    async def test_locking_is_an_event_when_it_happens(self) -> None:
        events, accounts = self.store.events, self.store.accounts

        def lock() -> list[Statement]:
            return [*events.locked(self.uid, EMAIL, NOW_MS), accounts.lock(self.uid, NOW_MS, b"c" * 16)]

        def unlock() -> list[Statement]:
            return [*events.unlocked(self.uid, EMAIL, NOW_MS), accounts.unlock(self.uid)]

        for steps in (unlock, lock, lock, unlock, unlock):
            await self.store.change(*steps())
        self.assertEqual([row["kind"] for row in await self.recorded()], ["lock", "unlock"])

    async def test_nothing_is_recorded_of_a_change_that_is_undone(self) -> None:
        gone = self.store.accounts.remove(b"x" * 16, "account is there")
        call = self.store.change(*self.store.events.login(self.uid, EMAIL, NOW_MS), gone)
        await self.assertDemandFails("account is there", call)
        self.assertEqual(await self.recorded(), [])

    async def test_the_store_says_when_an_event_was_recorded_and_only_then(self) -> None:
        told: list[str] = []
        self.store.event_recorded = lambda: told.append("event")
        await self.store.change(self.store.accounts.set_locale(self.uid, "de"))
        gone = self.store.accounts.remove(b"x" * 16, "account is there")
        call = self.store.change(*self.store.events.login(self.uid, EMAIL, NOW_MS), gone)
        await self.assertDemandFails("account is there", call)
        self.assertEqual(told, [])
        for steps in all_kinds(self.uid):
            await self.store.change(*steps)
        self.assertEqual(len(told), len(EventKind))


class SecretTests(SynchronousTestCase):
    """What is recorded is told to others."""

    def test_no_event_can_hold_a_secret_of_its_account(self) -> None:
        """None is handed any: each takes ids, addresses, languages, services, domains and times."""
        secret = {name for name, field in Account.__dataclass_fields__.items() if not field.repr} | {"verifier"}
        for name, method in vars(EventTable).items():
            if not name.startswith("_"):
                taken = set(method.__annotations__) - {"return"}
                self.assertLessEqual(taken, {"uid", "email", "locale", "service", "domain", "now_ms"}, name)
                self.assertEqual(taken & secret, set())


class SqliteFileTests(OnSqliteFile, EventContract, TestCase):
    """In an SQLite file."""


class SqliteMemoryTests(OnSqliteMemory, EventContract, TestCase):
    """In SQLite's memory."""

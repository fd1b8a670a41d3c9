"""Leases: one holder at a time, until the lease runs out or is given back."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from tests.store.contract import DatabaseContract, OnSqliteFile, OnSqliteMemory, an_account, outcomes
from tests.store.on_postgres import OnPostgres

ONE, OTHER = b"1" * 16, b"2" * 16


class LeaseContract(DatabaseContract):
    """The lease "work"; times are ms."""

    def claim(self, holder: bytes, now_ms: int, expires_at_ms: int, name: str = "work") -> Any:
        return self.store.change(self.store.leases.claim(name, holder, now_ms, expires_at_ms, "lease is free"))

    async def leases(self) -> list[tuple[str, bytes, int]]:
        return sorted((row["name"], row["holder"], row["expires_at_ms"]) for row in await self.rows("leases"))

    async def test_a_lease_is_its_holders_until_it_runs_out(self) -> None:
        await self.claim(ONE, 100, 200)
        await self.assertDemandFails("lease is free", self.claim(OTHER, 199, 400))
        self.assertEqual(await self.leases(), [("work", ONE, 200)])
        await self.claim(OTHER, 200, 300)
        self.assertEqual(await self.leases(), [("work", OTHER, 300)])
        await self.assertDemandFails("lease is free", self.claim(ONE, 201, 400))

    async def test_the_holder_may_lengthen_it(self) -> None:
        await self.claim(ONE, 100, 200)
        await self.claim(ONE, 150, 250)
        self.assertEqual(await self.leases(), [("work", ONE, 250)])

    async def test_only_the_holder_gives_it_back(self) -> None:
        await self.claim(ONE, 100, 200)
        await self.claim(ONE, 100, 200, "other work")
        await self.store.change(self.store.leases.release("work", OTHER))
        self.assertEqual(len(await self.leases()), 2)
        await self.store.change(self.store.leases.release("work", ONE))
        self.assertEqual(await self.leases(), [("other work", ONE, 200)])
        await self.claim(OTHER, 101, 201)

    async def test_of_many_who_claim_it_at_once_one_gets_it(self) -> None:
        holders = [bytes([number]) * 16 for number in range(8)]
        ended = await outcomes([self.claim(holder, 100, 200) for holder in holders])
        self.assertEqual(ended, {"done": 1, "lease is free": 7})

    async def test_changes_one_at_a_time_see_all_that_those_before_them_did(self) -> None:
        leases, accounts = self.store.leases, self.store.accounts

        def enter(number: int) -> Any:
            account = an_account(f"{number}@example.com")
            return self.store.change(
                accounts.add(account, "address is free"), leases.one_at_a_time("counting"), accounts.at_most(3, "few")
            )

        self.assertEqual(await outcomes([enter(number) for number in range(20)]), {"done": 3, "few": 17})


class SqliteFileTests(OnSqliteFile, LeaseContract, TestCase):
    """In an SQLite file."""


class SqliteMemoryTests(OnSqliteMemory, LeaseContract, TestCase):
    """In memory."""


class PostgresTests(OnPostgres, LeaseContract, TestCase):
    """On a PostgreSQL server."""

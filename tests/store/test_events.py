"""The table of events, on every database."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import TestCase

from tests.store.contract import DatabaseContract, OnSqliteFile, OnSqliteMemory

UID = bytes(range(16))
NOW_MS = 1_700_000_100_000


class EventContract(DatabaseContract):
    """What is recorded of an event."""

    assertEqual: Any

    async def event(self, step: Any) -> tuple[dict[str, Any], Any]:
        """The row that the step made, and its payload."""
        await self.store.change(step)
        [row] = await self.rows("events")
        return row, json.loads(row["payload"])

    async def test_a_verified_address(self) -> None:
        row, payload = await self.event(self.store.events.verified(UID, "Mé@example.com", "fr", NOW_MS))
        self.assertEqual((row["kind"], row["uid"], row["created_at_ms"], len(row["id"])), ("verified", UID, NOW_MS, 16))
        self.assertEqual(payload, {"email": "Mé@example.com", "uid": UID.hex(), "locale": "fr"})

    async def test_a_verified_address_without_a_locale(self) -> None:
        _, payload = await self.event(self.store.events.verified(UID, "me@example.com", None, NOW_MS))
        self.assertEqual(payload["locale"], None)

    async def test_a_deleted_account(self) -> None:
        row, payload = await self.event(self.store.events.deleted(UID, "api.example.com:9000", NOW_MS))
        self.assertEqual((row["kind"], row["uid"], row["created_at_ms"]), ("delete", UID, NOW_MS))
        self.assertEqual(payload, {"uid": f"{UID.hex()}@api.example.com:9000"})


class SqliteFileTests(OnSqliteFile, EventContract, TestCase):
    """In an SQLite file."""


class SqliteMemoryTests(OnSqliteMemory, EventContract, TestCase):
    """In SQLite's memory."""

"""The event log: the table ``events`` in the order of its numbers, and how far each publisher has come in it.

Changes leave their events without a number. One transaction at a time, of all daemons, numbers those that are
committed: it holds the row of the sequencer from its first step to its end. So whoever has read the log up to a number
has missed nothing, and never will.

What an event says is no matter here; ``events`` records it.
"""

from __future__ import annotations

import json

from fxa_auth.records import Event
from fxa_auth.store.database import Database, DemandFailed, Row, Statement
from fxa_auth.store.leases import LeaseTable

_SEQUENCER = "sequencer"
_MINE = "nobody else publishes"

_PLACE = "SELECT number FROM event_cursors WHERE name = :name"

_NUMBER = (
    "UPDATE events SET number = given.number FROM ("
    " SELECT id, (SELECT number FROM event_cursors WHERE name = :name)"
    " + row_number() OVER (ORDER BY stamp, created_at_ms, id) AS number"
    " FROM (SELECT id, stamp, created_at_ms FROM events WHERE number IS NULL"
    " ORDER BY stamp, created_at_ms, id LIMIT :limit) AS waiting"
    ") AS given WHERE events.id = given.id RETURNING events.id"
)
"""Of one account the stamps tell the order of commits, of several roughly that of time."""


class EventLog:
    """Numbers events, reads and prunes them, and keeps the places of publishers, which have names.

    Numbers count from 1. Every method raises DatabaseUnavailable when the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leases = LeaseTable()

    async def number(self, limit: int, now_ms: int) -> int:
        """Give their numbers to at most ``limit`` committed events; the answer is how many got one."""
        if not await self._database.query("SELECT 1 FROM events WHERE number IS NULL LIMIT 1", {}):
            return 0
        lock = (
            "INSERT INTO event_cursors (name, number, attended_at_ms) VALUES (:name, 0, :now_ms)"
            " ON CONFLICT (name) DO UPDATE SET attended_at_ms = excluded.attended_at_ms"
        )
        note_last = (
            "UPDATE event_cursors SET number = coalesce((SELECT max(events.number) FROM events), number)"
            " WHERE name = :name"
        )
        _, numbered, _ = await self._database.change(
            [
                Statement(lock, {"name": _SEQUENCER, "now_ms": now_ms}),
                Statement(_NUMBER, {"name": _SEQUENCER, "limit": limit}),
                Statement(note_last, {"name": _SEQUENCER}),
            ]
        )
        return len(numbered)

    async def after(self, number: int, limit: int) -> list[Event]:
        """At most ``limit`` events that follow this one, in order; an empty list only if there are none yet."""
        sql = (
            "SELECT number, kind, uid, created_at_ms, payload FROM events WHERE number > :number"
            " ORDER BY number LIMIT :limit"
        )
        return [_event(row) for row in await self._database.query(sql, {"number": number, "limit": limit})]

    async def last_number(self) -> int:
        """The number that was given last, 0 if none was; its event may have been pruned."""
        return await self.place(_SEQUENCER) or 0

    async def attend(self, publisher: str, place: int | None, now_ms: int) -> int:
        """Note that a daemon has this publisher, which is done with the event numbered ``place`` and all before.

        The answer is its place, which another daemon may have moved further. One that is new, and says None, begins
        with the next event that gets a number. A ``place`` beyond all numbers given does not count: it is from before
        the database lost its latest changes, and other events will get those numbers.
        """
        last = "coalesce((SELECT number FROM event_cursors WHERE name = :sequencer), 0)"
        sql = (
            "INSERT INTO event_cursors (name, number, attended_at_ms)"
            f" VALUES (:name, CASE WHEN :place <= {last} THEN :place ELSE {last} END, :now_ms)"
            " ON CONFLICT (name) DO UPDATE SET attended_at_ms = excluded.attended_at_ms, number = CASE"
            " WHEN event_cursors.number < :place AND :place = excluded.number THEN :place ELSE event_cursors.number END"
            " RETURNING number"
        )
        params = {"name": publisher, "place": place, "sequencer": _SEQUENCER, "now_ms": now_ms}
        [[row]] = await self._database.change([Statement(sql, params)])
        return int(row["number"])

    async def place(self, publisher: str) -> int | None:
        """The number of the last event that a publisher is done with; None if it has no place."""
        rows = await self._database.query(_PLACE, {"name": publisher})
        return int(rows[0]["number"]) if rows else None

    async def claim(self, publisher: str, holder: bytes, now_ms: int, expires_at_ms: int) -> int | None:
        """Take the lease (``leases``) on a publisher; the answer is its place, or None if another holds the lease.

        ``holder`` is 16 bytes.
        """
        claim = self._leases.claim(_lease(publisher), holder, now_ms, expires_at_ms, _MINE)
        try:
            _, rows = await self._database.change([claim, Statement(_PLACE, {"name": publisher})])
        except DemandFailed:
            return None
        return int(rows[0]["number"]) if rows else None

    async def advance(self, publisher: str, place: int, holder: bytes, now_ms: int, expires_at_ms: int) -> bool:
        """Note that the publisher is done with the event numbered ``place`` and all before, and lengthen the lease.

        A place never moves back. False, and nothing noted, if another holds the lease meanwhile.
        """
        claim = self._leases.claim(_lease(publisher), holder, now_ms, expires_at_ms, _MINE)
        try:
            await self._database.change([claim, _advance(publisher, place, now_ms)])
        except DemandFailed:
            return False
        return True

    async def release(self, publisher: str, place: int, holder: bytes, now_ms: int) -> None:
        """Note the place as ``advance`` does, and give the lease back if it is still this holder's."""
        release = self._leases.release(_lease(publisher), holder)
        await self._database.change([_advance(publisher, place, now_ms), release])

    async def prune(self, before_ms: int, attended_since_ms: int, limit: int) -> int:
        """Remove at most ``limit`` events from the log's beginning, up to the first that nothing may happen to yet.

        That is the first made at ``before_ms`` or later, or that a publisher is not done with. A publisher that no
        daemon has attended since ``attended_since_ms`` is forgotten. The answer is how many events were removed.
        """
        forget = "DELETE FROM event_cursors WHERE attended_at_ms < :attended_since_ms AND name <> :sequencer"
        remove = (
            "DELETE FROM events WHERE number <= :last AND number <= (SELECT min(number) FROM event_cursors)"
            " RETURNING number"
        )
        last = await self._last_of_the_old(before_ms, limit)
        _, removed = await self._database.change(
            [
                Statement(forget, {"attended_since_ms": attended_since_ms, "sequencer": _SEQUENCER}),
                Statement(remove, {"last": last}),
            ]
        )
        return len(removed)

    async def _last_of_the_old(self, before_ms: int, limit: int) -> int:
        """The number up to which the first ``limit`` events were all made before then, 0 if the first was not."""
        sql = "SELECT number, created_at_ms FROM events WHERE number > 0 ORDER BY number LIMIT :limit"
        last = 0
        for row in await self._database.query(sql, {"limit": limit}):
            if row["created_at_ms"] >= before_ms:
                break
            last = row["number"]
        return last


def _advance(publisher: str, place: int, now_ms: int) -> Statement:
    sql = (
        "UPDATE event_cursors SET attended_at_ms = :now_ms,"
        " number = CASE WHEN number < :place THEN :place ELSE number END WHERE name = :name"
    )
    return Statement(sql, {"name": publisher, "place": place, "now_ms": now_ms})


def _lease(publisher: str) -> str:
    return f"events.{publisher}"


def _event(row: Row) -> Event:
    return Event(row["number"], row["kind"], row["uid"], row["created_at_ms"], json.loads(row["payload"]))

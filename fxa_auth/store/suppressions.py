"""Suppressions: the table ``suppressions``, which tells to which accounts no mail is sent for a while, and why."""

from __future__ import annotations

from fxa_auth.records import Suppression
from fxa_auth.store.database import Database, Row, Statement

REMEMBERED_MS = 14 * 24 * 60 * 60 * 1000
"""How long an ended suppression is kept, to know old reports by: no queue keeps a report for longer than SQS does."""

_SELECT = (
    "SELECT s.uid, a.email, s.reason, s.reported_at_ms, s.until_ms"
    " FROM suppressions s JOIN accounts a ON a.uid = s.uid WHERE s.until_ms > :now_ms"
)


class SuppressionTable:
    """Reads suppressions and describes changes to them. A ``uid`` is 16 bytes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, uid: bytes, now_ms: int) -> Suppression | None:
        """The suppression of an account's mail, if it has not ended."""
        rows = await self._database.point(f"{_SELECT} AND s.uid = :uid", {"uid": uid, "now_ms": now_ms})
        return _suppression(rows[0]) if rows else None

    async def all(self, now_ms: int) -> list[Suppression]:
        """Every suppression that has not ended, the newest report first."""
        rows = await self._database.query(f"{_SELECT} ORDER BY s.reported_at_ms DESC, a.email", {"now_ms": now_ms})
        return [_suppression(row) for row in rows]

    def add(self, uid: bytes, reason: str, reported_at_ms: int, now_ms: int, until_ms: int) -> Statement:
        """Suppress the mail of a verified account, and return the uid.

        Touches no row for a report that is no news: of what happened before the newest that is known, or before the
        last suppression ended.
        """
        sql = (
            "INSERT INTO suppressions (uid, reason, reported_at_ms, until_ms)"
            " SELECT accounts.uid, :reason, :reported_at_ms, :until_ms FROM accounts"
            " WHERE accounts.uid = :uid AND accounts.email_verified"
            " ON CONFLICT (uid) DO UPDATE SET reason = excluded.reason,"
            " reported_at_ms = excluded.reported_at_ms, until_ms = excluded.until_ms"
            " WHERE excluded.reported_at_ms > suppressions.reported_at_ms"
            " AND (suppressions.until_ms > :now_ms OR excluded.reported_at_ms > suppressions.until_ms)"
            " RETURNING uid"
        )
        params = {
            "uid": uid,
            "reason": reason,
            "reported_at_ms": reported_at_ms,
            "now_ms": now_ms,
            "until_ms": until_ms,
        }
        return Statement(sql, params)

    def lift(self, uid: bytes, now_ms: int) -> Statement:
        """End a suppression now, and return the uid; touches no row if there is none."""
        sql = "UPDATE suppressions SET until_ms = :now_ms WHERE uid = :uid AND until_ms > :now_ms RETURNING uid"
        return Statement(sql, {"uid": uid, "now_ms": now_ms})

    def prune(self, now_ms: int, limit: int, skipped: int = 0) -> Statement:
        """Forget up to ``limit`` that ended long ago, the longest ended but for the ``skipped`` longest ended of all.

        The rows returned are those forgotten.
        """
        sql = (
            "DELETE FROM suppressions WHERE uid IN (SELECT uid FROM suppressions WHERE until_ms < :ended_before_ms"
            " ORDER BY until_ms, uid LIMIT :limit OFFSET :skipped) AND until_ms < :ended_before_ms RETURNING uid"
        )
        return Statement(sql, {"ended_before_ms": now_ms - REMEMBERED_MS, "limit": limit, "skipped": skipped})


def _suppression(row: Row) -> Suppression:
    return Suppression(row["uid"], row["email"], row["reason"], row["reported_at_ms"], row["until_ms"])

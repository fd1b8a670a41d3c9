"""Whom an operator has banned: the table ``bans``. What a ban keeps anybody from is the abuse policy's business."""

from __future__ import annotations

from fxa_auth.records import Ban
from fxa_auth.store.database import Database, Statement


class BanTable:
    """Adds, removes and lists bans. There is one at most for each subject."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, ban: Ban) -> None:
        """Put a ban in force, in place of an earlier one."""
        sql = (
            "INSERT INTO bans (subject, reason, banned_at_ms, expires_at_ms)"
            " VALUES (:subject, :reason, :banned_at_ms, :expires_at_ms) ON CONFLICT (subject) DO UPDATE SET"
            " reason = excluded.reason, banned_at_ms = excluded.banned_at_ms, expires_at_ms = excluded.expires_at_ms"
        )
        await self._database.change([Statement(sql, vars(ban))])

    async def remove(self, subject: str, now_ms: int) -> bool:
        """Lift a ban; False if none was in force."""
        sql = "DELETE FROM bans WHERE subject = :subject AND expires_at_ms > :now_ms RETURNING subject"
        [rows] = await self._database.change([Statement(sql, {"subject": subject, "now_ms": now_ms})])
        return bool(rows)

    async def in_force(self, now_ms: int) -> list[Ban]:
        """All bans, the first to end first."""
        sql = (
            "SELECT subject, reason, banned_at_ms, expires_at_ms FROM bans WHERE expires_at_ms > :now_ms"
            " ORDER BY expires_at_ms, subject"
        )
        return [Ban(**row) for row in await self._database.query(sql, {"now_ms": now_ms})]

    def prune(self, now_ms: int, limit: int, skipped: int = 0) -> Statement:
        """Remove up to ``limit`` bans that have ended, the oldest but for the ``skipped`` oldest of all.

        The rows returned are those removed.
        """
        sql = (
            "DELETE FROM bans WHERE subject IN (SELECT subject FROM bans WHERE expires_at_ms <= :now_ms"
            " ORDER BY expires_at_ms, subject LIMIT :limit OFFSET :skipped) AND expires_at_ms <= :now_ms"
            " RETURNING subject"
        )
        return Statement(sql, {"now_ms": now_ms, "limit": limit, "skipped": skipped})

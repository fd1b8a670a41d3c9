"""Invites: the tables ``invites`` and ``invite_uses``. A code is known here by its hash only.

Who is let in by which invite is for ``registration`` to say; a step that uses one up demands that it can still be used.
"""

from __future__ import annotations

from collections.abc import Sequence

from fxa_auth.records import Invite
from fxa_auth.store.database import Database, Row, Statement

_COLUMNS = "id, normalized_email, uses, uses_left, created_at_ms, expires_at_ms"


class InviteTable:
    """Reads invites and describes changes to them. An invite's id is 8 bytes, a ``uid`` 16, a ``code_hash`` 32."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def matching(self, normalized_email: str, code_hash: bytes | None) -> list[Invite]:
        """The invites for this address or with this code, in whatever state: first those for the address, and of
        several the one that expires first."""
        sql = (
            f"SELECT {_COLUMNS} FROM invites WHERE normalized_email = :normalized_email OR code_hash = :code_hash"
            " ORDER BY code_hash IS NOT NULL, expires_at_ms IS NULL, expires_at_ms, id"
        )
        rows = await self._database.point(sql, {"normalized_email": normalized_email, "code_hash": code_hash})
        return [_invite(row) for row in rows]

    async def used_by(self, uid: bytes) -> bytes | None:
        """The id of the invite by which an account came."""
        rows = await self._database.point("SELECT invite_id FROM invite_uses WHERE uid = :uid", {"uid": uid})
        return rows[0]["invite_id"] if rows else None

    async def all(self) -> list[Invite]:
        """Every invite that is not forgotten yet, the oldest first."""
        rows = await self._database.query(f"SELECT {_COLUMNS} FROM invites ORDER BY created_at_ms, id", {})
        return [_invite(row) for row in rows]

    def add(self, invite: Invite, code_hash: bytes | None) -> Statement:
        """Insert an invite: one for an address has no code, any other one has."""
        sql = (
            f"INSERT INTO invites ({_COLUMNS}, code_hash) VALUES (:id, :normalized_email, :uses, :uses_left,"
            " :created_at_ms, :expires_at_ms, :code_hash)"
        )
        params = {
            "id": invite.id,
            "normalized_email": invite.normalized_email,
            "uses": invite.uses,
            "uses_left": invite.uses_left,
            "created_at_ms": invite.created_at_ms,
            "expires_at_ms": invite.expires_at_ms,
            "code_hash": code_hash,
        }
        return Statement(sql, params)

    def use(self, invite_id: bytes, uid: bytes, taken: int, now_ms: int, demand: str) -> Sequence[Statement]:
        """Record that an account came by an invite, and take so many uses from it, provided that they are left.

        The row is touched though nothing be taken: who revokes the invite meanwhile has to wait.
        """
        take = (
            "UPDATE invites SET uses_left = uses_left - :taken, last_used_at_ms = :now_ms"
            " WHERE id = :id AND uses_left >= :taken AND (expires_at_ms IS NULL OR expires_at_ms > :now_ms)"
        )
        record = "INSERT INTO invite_uses (uid, invite_id) VALUES (:uid, :id)"
        return (
            Statement(take, {"id": invite_id, "taken": taken, "now_ms": now_ms}, demand),
            Statement(record, {"id": invite_id, "uid": uid}),
        )

    def give_back(self, uid: bytes) -> Statement:
        """Give a use back to the invite for an address, if nobody has verified the account that came by it.

        It goes before the step that removes the account. Without it a stranger who knows the address could use its
        invite up. A code is used up for good, as its holder could have mails sent to one address after another.
        """
        sql = (
            "UPDATE invites SET uses_left = uses_left + 1"
            " WHERE normalized_email IS NOT NULL AND uses_left < uses AND id ="
            " (SELECT invite_id FROM invite_uses JOIN accounts ON accounts.uid = invite_uses.uid"
            " WHERE accounts.uid = :uid AND NOT accounts.email_verified)"
        )
        return Statement(sql, {"uid": uid})

    def revoke(self, invite_id: bytes) -> Statement:
        """Remove an invite, and answer its id; the accounts that came by it stay."""
        return Statement("DELETE FROM invites WHERE id = :id RETURNING id", {"id": invite_id})

    def revoke_for(self, normalized_email: str) -> Statement:
        """Remove all invites for an address, and answer their ids."""
        sql = "DELETE FROM invites WHERE normalized_email = :normalized_email RETURNING id"
        return Statement(sql, {"normalized_email": normalized_email})

    def prune(self, ended_before_ms: int) -> Statement:
        """Remove what had expired, or was used up, by then."""
        sql = (
            "DELETE FROM invites WHERE expires_at_ms < :before_ms OR (uses_left = 0 AND last_used_at_ms < :before_ms)"
            " RETURNING id"
        )
        return Statement(sql, {"before_ms": ended_before_ms})


def _invite(row: Row) -> Invite:
    return Invite(**{name: row[name] for name in _COLUMNS.split(", ")})

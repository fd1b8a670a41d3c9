"""Leases: the table ``leases``, by which daemons on one database agree who does what only one of them should do.

A lease runs out by itself, so that a daemon that died blocks nobody for long.
"""

from __future__ import annotations

from fxa_auth.store.database import Statement


class LeaseTable:
    """Describes the steps that take and give back leases. A ``holder`` is 16 random bytes."""

    def claim(self, name: str, holder: bytes, now_ms: int, expires_at_ms: int, demand: str) -> Statement:
        """Take the lease, or keep it for longer; touches no row while it is another's and has not run out."""
        sql = (
            "INSERT INTO leases (name, holder, expires_at_ms) VALUES (:name, :holder, :expires_at_ms)"
            " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at_ms = excluded.expires_at_ms"
            " WHERE leases.holder = excluded.holder OR leases.expires_at_ms <= :now_ms"
        )
        params = {"name": name, "holder": holder, "now_ms": now_ms, "expires_at_ms": expires_at_ms}
        return Statement(sql, params, demand)

    def one_at_a_time(self, name: str) -> Statement:
        """Let changes with this step follow one another: from here to its end, each sees all that those before it did.

        This lease is held by a transaction, not for a time.
        """
        sql = (
            "INSERT INTO leases (name, holder, expires_at_ms) VALUES (:name, :nobody, 0)"
            " ON CONFLICT (name) DO UPDATE SET expires_at_ms = 0"
        )
        return Statement(sql, {"name": name, "nobody": b""})

    def release(self, name: str, holder: bytes) -> Statement:
        """Give the lease back, if it is still this holder's."""
        sql = "DELETE FROM leases WHERE name = :name AND holder = :holder"
        return Statement(sql, {"name": name, "holder": holder})

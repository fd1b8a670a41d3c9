"""Accounts: the table ``accounts`` and every statement on it.

Methods that return a ``Statement`` describe a step and do nothing by themselves; the caller puts the steps of one
change together and hands them to the database.
"""

from __future__ import annotations

from fxa_auth.records import Account, Verifier
from fxa_auth.store.database import Database, Row, Statement
from fxa_auth.store.seal import Seal

_COLUMNS = (
    "uid, email, normalized_email, email_code, email_verified, ka, wrap_wrap_kb, auth_salt, verify_hash, "
    "verifier_version, verifier_set_at_ms, created_at_ms, locale, locked_at_ms, unlock_code"
)


class AccountTable:
    """Reads accounts and describes changes to them. A ``uid`` is 16 bytes everywhere."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self._seal = seal

    async def by_email(self, normalized_email: str) -> Account | None:
        sql = f"SELECT {_COLUMNS} FROM accounts WHERE normalized_email = :normalized_email"
        rows = await self._database.point(sql, {"normalized_email": normalized_email})
        return self._account(rows[0]) if rows else None

    async def by_uid(self, uid: bytes) -> Account | None:
        rows = await self._database.point(f"SELECT {_COLUMNS} FROM accounts WHERE uid = :uid", {"uid": uid})
        return self._account(rows[0]) if rows else None

    async def uid_of(self, normalized_email: str) -> bytes | None:
        """The uid of the account of this address; opens nothing that is sealed."""
        sql = "SELECT uid FROM accounts WHERE normalized_email = :normalized_email"
        rows = await self._database.point(sql, {"normalized_email": normalized_email})
        return rows[0]["uid"] if rows else None

    async def exists(self, uid: bytes) -> bool:
        return bool(await self._database.point("SELECT 1 FROM accounts WHERE uid = :uid", {"uid": uid}))

    async def is_any(self) -> bool:
        """Tell whether the store holds an account at all."""
        return bool(await self._database.query("SELECT 1 FROM accounts LIMIT 1", {}))

    async def count(self, most: int, besides: bytes | None) -> int:
        """How many accounts there are, apart from the one named, and counted no further than ``most``."""
        sql = "SELECT count(*) AS number FROM (SELECT uid FROM accounts WHERE uid <> :besides LIMIT :most) AS counted"
        [row] = await self._database.query(sql, {"besides": besides or b"", "most": most})
        return int(row["number"])

    def at_most(self, number: int, demand: str) -> Statement:
        """See that there are so many accounts at most."""
        sql = "SELECT 1 AS found WHERE (SELECT count(*) FROM (SELECT uid FROM accounts LIMIT :more) AS counted) < :more"
        return Statement(sql, {"more": number + 1}, demand)

    def replace_unverified(self, uid: bytes, received_at_ms: int) -> Statement:
        """Remove an account that nobody verified, with its tokens and mails, in favour of a create received later."""
        sql = (
            "DELETE FROM accounts WHERE uid = :uid AND NOT email_verified AND created_at_ms < :received_at_ms"
            " RETURNING uid"
        )
        return Statement(sql, {"uid": uid, "received_at_ms": received_at_ms})

    def remove_unverified(self, uid: bytes) -> Statement:
        """Remove an account with its tokens and mails, unless its address is verified; returns the uid."""
        return Statement("DELETE FROM accounts WHERE uid = :uid AND NOT email_verified RETURNING uid", {"uid": uid})

    def add(self, account: Account, demand: str) -> Statement:
        """Insert an account unless its address is taken."""
        names = [name.strip() for name in _COLUMNS.split(",")]
        sql = (
            f"INSERT INTO accounts ({_COLUMNS}) VALUES ({', '.join(':' + name for name in names)})"
            " ON CONFLICT (normalized_email) DO NOTHING"
        )
        params = {
            "uid": account.uid,
            "email": account.email,
            "normalized_email": account.normalized_email,
            "email_code": self._close(account.email_code, "email_code", account.uid),
            "email_verified": account.email_verified,
            "ka": self._close(account.ka, "ka", account.uid),
            **self._verifier_params(account.uid, account.verifier),
            "verifier_set_at_ms": account.verifier_set_at_ms,
            "created_at_ms": account.created_at_ms,
            "locale": account.locale,
            "locked_at_ms": account.locked_at_ms,
            "unlock_code": account.unlock_code and self._close(account.unlock_code, "unlock_code", account.uid),
        }
        return Statement(sql, params, demand)

    def delete(self, account: Account, demand: str) -> Statement:
        """Remove an account with its tokens and mails, provided that its password is still the one seen."""
        sql = "DELETE FROM accounts WHERE uid = :uid AND auth_salt = :auth_salt"
        return Statement(sql, {"uid": account.uid, "auth_salt": account.verifier.auth_salt}, demand)

    def remove(self, uid: bytes, demand: str) -> Statement:
        """Remove an account with its tokens and mails, whatever has become of its password."""
        return Statement("DELETE FROM accounts WHERE uid = :uid", {"uid": uid}, demand)

    def set_verifier(self, uid: bytes, verifier: Verifier, now_ms: int) -> Statement:
        sql = (
            "UPDATE accounts SET verifier_version = :verifier_version, auth_salt = :auth_salt,"
            " verify_hash = :verify_hash, wrap_wrap_kb = :wrap_wrap_kb, verifier_set_at_ms = :now_ms WHERE uid = :uid"
        )
        return Statement(sql, {"uid": uid, "now_ms": now_ms, **self._verifier_params(uid, verifier)})

    def verify_email(self, uid: bytes, demand: str | None = None) -> Statement:
        """Mark the address as verified; touches a row only if it was not."""
        sql = "UPDATE accounts SET email_verified = TRUE WHERE uid = :uid AND NOT email_verified"
        return Statement(sql, {"uid": uid}, demand)

    def hold(self, uid: bytes) -> Statement:
        """Have other changes of the account wait until this one is committed; alters nothing.

        The first step of a change that adds tokens by a password, so that none outlives a new password that commits
        meanwhile, and of one that uses up a token and alters the account, so that no two wait for each other.
        """
        return Statement("UPDATE accounts SET last_stamp = last_stamp WHERE uid = :uid", {"uid": uid})

    def lock(self, uid: bytes, now_ms: int, unlock_code: bytes) -> Statement:
        """Lock an account that is not locked yet, with the code (16 bytes) that opens it again; returns its row."""
        sql = (
            "UPDATE accounts SET locked_at_ms = :now_ms, unlock_code = :unlock_code"
            " WHERE uid = :uid AND locked_at_ms IS NULL RETURNING uid"
        )
        sealed = self._close(unlock_code, "unlock_code", uid)
        return Statement(sql, {"uid": uid, "now_ms": now_ms, "unlock_code": sealed})

    def require_unlocked(self, uid: bytes, demand: str) -> Statement:
        """See that the account is not locked; one that has gone is not."""
        is_locked = "EXISTS (SELECT 1 FROM accounts WHERE uid = :uid AND locked_at_ms IS NOT NULL)"
        return Statement(f"SELECT 1 AS found WHERE NOT {is_locked}", {"uid": uid}, demand)

    def unlock(self, uid: bytes) -> Statement:
        return Statement("UPDATE accounts SET locked_at_ms = NULL, unlock_code = NULL WHERE uid = :uid", {"uid": uid})

    def set_locale(self, uid: bytes, locale: str) -> Statement:
        """Remember the account's language, unless it has one."""
        sql = "UPDATE accounts SET locale = :locale WHERE uid = :uid AND locale IS NULL"
        return Statement(sql, {"uid": uid, "locale": locale})

    def _verifier_params(self, uid: bytes, verifier: Verifier) -> dict[str, object]:
        return {
            "verifier_version": verifier.version,
            "auth_salt": verifier.auth_salt,
            "verify_hash": self._close(verifier.verify_hash, "verify_hash", uid),
            "wrap_wrap_kb": self._close(verifier.wrap_wrap_kb, "wrap_wrap_kb", uid),
        }

    def _account(self, row: Row) -> Account:
        uid = row["uid"]
        return Account(
            uid=uid,
            email=row["email"],
            normalized_email=row["normalized_email"],
            email_code=self._open(row, "email_code"),
            email_verified=bool(row["email_verified"]),
            ka=self._open(row, "ka"),
            verifier=Verifier(
                row["verifier_version"],
                row["auth_salt"],
                self._open(row, "verify_hash"),
                self._open(row, "wrap_wrap_kb"),
            ),
            verifier_set_at_ms=row["verifier_set_at_ms"],
            created_at_ms=row["created_at_ms"],
            locale=row["locale"],
            locked_at_ms=row["locked_at_ms"],
            unlock_code=None if row["unlock_code"] is None else self._open(row, "unlock_code"),
        )

    def _close(self, value: bytes, column: str, uid: bytes) -> bytes:
        return self._seal.close(value, "accounts", column, uid)

    def _open(self, row: Row, column: str) -> bytes:
        return self._seal.open(row[column], "accounts", column, row["uid"])

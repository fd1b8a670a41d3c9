"""Tokens of all five kinds: the table ``tokens`` and every statement on it.

A token is found by the SHA-256 of its id and by its kind; its id, its bundle key and (but for the passwordForgotToken)
its data are never stored.
"""

from __future__ import annotations

from fxa_auth.records import Account, Tally, Token, TokenKind
from fxa_auth.store.database import Database, Row, Statement
from fxa_auth.store.seal import Seal
from fxa_auth.tokens import TokenKeys

_ONE_PER_ACCOUNT = "('accountResetToken', 'passwordForgotToken', 'passwordChangeToken')"
_COLUMNS = "id_hash, kind, uid, auth_key, created_at_ms, key_bundle, token_data, pass_code, tries"
_VALUES = ":id_hash, :kind, accounts.uid, :auth_key, :created_at_ms, :key_bundle, :token_data, :pass_code, :tries"


class TokenTable:
    """Reads tokens and describes changes to them. An ``id_hash`` is 32 bytes everywhere."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self._seal = seal

    async def find(self, kind: TokenKind, id_hash: bytes) -> Token | None:
        """The token of this kind, with what its account lends it; expired ones too."""
        sql = (
            "SELECT t.id_hash, t.kind, t.uid, t.auth_key, t.created_at_ms, t.token_data, t.pass_code, t.tries,"
            " a.email, a.email_verified, a.verifier_set_at_ms, a.locale"
            " FROM tokens t JOIN accounts a ON a.uid = t.uid WHERE t.id_hash = :id_hash AND t.kind = :kind"
        )
        rows = await self._database.point(sql, {"id_hash": id_hash, "kind": kind.value})
        return self._token(rows[0]) if rows else None

    async def count_sessions(self, uid: bytes) -> int:
        sql = "SELECT count(*) AS sessions FROM tokens WHERE uid = :uid AND kind = :kind"
        rows = await self._database.query(sql, {"uid": uid, "kind": TokenKind.SESSION.value})
        return int(rows[0]["sessions"])

    async def tally(self, uid: bytes) -> dict[TokenKind, Tally]:
        """How many tokens of each kind an account has, expired ones too; a kind without any is left out."""
        sql = (
            "SELECT kind, count(*) AS tokens, min(created_at_ms) AS oldest_at_ms FROM tokens WHERE uid = :uid"
            " GROUP BY kind"
        )
        rows = await self._database.query(sql, {"uid": uid})
        return {TokenKind(row["kind"]): Tally(row["tokens"], row["oldest_at_ms"]) for row in rows}

    def add(
        self, keys: TokenKeys, account: Account, now_ms: int, demand: str, key_bundle: bytes | None = None
    ) -> Statement:
        """Store a token, provided that its account is there with the password that was seen.

        So no token survives, or comes out of, a password change or a removal that ran beside it.
        """
        return self._insert(
            keys, account.uid, now_ms, demand, "AND auth_salt = :auth_salt",
            key_bundle=key_bundle, auth_salt=account.verifier.auth_salt,
        )  # fmt: skip

    def add_single(
        self, keys: TokenKeys, uid: bytes, now_ms: int, demand: str, pass_code: bytes | None = None, tries: int = 0
    ) -> Statement:
        """Store an accountResetToken, or with a ``pass_code`` (16 bytes) a passwordForgotToken."""
        forgot = {} if pass_code is None else {"token_data": keys.data, "pass_code": pass_code, "tries": tries}
        return self._insert(keys, uid, now_ms, demand, "", **forgot)

    def _insert(
        self, keys: TokenKeys, uid: bytes, now_ms: int, demand: str, condition: str, **columns: object
    ) -> Statement:
        replaced = [name.strip() for name in _COLUMNS.split(",") if name.strip() not in ("uid", "kind")]
        sql = (
            f"INSERT INTO tokens ({_COLUMNS}) SELECT {_VALUES} FROM accounts WHERE accounts.uid = :uid {condition}"
            f" ON CONFLICT (uid, kind) WHERE kind IN {_ONE_PER_ACCOUNT}"
            f" DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in replaced)}"
        )
        params: dict[str, object] = {"key_bundle": None, "token_data": None, "pass_code": None, "tries": None}
        params |= {"id_hash": keys.id_hash, "kind": keys.kind.value, "uid": uid, "created_at_ms": now_ms}
        params |= {"auth_key": keys.auth_key, **columns}
        for column in ("auth_key", "key_bundle", "token_data", "pass_code"):
            value = params[column]
            if isinstance(value, bytes):
                params[column] = self._seal.close(value, "tokens", column, keys.id_hash)
        return Statement(sql, params, demand)

    def consume(self, token: Token, demand: str) -> Statement:
        """Take a token away; of all who try, one touches the row."""
        return Statement("DELETE FROM tokens WHERE id_hash = :id_hash", {"id_hash": token.id_hash}, demand)

    def consume_key_bundle(self, token: Token, demand: str) -> Statement:
        """Take a keyFetchToken away; the row returned is for ``key_bundle``."""
        sql = "DELETE FROM tokens WHERE id_hash = :id_hash RETURNING id_hash, key_bundle"
        return Statement(sql, {"id_hash": token.id_hash}, demand)

    def key_bundle(self, row: Row) -> bytes:
        """The bundle (96 bytes) that a consumed keyFetchToken held."""
        return self._open(row, "key_bundle")

    def count_try(self, token: Token, demand: str) -> Statement:
        """One try less on a passwordForgotToken; the row returned holds the tries left."""
        sql = "UPDATE tokens SET tries = tries - 1 WHERE id_hash = :id_hash AND tries > 0 RETURNING tries"
        return Statement(sql, {"id_hash": token.id_hash}, demand)

    def delete_exhausted(self, token: Token) -> Statement:
        return Statement("DELETE FROM tokens WHERE id_hash = :id_hash AND tries = 0", {"id_hash": token.id_hash})

    def delete_all(self, uid: bytes) -> Statement:
        return Statement("DELETE FROM tokens WHERE uid = :uid", {"uid": uid})

    def delete_kind(self, uid: bytes, kind: TokenKind) -> Statement:
        """Remove an account's tokens of one kind; the rows returned are those removed."""
        sql = "DELETE FROM tokens WHERE uid = :uid AND kind = :kind RETURNING id_hash"
        return Statement(sql, {"uid": uid, "kind": kind.value})

    def prune(self, kind: TokenKind, created_before_ms: int, limit: int, skipped: int = 0) -> Statement:
        """Remove up to ``limit`` tokens of a kind that expires, the oldest but for the ``skipped`` oldest of all.

        The rows returned are those removed.
        """
        sql = (
            "DELETE FROM tokens WHERE id_hash IN (SELECT id_hash FROM tokens"
            f" WHERE kind = :kind AND kind IN {_ONE_PER_ACCOUNT} AND created_at_ms < :created_before_ms"
            " ORDER BY created_at_ms, id_hash LIMIT :limit OFFSET :skipped) RETURNING id_hash"
        )
        params = {"kind": kind.value, "created_before_ms": created_before_ms, "limit": limit, "skipped": skipped}
        return Statement(sql, params)

    def _token(self, row: Row) -> Token:
        return Token(
            kind=TokenKind(row["kind"]),
            id_hash=row["id_hash"],
            uid=row["uid"],
            auth_key=self._open(row, "auth_key"),
            created_at_ms=row["created_at_ms"],
            data=None if row["token_data"] is None else self._open(row, "token_data"),
            pass_code=None if row["pass_code"] is None else self._open(row, "pass_code"),
            tries=row["tries"],
            email=row["email"],
            email_verified=bool(row["email_verified"]),
            verifier_set_at_ms=row["verifier_set_at_ms"],
            locale=row["locale"],
        )

    def _open(self, row: Row, column: str) -> bytes:
        return self._seal.open(row[column], "tokens", column, row["id_hash"])

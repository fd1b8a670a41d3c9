"""Queued mails: the table ``mails``. A letter is kept sealed, since it carries the code it is about to send."""

from __future__ import annotations

import json
import os

from twisted.logger import Logger

from fxa_auth.records import Letter, LinkOptions, MailKind, QueuedMail, Tally
from fxa_auth.store.database import Database, DatabaseUnavailable, Row, Statement
from fxa_auth.store.seal import BrokenSeal, Seal

_log = Logger()

_UNREADABLE_PAUSE_MS = 24 * 60 * 60 * 1000
"""How long a row that cannot be read is left alone: someone may bring back a key, or mend the row."""


class MailTable:
    """The queue of mails: steps that queue one, and what the delivery loop does with it. A mail's id is 16 bytes."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self._seal = seal

    def queue(self, letter: Letter, now_ms: int, demand: str | None = None) -> Statement:
        """Queue a letter, due at once, provided that its account is there."""
        mail_id = os.urandom(16)
        sql = (
            "INSERT INTO mails (id, uid, letter, queued_at_ms, due_at_ms, attempts)"
            " SELECT :id, accounts.uid, :letter, :now_ms, :now_ms, 0 FROM accounts WHERE accounts.uid = :uid"
        )
        sealed = self._seal.close(_to_json(letter), "mails", "letter", mail_id)
        return Statement(sql, {"id": mail_id, "uid": letter.uid, "letter": sealed, "now_ms": now_ms}, demand)

    async def due(self, now_ms: int, limit: int) -> list[QueuedMail]:
        """Mails whose turn has come, the longest due first; an empty list only if there are none.

        Rows that cannot be read are logged, put off for a day and passed over.
        """
        sql = (
            "SELECT id, letter, attempts FROM mails WHERE due_at_ms <= :now_ms"
            " ORDER BY due_at_ms, queued_at_ms LIMIT :limit"
        )
        mails: list[QueuedMail] = []
        while not mails and (rows := await self._database.query(sql, {"now_ms": now_ms, "limit": limit})):
            for row in rows:
                mail = self._mail(row)
                if mail is None:
                    await self.failed(row["id"], now_ms + _UNREADABLE_PAUSE_MS)
                else:
                    mails.append(mail)
        return mails

    async def next_due_ms(self) -> int | None:
        """When the next mail wants to be sent; None when the queue is empty."""
        rows = await self._database.query("SELECT min(due_at_ms) AS next_due_ms FROM mails", {})
        next_due_ms: int | None = rows[0]["next_due_ms"]
        return next_due_ms

    async def tally(self, uid: bytes) -> Tally | None:
        """How many mails of an account wait in the queue; None when there are none."""
        sql = "SELECT count(*) AS mails, min(queued_at_ms) AS oldest_at_ms FROM mails WHERE uid = :uid"
        [row] = await self._database.query(sql, {"uid": uid})
        return Tally(row["mails"], row["oldest_at_ms"]) if row["mails"] else None

    async def remove(self, mail_id: bytes) -> None:
        await self._database.change([Statement("DELETE FROM mails WHERE id = :id", {"id": mail_id})])

    async def failed(self, mail_id: bytes, retry_at_ms: int) -> None:
        sql = "UPDATE mails SET attempts = attempts + 1, due_at_ms = :retry_at_ms WHERE id = :id"
        await self._database.change([Statement(sql, {"id": mail_id, "retry_at_ms": retry_at_ms})])

    def _mail(self, row: Row) -> QueuedMail | None:
        """The mail in a row; None, and a line in the log, if the row is damaged in whatever way."""
        try:
            letter = _from_json(self._seal.open(row["letter"], "mails", "letter", row["id"]))
        except DatabaseUnavailable:
            raise
        except Exception as error:
            # Other errors than a broken seal may quote the letter.
            reason = str(error) if isinstance(error, BrokenSeal) else type(error).__name__
            _log.error("mail.unreadable", id=row["id"].hex(), reason=reason)
            return None
        return QueuedMail(row["id"], letter, row["attempts"])


def _to_json(letter: Letter) -> bytes:
    members = {
        "kind": letter.kind.value,
        "uid": letter.uid.hex(),
        "to": letter.to,
        "code": letter.code.hex(),
        "token": letter.token and letter.token.hex(),
        "service": letter.options.service,
        "redirectTo": letter.options.redirect_to,
        "resume": letter.options.resume,
        "acceptLanguage": letter.accept_language,
    }
    return json.dumps(members).encode()


def _from_json(text: bytes) -> Letter:
    members = json.loads(text)
    return Letter(
        kind=MailKind(members["kind"]),
        uid=bytes.fromhex(members["uid"]),
        to=members["to"],
        code=bytes.fromhex(members["code"]),
        token=members["token"] and bytes.fromhex(members["token"]),
        options=LinkOptions(members["service"], members["redirectTo"], members["resume"]),
        accept_language=members["acceptLanguage"],
    )

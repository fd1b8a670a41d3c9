"""Queued mails: the table ``mails``. A letter is kept sealed, since it carries the code it is about to send.

Whoever wants to send mails claims them for a time (SQS calls it a visibility timeout): claimed mails are due again when
it is over, so that a daemon that died keeps back none. A mail that is given up stays as a dead letter.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from operator import attrgetter

from twisted.logger import Logger

from fxa_auth.records import ClaimedMail, Letter, LinkOptions, MailKind, Outlook, StoredMail, Tally
from fxa_auth.store.database import Database, DatabaseUnavailable, Row, Statement
from fxa_auth.store.seal import BrokenSeal, Seal

_log = Logger()

_IS_DUE = "dead_at_ms IS NULL AND due_at_ms <= :now_ms"


class Unreadable(Exception):
    """A row is damaged in whatever way; the text says how, and nothing of what is in it."""


class MailTable:
    """The queue of mails: steps that queue one, what the delivery loop does with it, and what an operator does.

    A mail's id is 16 bytes. Changes that find nothing to change are no error.
    """

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

    # For the delivery loop.

    async def outlook(self) -> Outlook:
        """What waits; a mail that somebody has claimed waits for the end of that time."""
        # Two look-ups, each at the end of an index: one query for both minima would read all rows.
        sql = (
            "SELECT (SELECT min(due_at_ms) FROM mails WHERE dead_at_ms IS NULL) AS next_due_ms,"
            " (SELECT min(queued_at_ms) FROM mails WHERE dead_at_ms IS NULL) AS oldest_queued_at_ms"
        )
        [row] = await self._database.query(sql, {})
        return Outlook(row["next_due_ms"], row["oldest_queued_at_ms"])

    async def claim(self, now_ms: int, until_ms: int, limit: int) -> list[ClaimedMail]:
        """Take at most ``limit`` mails in hand whose turn has come, the longest due first; the oldest comes first.

        Nobody else gets them before ``until_ms``. Rows that cannot be read are logged and become dead letters, so
        there may be fewer than were due.
        """
        self._seal.require_keys()
        # The condition stands on the UPDATE, too: one that waited for another claim judges the rows as that left them.
        sql = (
            "UPDATE mails SET claim = :claim, due_at_ms = :until_ms WHERE id IN"
            f" (SELECT id FROM mails WHERE {_IS_DUE} ORDER BY due_at_ms, queued_at_ms LIMIT :limit) AND {_IS_DUE}"
            " RETURNING id, claim, letter, queued_at_ms, attempts, last_answer"
        )
        params = {"claim": os.urandom(16), "now_ms": now_ms, "until_ms": until_ms, "limit": limit}
        [rows] = await self._database.change([Statement(sql, params)])
        mails = []
        for row in rows:
            try:
                letter = self._letter(row)
            except Unreadable as error:
                _log.error("mail.unreadable", id=row["id"].hex(), reason=str(error))
                await self._end_claim(row["id"], row["claim"], now_ms, f"cannot be read: {error}", dead_at_ms=now_ms)
            else:
                mails.append(_claimed(row, letter))
        return sorted(mails, key=attrgetter("queued_at_ms"))

    async def release(self, mail: ClaimedMail, now_ms: int, answer: str | None) -> None:
        """Give a claimed mail back, as if it had not been tried; it is due at once, behind the others."""
        await self._end_claim(mail.id, mail.claim, now_ms, answer)

    async def defer(self, mail: ClaimedMail, due_at_ms: int, answer: str) -> None:
        """Give a claimed mail back after an attempt; it is next due at ``due_at_ms``."""
        await self._end_claim(mail.id, mail.claim, due_at_ms, answer, attempts=1)

    async def bury(self, mail: ClaimedMail, now_ms: int, answer: str, attempts: int) -> None:
        """Make a dead letter of a claimed mail, after so many further attempts (0 or 1)."""
        await self._end_claim(mail.id, mail.claim, now_ms, answer, attempts=attempts, dead_at_ms=now_ms)

    async def _end_claim(
        self,
        mail_id: bytes,
        claim: bytes,
        due_at_ms: int,
        answer: str | None,
        attempts: int = 0,
        dead_at_ms: int | None = None,
    ) -> None:
        sql = (
            "UPDATE mails SET claim = NULL, due_at_ms = :due_at_ms, last_answer = coalesce(:answer, last_answer),"
            " attempts = attempts + :attempts, dead_at_ms = :dead_at_ms WHERE id = :id AND claim = :claim"
        )
        params = {"id": mail_id, "claim": claim, "due_at_ms": due_at_ms, "answer": answer, "attempts": attempts}
        await self._database.change([Statement(sql, {**params, "dead_at_ms": dead_at_ms})])

    async def remove(self, mail_id: bytes) -> None:
        """Forget a mail, whoever has it in hand."""
        await self._database.change([Statement("DELETE FROM mails WHERE id = :id", {"id": mail_id})])

    async def hasten(self, now_ms: int) -> None:
        """Let every mail that waits for its next attempt be due now."""
        sql = "UPDATE mails SET due_at_ms = :now_ms WHERE dead_at_ms IS NULL AND claim IS NULL AND due_at_ms > :now_ms"
        await self._database.change([Statement(sql, {"now_ms": now_ms})])

    def prune_dead(self, dead_before_ms: int, limit: int, skipped: int = 0) -> Statement:
        """Remove up to ``limit`` dead letters of before that time, the oldest but for the ``skipped`` oldest of all.

        The rows returned are those removed.
        """
        sql = (
            "DELETE FROM mails WHERE id IN (SELECT id FROM mails WHERE dead_at_ms < :dead_before_ms"
            " ORDER BY dead_at_ms, id LIMIT :limit OFFSET :skipped) AND dead_at_ms < :dead_before_ms RETURNING id"
        )
        return Statement(sql, {"dead_before_ms": dead_before_ms, "limit": limit, "skipped": skipped})

    # For an operator.

    async def tally(self, uid: bytes) -> tuple[Tally | None, Tally | None]:
        """How many mails of an account wait, and how many are dead letters; None when there are none."""
        sql = (
            "SELECT count(*) AS mails, min(queued_at_ms) AS oldest_at_ms FROM mails"
            " WHERE uid = :uid AND (dead_at_ms IS NOT NULL) = :dead"
        )
        tallies = []
        for dead in (False, True):
            [row] = await self._database.query(sql, {"uid": uid, "dead": dead})
            tallies.append(Tally(row["mails"], row["oldest_at_ms"]) if row["mails"] else None)
        waiting, dead_letters = tallies
        return waiting, dead_letters

    async def page(self, after: StoredMail | None, limit: int) -> Sequence[StoredMail]:
        """At most ``limit`` mails, dead letters too, the oldest first, from behind ``after`` or the beginning."""
        sql = (
            "SELECT id, letter, queued_at_ms, due_at_ms, attempts, claim, last_answer, dead_at_ms FROM mails"
            " WHERE (queued_at_ms, id) > (:queued_at_ms, :id) ORDER BY queued_at_ms, id LIMIT :limit"
        )
        place = {"queued_at_ms": after.queued_at_ms, "id": after.id} if after else {"queued_at_ms": -1, "id": b""}
        rows = await self._database.query(sql, {**place, "limit": limit})
        return [self._stored(row) for row in rows]

    async def retry(self, mail_id: bytes | None, now_ms: int) -> int:
        """Let a mail (None: every one) be due now, unless somebody has it in hand; the answer is how many there were.

        A dead letter comes to life as if it had just been queued.
        """
        sql = (
            "UPDATE mails SET due_at_ms = :now_ms, dead_at_ms = NULL,"
            " queued_at_ms = CASE WHEN dead_at_ms IS NULL THEN queued_at_ms ELSE :now_ms END,"
            " attempts = CASE WHEN dead_at_ms IS NULL THEN attempts ELSE 0 END WHERE claim IS NULL"
        )
        return await self._touch(sql, mail_id, {"now_ms": now_ms})

    async def drop(self, mail_id: bytes | None) -> int:
        """Forget a mail (None: every one), dead letters too; the answer is how many there were."""
        return await self._touch("DELETE FROM mails WHERE TRUE", mail_id, {})

    async def _touch(self, sql: str, mail_id: bytes | None, params: dict[str, object]) -> int:
        if mail_id is not None:
            sql, params = f"{sql} AND id = :id", {**params, "id": mail_id}
        [rows] = await self._database.change([Statement(f"{sql} RETURNING id", params)])
        return len(rows)

    # Rows.

    def _stored(self, row: Row) -> StoredMail:
        try:
            letter = self._letter(row)
        except Unreadable:
            letter = None
        return StoredMail(
            row["id"],
            letter,
            row["queued_at_ms"],
            row["due_at_ms"],
            row["attempts"],
            row["claim"] is not None,
            row["last_answer"],
            row["dead_at_ms"],
        )

    def _letter(self, row: Row) -> Letter:
        """:raises Unreadable: there is no letter in the row, or none that can be opened"""
        try:
            return _from_json(self._seal.open(row["letter"], "mails", "letter", row["id"]))
        except DatabaseUnavailable:
            raise
        except Exception as error:
            # Other errors than a broken seal may quote the letter.
            reason = str(error) if isinstance(error, BrokenSeal) else type(error).__name__
            raise Unreadable(reason) from None


def _claimed(row: Row, letter: Letter) -> ClaimedMail:
    return ClaimedMail(row["id"], row["claim"], letter, row["queued_at_ms"], row["attempts"], row["last_answer"])


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

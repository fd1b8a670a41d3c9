"""Events: what other services are told about accounts. A row is written with the change that it tells of.

A row gets its number later (``eventlog``), since numbers that were given out inside the changes would appear in another
order than they count. What such a change does leave is the event's stamp. The account's row, locked until the change
is committed, holds the stamp of its latest event; so for one account the stamps grow in the order of the commits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from fxa_auth.records import EventKind
from fxa_auth.store.database import Statement

_RECORD = (
    "INSERT INTO events (id, kind, uid, created_at_ms, payload, stamp)"
    " SELECT :id, :kind, uid, :now_ms, :payload, last_stamp FROM accounts WHERE uid = :uid"
)

Steps = tuple[Statement, Statement]


class EventTable:
    """Describes the steps that record events, two for each. A ``uid`` is 16 bytes.

    They belong into the change that the event tells of, at a place where the account is there: after the step that
    makes it, ahead of the one that removes it. If it is not there nothing is recorded. Texts that ``uid`` and
    ``domain`` are part of say how certificates name the account; ``domain`` is that of this server's.
    """

    def created(self, uid: bytes, email: str, locale: str | None, service: str | None, now_ms: int) -> Steps:
        """An account has been made, its address verified or not."""
        payload = {"email": email, "uid": uid.hex(), "locale": locale, "service": service}
        return _steps(EventKind.CREATED, uid, payload, now_ms)

    def verified(self, uid: bytes, email: str, locale: str | None, now_ms: int) -> Steps:
        """An account's address has been verified."""
        return _steps(EventKind.VERIFIED, uid, {"email": email, "uid": uid.hex(), "locale": locale}, now_ms)

    def login(self, uid: bytes, email: str, now_ms: int) -> Steps:
        """A session of an account has begun, by its password."""
        return _steps(EventKind.LOGIN, uid, {"email": email, "uid": uid.hex()}, now_ms)

    def password_changed(self, uid: bytes, domain: str, now_ms: int) -> Steps:
        """An account has a new password; certificates with a ``fxa-generation`` before ``now_ms`` are of the past."""
        return _steps(EventKind.PASSWORD_CHANGE, uid, _generation(uid, domain, now_ms), now_ms)

    def reset(self, uid: bytes, domain: str, now_ms: int) -> Steps:
        """As ``password_changed``, but the old password was forgotten, and what kB encrypted is lost."""
        return _steps(EventKind.RESET, uid, _generation(uid, domain, now_ms), now_ms)

    def locked(self, uid: bytes, email: str, now_ms: int) -> Steps:
        """An account gets locked by the step that follows: nothing is recorded of one that is locked already."""
        payload = {"email": email, "uid": uid.hex()}
        return _steps(EventKind.LOCK, uid, payload, now_ms, " AND locked_at_ms IS NULL")

    def unlocked(self, uid: bytes, email: str, now_ms: int) -> Steps:
        """An account gets unlocked by the step that follows: nothing is recorded of one that is not locked."""
        payload = {"email": email, "uid": uid.hex()}
        return _steps(EventKind.UNLOCK, uid, payload, now_ms, " AND locked_at_ms IS NOT NULL")

    def deleted(self, uid: bytes, domain: str, now_ms: int) -> Steps:
        """Its owner, or an operator, removes an account."""
        return _steps(EventKind.DELETE, uid, {"uid": f"{uid.hex()}@{domain}"}, now_ms)


def records_event(step: Statement) -> bool:
    """Whether the step is one that records an event."""
    return step.sql.startswith(_RECORD)


def _generation(uid: bytes, domain: str, now_ms: int) -> Mapping[str, object]:
    return {"uid": f"{uid.hex()}@{domain}", "generation": now_ms}


def _steps(kind: EventKind, uid: bytes, payload: Mapping[str, object], now_ms: int, condition: str = "") -> Steps:
    stamp = (
        "UPDATE accounts SET last_stamp = CASE WHEN last_stamp < :now_ms THEN :now_ms ELSE last_stamp + 1 END"
        " WHERE uid = :uid"
    )
    params = {"id": os.urandom(16), "kind": kind.value, "uid": uid, "now_ms": now_ms, "payload": json.dumps(payload)}
    return Statement(stamp, {"uid": uid, "now_ms": now_ms}), Statement(_RECORD + condition, params)

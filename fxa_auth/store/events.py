"""Events: what other services are told about accounts. A row is written with the change that it tells of."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from fxa_auth.records import EventKind
from fxa_auth.store.database import Statement


class EventTable:
    """Describes the steps that record events. A ``uid`` is 16 bytes."""

    def verified(self, uid: bytes, email: str, locale: str | None, now_ms: int) -> Statement:
        """An account's address has been verified."""
        return _record(EventKind.VERIFIED, uid, {"email": email, "uid": uid.hex(), "locale": locale}, now_ms)

    def deleted(self, uid: bytes, domain: str, now_ms: int) -> Statement:
        """Its owner, or an operator, has removed an account; ``domain`` is that of this server's certificates."""
        return _record(EventKind.DELETE, uid, {"uid": f"{uid.hex()}@{domain}"}, now_ms)


def _record(kind: EventKind, uid: bytes, payload: Mapping[str, object], now_ms: int) -> Statement:
    sql = "INSERT INTO events (id, kind, uid, created_at_ms, payload) VALUES (:id, :kind, :uid, :now_ms, :payload)"
    params = {"id": os.urandom(16), "kind": kind.value, "uid": uid, "now_ms": now_ms, "payload": json.dumps(payload)}
    return Statement(sql, params)

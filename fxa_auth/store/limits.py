"""What the builtin abuse policy counts: the tables ``limit_addresses`` and ``limit_events``, and a look at ``bans``.

How many are too many is the caller's business; here is seen to it that of those who count for one address at once,
in whichever daemon, no more are taken in than there is room for. Nothing in these tables is secret.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from fxa_auth.records import Ban, Counted, Recorded, Standing
from fxa_auth.store.database import Database, DemandFailed, Row, Statement

_ROOM = (
    "(SELECT count(*) FROM limit_events WHERE email = :email AND client = :client AND"
    " (leased_until_ms > :now_ms OR (leased_until_ms IS NULL AND at_ms > :since_ms))) < :room"
)

_TOUCH = (
    "INSERT INTO limit_addresses (email, forgiven_at_ms, expires_at_ms) SELECT :email, 0, :expires_at_ms WHERE {}"
    " ON CONFLICT (email) DO UPDATE SET expires_at_ms = CASE"
    " WHEN excluded.expires_at_ms > limit_addresses.expires_at_ms THEN excluded.expires_at_ms"
    " ELSE limit_addresses.expires_at_ms END"
)
"""The row lives as long as the last of its events: what it forgives would count again without it.

On PostgreSQL this holds a lock to the end of the change: what the steps behind it read, nobody else alters."""


class LimitTable:
    """Reads and changes what is counted. Each method that changes something is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def recorded(self, client: str, email: str, networks: Sequence[str], now_ms: int) -> Recorded:
        """All that is on record about a client and an address.

        ``networks`` are the keys of the networks that hold the client.
        """
        subjects = {f"subject_{number}": key for number, key in enumerate((email, *networks))}
        sql = (
            "SELECT 'ban' AS rule, subject AS about, reason, banned_at_ms AS from_ms, expires_at_ms AS until_ms"
            f" FROM bans WHERE subject IN ({', '.join(f':{name}' for name in subjects)}) AND expires_at_ms > :now_ms"
            " UNION ALL SELECT rule, client, '', at_ms, leased_until_ms FROM limit_events"
            " WHERE email = :email AND client IN ('', :client)"
        )
        rows = await self._database.point(sql, {**subjects, "email": email, "client": client, "now_ms": now_ms})
        bans = [
            Ban(row["about"], row["reason"], row["from_ms"], row["until_ms"]) for row in rows if row["rule"] == "ban"
        ]
        events = [row for row in rows if row["rule"] != "ban"]
        settled = [row for row in events if row["until_ms"] is None]
        return Recorded(
            bans=tuple(bans),
            mails_ms=tuple(row["from_ms"] for row in settled if not row["about"]),
            failures_ms=tuple(row["from_ms"] for row in settled if row["about"]),
            under_way=sum(1 for row in events if row["until_ms"] is not None and row["until_ms"] > now_ms),
        )

    async def take_in(
        self,
        event: Counted,
        now_ms: int,
        *,
        room: int,
        since_ms: int,
        leased_until_ms: int | None,
        expires_at_ms: int,
    ) -> tuple[bool, Sequence[int]]:
        """Count the event, provided that fewer than ``room`` count already for its address and client.

        Those count that were settled after ``since_ms``, and those that are leased at ``now_ms``. The answer tells
        whether it was taken in, and the times (ms) of all that are settled, this one included if it is not leased.
        Nothing is written if there is no room.
        """
        params = {
            **_key(event),
            "rule": event.rule,
            "now_ms": now_ms,
            "since_ms": since_ms,
            "room": room,
            "leased_until_ms": leased_until_ms,
            "expires_at_ms": expires_at_ms,
        }
        insert = (
            "INSERT INTO limit_events (email, client, id, rule, at_ms, leased_until_ms, expires_at_ms)"
            " SELECT :email, :client, :id, :rule, :now_ms, :leased_until_ms, :expires_at_ms"
            f" WHERE {_ROOM} RETURNING id"
        )
        times = "SELECT at_ms FROM limit_events WHERE email = :email AND client = :client AND leased_until_ms IS NULL"
        # Without the lock that the first step takes, the second might see room that another daemon fills just now.
        steps = [
            Statement(_TOUCH.format(_ROOM), params, "there is room"),
            *(Statement(sql, params) for sql in (insert, times)),
        ]
        try:
            _, taken_in, settled = await self._database.change(steps)
        except DemandFailed:
            taken_in, settled = [], await self._database.query(times, _key(event))
        return bool(taken_in), [row["at_ms"] for row in settled]

    async def renew(self, event: Counted, leased_until_ms: int) -> None:
        """Let an event that is leased count for longer."""
        sql = (
            "UPDATE limit_events SET leased_until_ms = :leased_until_ms"
            " WHERE email = :email AND client = :client AND id = :id AND leased_until_ms IS NOT NULL"
        )
        await self._database.change([Statement(sql, {**_key(event), "leased_until_ms": leased_until_ms})])

    def release(self, event: Counted) -> Statement:
        """The step by which an event counts no longer."""
        sql = "DELETE FROM limit_events WHERE email = :email AND client = :client AND id = :id"
        return Statement(sql, _key(event))

    async def remove(self, event: Counted) -> None:
        await self._database.change([self.release(event)])

    async def settle(
        self, event: Counted, now_ms: int, *, since_ms: int, most: int, expires_at_ms: int
    ) -> Sequence[int]:
        """Count the event as one that happened now, whether or not it was taken in before.

        The answer are the times (ms) of up to ``most`` events of its rule and address, from whichever client, that are
        later than ``since_ms`` and not forgiven.
        """
        params = {**_key(event), "rule": event.rule, "now_ms": now_ms, "expires_at_ms": expires_at_ms}
        count = (
            "INSERT INTO limit_events (email, client, id, rule, at_ms, leased_until_ms, expires_at_ms)"
            " VALUES (:email, :client, :id, :rule, :now_ms, NULL, :expires_at_ms) ON CONFLICT (email, client, id)"
            " DO UPDATE SET at_ms = excluded.at_ms, leased_until_ms = NULL, expires_at_ms = excluded.expires_at_ms"
        )
        times = (
            "SELECT e.at_ms FROM limit_events e JOIN limit_addresses a ON a.email = e.email"
            " WHERE e.email = :email AND e.rule = :rule AND e.leased_until_ms IS NULL AND e.at_ms > :since_ms"
            " AND e.at_ms > a.forgiven_at_ms LIMIT :most"
        )
        _, _, rows = await self._database.change(
            [
                Statement(_TOUCH.format("TRUE"), params),
                Statement(count, params),
                Statement(times, {**params, "since_ms": since_ms, "most": most}),
            ]
        )
        return [row["at_ms"] for row in rows]

    async def forgive(self, email: str, now_ms: int) -> None:
        """What has happened up to now no longer counts towards a lockout of this address."""
        sql = "UPDATE limit_addresses SET forgiven_at_ms = :now_ms WHERE email = :email"
        await self._database.change([Statement(sql, {"email": email, "now_ms": now_ms})])

    # For an operator.

    async def standings(self, rule: str, email: str | None = None, client: str | None = None) -> list[Standing]:
        """What is on record under a rule, for each address and client; for one address or one client, if given."""
        sql = f"SELECT email, client, at_ms FROM limit_events WHERE {_chosen(email, client)} AND rule = :rule"
        rows = await self._database.query(sql, {"rule": rule, "email": email, "client": client})
        return _grouped(rule, rows)

    async def unforgiven(self, rule: str, email: str | None = None) -> list[Standing]:
        """What is on record under a rule and not forgiven, for each address, from whichever client."""
        sql = (
            "SELECT email, '' AS client, at_ms FROM limit_events e"
            f" WHERE {_chosen(email, None)} AND rule = :rule AND EXISTS (SELECT 1 FROM limit_addresses a"
            " WHERE a.email = e.email AND a.forgiven_at_ms < e.at_ms)"
        )
        return _grouped(rule, await self._database.query(sql, {"rule": rule, "email": email}))

    async def clear(self, rule: str | None = None, email: str | None = None, client: str | None = None) -> int:
        """Forget what is on record; under one rule, for one address and for one client only, if given.

        Passwords that are being checked go on counting. The answer is how many events are forgotten.
        """
        condition = "TRUE" if rule is None else "rule = :rule"
        sql = f"DELETE FROM limit_events WHERE {_chosen(email, client)} AND {condition} RETURNING id"
        [rows] = await self._database.change([Statement(sql, {"rule": rule, "email": email, "client": client})])
        return len(rows)

    # For pruning.

    def prune_events(self, now_ms: int, limit: int, skipped: int = 0) -> Statement:
        """Remove up to ``limit`` events that matter no more, the oldest but for the ``skipped`` oldest of all.

        The rows returned are those removed.
        """
        sql = (
            "DELETE FROM limit_events WHERE (email, client, id) IN (SELECT email, client, id FROM limit_events"
            " WHERE expires_at_ms <= :now_ms ORDER BY expires_at_ms, email, client, id LIMIT :limit OFFSET :skipped)"
            " AND expires_at_ms <= :now_ms RETURNING id"
        )
        return Statement(sql, {"now_ms": now_ms, "limit": limit, "skipped": skipped})

    def prune_addresses(self, now_ms: int, limit: int, skipped: int = 0) -> Statement:
        """The same for addresses for which nothing is counted any more."""
        sql = (
            "DELETE FROM limit_addresses WHERE email IN (SELECT email FROM limit_addresses"
            " WHERE expires_at_ms <= :now_ms ORDER BY expires_at_ms, email LIMIT :limit OFFSET :skipped)"
            " AND expires_at_ms <= :now_ms RETURNING email"
        )
        return Statement(sql, {"now_ms": now_ms, "limit": limit, "skipped": skipped})


def _key(event: Counted) -> dict[str, object]:
    return {"email": event.email, "client": event.client, "id": event.id}


def _chosen(email: str | None, client: str | None) -> str:
    """The condition for what is settled, of this address and of this client."""
    conditions = ["leased_until_ms IS NULL"]
    if email is not None:
        conditions.append("email = :email")
    if client is not None:
        conditions.append("client = :client")
    return " AND ".join(conditions)


def _grouped(rule: str, rows: Sequence[Row]) -> list[Standing]:
    """One standing for each address and client, in this order."""
    times: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in rows:
        times[row["email"], row["client"]].append(row["at_ms"])
    return [Standing(rule, email, client, tuple(sorted(found))) for (email, client), found in sorted(times.items())]

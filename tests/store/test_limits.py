"""What the abuse policy counts, and bans: what is taken in, what is forgotten, and what is found again."""

from __future__ import annotations

import os
from typing import Any

from twisted.trial.unittest import TestCase

from fxa_auth.records import Ban, Counted, Recorded, Standing
from tests.store.contract import DatabaseContract, OnSqliteFile, OnSqliteMemory, all_of
from tests.store.on_postgres import OnPostgres

EMAIL, OTHER = "me@example.com", "other@example.com"
HERE, THERE = "192.0.2.7", "2001:db8::/64"
NOW_MS = 1_800_000_000_000
WINDOW_MS = 1000


def login(email: str = EMAIL, client: str = HERE) -> Counted:
    return Counted("logins", email, client, os.urandom(16))


def mail(email: str = EMAIL) -> Counted:
    return Counted("mails", email, "", os.urandom(16))


class LimitContract(DatabaseContract):
    """There is room for three within a second here."""

    assertCountEqual: Any
    assertTrue: Any
    assertFalse: Any

    async def take_in(self, event: Counted, at_ms: int = 0, lease_ms: int | None = None) -> tuple[bool, list[int]]:
        """Count an event so long after NOW_MS; the answer are times after NOW_MS, too."""
        now_ms = NOW_MS + at_ms
        taken_in, times_ms = await self.store.limits.take_in(
            event,
            now_ms,
            room=3,
            since_ms=now_ms - WINDOW_MS,
            leased_until_ms=None if lease_ms is None else now_ms + lease_ms,
            expires_at_ms=now_ms + 2 * WINDOW_MS,
        )
        return taken_in, sorted(time_ms - NOW_MS for time_ms in times_ms)

    async def settle(self, event: Counted, at_ms: int = 0, most: int = 100) -> list[int]:
        now_ms = NOW_MS + at_ms
        times_ms = await self.store.limits.settle(
            event, now_ms, since_ms=now_ms - WINDOW_MS, most=most, expires_at_ms=now_ms + 2 * WINDOW_MS
        )
        return sorted(time_ms - NOW_MS for time_ms in times_ms)

    async def recorded(self, email: str = EMAIL, client: str = HERE, at_ms: int = 0, *networks: str) -> Recorded:
        return await self.store.limits.recorded(client, email, networks, NOW_MS + at_ms)

    async def test_no_more_are_taken_in_than_there_is_room_for(self) -> None:
        for at_ms, taken_in, times in (
            (0, True, [0]),
            (1, True, [0, 1]),
            (2, True, [0, 1, 2]),
            (3, False, [0, 1, 2]),
            (999, False, [0, 1, 2]),
            (1000, True, [0, 1, 2, 1000]),  # the first has left the window
            (1000, False, [0, 1, 2, 1000]),
        ):
            self.assertEqual(await self.take_in(mail(), at_ms), (taken_in, times), at_ms)
        self.assertEqual(len(await self.rows("limit_events")), 4)

    async def test_what_is_not_taken_in_writes_nothing(self) -> None:
        for _ in range(3):
            await self.take_in(login())
        before = [await self.rows(table) for table in ("limit_addresses", "limit_events")]
        self.assertEqual((await self.take_in(login(), 5))[0], False)
        self.assertEqual([await self.rows(table) for table in ("limit_addresses", "limit_events")], before)

    async def test_each_address_and_client_has_room_of_its_own(self) -> None:
        for email, client in ((EMAIL, HERE), (EMAIL, THERE), (OTHER, HERE), (EMAIL, "")):
            outcomes = [(await self.take_in(login(email, client)))[0] for _ in range(4)]
            self.assertEqual(outcomes, [True, True, True, False], (email, client))

    async def test_a_lease_counts_until_it_runs_out(self) -> None:
        for _ in range(3):
            self.assertEqual(await self.take_in(login(), 0, 50), (True, []))
        self.assertEqual(await self.take_in(login(), 49, 50), (False, []))
        self.assertEqual((await self.recorded(at_ms=49)).under_way, 3)
        self.assertEqual((await self.recorded(at_ms=50)).under_way, 0)
        self.assertEqual(await self.take_in(login(), 50, 50), (True, []))

    async def test_a_lease_may_be_lengthened_and_nothing_else(self) -> None:
        leased, settled = login(), login()
        await self.take_in(leased, 0, 50)
        await self.settle(settled)
        for event in (leased, settled, login()):
            await self.store.limits.renew(event, NOW_MS + 90)
        self.assertEqual((await self.recorded(at_ms=89)).under_way, 1)
        self.assertEqual((await self.recorded(at_ms=90)).under_way, 0)
        self.assertEqual(len((await self.recorded()).failures_ms), 1)

    async def test_of_many_at_once_three_are_taken_in(self) -> None:
        outcomes = await all_of([self.take_in(login(), 0, 50) for _ in range(12)])
        self.assertEqual(sorted(taken_in for taken_in, _ in outcomes), [False] * 9 + [True] * 3)

    async def test_what_is_released_counts_no_longer(self) -> None:
        events = [login() for _ in range(3)]
        for event in events:
            await self.take_in(event, 0, 50)
        await self.store.change(self.store.limits.release(events[0]))
        await self.store.limits.remove(events[1])
        await self.store.limits.remove(events[1])
        self.assertEqual((await self.recorded()).under_way, 1)

    async def test_what_is_settled_counts_from_that_moment(self) -> None:
        event = login()
        await self.take_in(event, 0, 50)
        self.assertEqual(await self.settle(event, 30), [30])
        self.assertEqual(await self.recorded(), Recorded(failures_ms=(NOW_MS + 30,)))
        self.assertEqual(await self.settle(login(), 40), [30, 40], "one that was not taken in")

    async def test_settling_tells_of_all_clients_but_not_of_other_rules_and_addresses(self) -> None:
        await self.take_in(mail(), 1)
        await self.settle(login(OTHER), 2)
        await self.take_in(login(), 3, 50)
        await self.settle(login(client=THERE), 4)
        self.assertEqual(await self.settle(login(), 5), [4, 5])
        self.assertEqual(await self.settle(login(), 1004), [5, 1004], "the window")
        self.assertEqual(len(await self.settle(login(), 1004, most=2)), 2)

    async def test_what_is_forgiven_does_not_count_towards_a_lockout_but_for_its_client(self) -> None:
        await self.settle(login(), 1)
        await self.settle(login(OTHER), 1)
        await self.store.limits.forgive(EMAIL, NOW_MS + 1)
        self.assertEqual(await self.settle(login(), 2), [2])
        self.assertEqual(await self.settle(login(OTHER), 2), [1, 2])
        self.assertCountEqual((await self.recorded()).failures_ms, [NOW_MS + 1, NOW_MS + 2])
        [standing] = await self.store.limits.unforgiven("logins", EMAIL)
        self.assertEqual(standing, Standing("logins", EMAIL, "", (NOW_MS + 2,)))
        await self.store.limits.forgive("nobody@example.com", NOW_MS)

    async def test_what_is_recorded_about_a_client_and_an_address(self) -> None:
        bans = [Ban(subject, "spam", NOW_MS, NOW_MS + 10) for subject in (EMAIL, "net/1", "net/2", OTHER)]
        for ban in bans:
            await self.store.bans.add(ban)
        await self.take_in(mail(), 1)
        await self.take_in(mail(OTHER), 2)
        await self.settle(login(), 3)
        await self.settle(login(client=THERE), 4)
        await self.take_in(login(), 5, 50)
        found = await self.recorded(EMAIL, HERE, 6, "net/2", "net/3")
        self.assertCountEqual(found.bans, [bans[0], bans[2]])
        self.assertEqual((found.mails_ms, found.failures_ms), ((NOW_MS + 1,), (NOW_MS + 3,)))
        self.assertEqual(found.under_way, 1)
        self.assertEqual((await self.recorded(EMAIL, HERE, 10, "net/2")).bans, (), "they have ended")
        self.assertEqual(await self.recorded("nobody@example.com", "nowhere"), Recorded())

    async def test_standings_are_those_asked_for(self) -> None:
        await self.take_in(mail(), 1)
        await self.settle(login(), 3)
        await self.settle(login(), 2)
        await self.settle(login(client=THERE), 4)
        await self.settle(login(OTHER), 5)
        await self.take_in(login(), 6, 50)
        here = Standing("logins", EMAIL, HERE, (NOW_MS + 2, NOW_MS + 3))
        there = Standing("logins", EMAIL, THERE, (NOW_MS + 4,))
        other = Standing("logins", OTHER, HERE, (NOW_MS + 5,))
        standings = self.store.limits.standings
        self.assertEqual(await standings("logins"), [here, there, other])
        self.assertEqual(await standings("logins", EMAIL), [here, there])
        self.assertEqual(await standings("logins", None, HERE), [here, other])
        self.assertEqual(await standings("logins", EMAIL, HERE), [here])
        self.assertEqual(await standings("mails"), [Standing("mails", EMAIL, "", (NOW_MS + 1,))])
        everywhere = Standing("logins", EMAIL, "", (NOW_MS + 2, NOW_MS + 3, NOW_MS + 4))
        self.assertEqual(await self.store.limits.unforgiven("logins", EMAIL), [everywhere])

    async def test_what_is_cleared_is_what_was_asked_for_and_nothing_under_way(self) -> None:
        async def fill() -> None:
            await self.store.limits.clear()
            await self.settle(login())
            await self.settle(login(client=THERE))
            await self.settle(login(OTHER))
            await self.take_in(mail())

        clear = self.store.limits.clear
        await self.take_in(login(), 0, 50)
        for arguments, forgotten in (
            ({}, 4),
            ({"email": EMAIL}, 3),
            ({"client": HERE}, 2),
            ({"email": EMAIL, "client": HERE}, 1),
            ({"rule": "logins", "email": EMAIL}, 2),
            ({"email": "nobody@example.com"}, 0),
        ):
            await fill()
            self.assertEqual(await clear(**arguments), forgotten, arguments)
            self.assertEqual(len(await self.rows("limit_events")), 5 - forgotten)
            self.assertEqual((await self.recorded()).under_way, 1)

    async def test_a_later_ban_takes_the_place_of_an_earlier_one(self) -> None:
        first, second = Ban(EMAIL, "spam", NOW_MS, NOW_MS + 10), Ban(EMAIL, "", NOW_MS + 5, NOW_MS + 8)
        await self.store.bans.add(first)
        await self.store.bans.add(second)
        self.assertEqual(await self.store.bans.in_force(NOW_MS), [second])

    async def test_bans_end_by_themselves_or_are_lifted(self) -> None:
        bans = [Ban(f"net/{number}", "", NOW_MS, NOW_MS + 10 - number) for number in range(3)]
        for ban in bans:
            await self.store.bans.add(ban)
        self.assertEqual(await self.store.bans.in_force(NOW_MS + 7), bans[::-1])
        self.assertEqual(await self.store.bans.in_force(NOW_MS + 9), bans[:1])
        self.assertFalse(await self.store.bans.remove("net/2", NOW_MS + 9), "it has ended")
        self.assertTrue(await self.store.bans.remove("net/0", NOW_MS + 9))
        self.assertFalse(await self.store.bans.remove("net/0", NOW_MS + 9))
        self.assertEqual(await self.store.bans.in_force(NOW_MS + 9), [])


class SqliteFileTests(OnSqliteFile, LimitContract, TestCase):
    """In an SQLite file."""


class SqliteMemoryTests(OnSqliteMemory, LimitContract, TestCase):
    """In memory."""


class PostgresTests(OnPostgres, LimitContract, TestCase):
    """On a PostgreSQL server."""

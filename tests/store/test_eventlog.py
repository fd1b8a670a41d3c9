"""The event log on every database: numbers, places and leases of publishers, pruning."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from fxa_auth.records import Event
from fxa_auth.store.database import Statement
from fxa_auth.store.postgres import PostgresDatabase
from tests.store.contract import DatabaseContract, OnSqliteFile, OnSqliteMemory, all_of, an_account
from tests.store.on_postgres import Gate, OnPostgres, begun

EMAIL = "me@example.com"
NOW_MS = 1_700_000_100_000
ONE, OTHER = b"1" * 16, b"2" * 16


class LogContract(DatabaseContract):
    """Two accounts whose logins are the events."""

    assertEqual: Any
    assertIs: Any
    assertIsNone: Any

    async def setUp(self) -> None:
        await super().setUp()
        self.log = self.store.event_log
        self.uid = (await self.add(an_account(EMAIL))).uid
        self.other = (await self.add(an_account("other@example.com"))).uid

    def login(self, now_ms: int, uid: bytes | None = None) -> tuple[Statement, ...]:
        return self.store.events.login(uid or self.uid, EMAIL, now_ms)

    async def record(self, *times_ms: int, uid: bytes | None = None) -> None:
        for now_ms in times_ms:
            await self.store.change(*self.login(now_ms, uid))

    async def numbered(self, *times_ms: int, limit: int = 100) -> int:
        """Record events at these times, and number what there is."""
        await self.record(*times_ms)
        return await self.log.number(limit, NOW_MS)

    async def events(self) -> list[tuple[int, int]]:
        """Numbers and times of all events in the log."""
        return [(event.number, event.created_at_ms) for event in await self.log.after(0, 1000)]


class NumberContract(LogContract):
    """Numbering."""

    async def test_events_are_numbered_from_one_on(self) -> None:
        self.assertEqual((await self.log.number(100, NOW_MS), await self.log.last_number()), (0, 0))
        self.assertEqual(await self.numbered(1, 2), 2)
        self.assertEqual(await self.numbered(3), 1)
        self.assertEqual((await self.events(), await self.log.last_number()), ([(1, 1), (2, 2), (3, 3)], 3))

    async def test_an_event_without_a_number_is_not_in_the_log(self) -> None:
        await self.record(1)
        self.assertEqual(await self.events(), [])

    async def test_the_log_says_all_of_an_event(self) -> None:
        await self.numbered(NOW_MS)
        payload = {"email": EMAIL, "uid": self.uid.hex()}
        self.assertEqual(await self.log.after(0, 10), [Event(1, "login", self.uid, NOW_MS, payload)])

    async def test_it_is_read_in_order_from_anywhere_a_piece_at_a_time(self) -> None:
        await self.numbered(1, 2, 3, 4)
        self.assertEqual([event.number for event in await self.log.after(1, 2)], [2, 3])
        self.assertEqual(await self.log.after(4, 2), [])

    async def test_of_one_account_the_order_is_that_of_the_changes_whatever_the_clock_says(self) -> None:
        await self.numbered(50, 40, 60, 10)
        self.assertEqual(await self.events(), [(1, 50), (2, 40), (3, 60), (4, 10)])

    async def test_of_several_accounts_the_order_is_that_of_time(self) -> None:
        await self.record(30, uid=self.other)
        self.assertEqual(await self.numbered(20, 10, 40), 4)
        self.assertEqual(await self.events(), [(1, 20), (2, 10), (3, 30), (4, 40)])

    async def test_a_backlog_is_numbered_in_pieces_in_the_same_order(self) -> None:
        await self.record(30, 35, uid=self.other)
        await self.record(20, 10, 40)
        self.assertEqual([await self.log.number(limit, NOW_MS) for limit in (1, 2, 5, 5)], [1, 2, 2, 0])
        self.assertEqual([time for _, time in await self.events()], [20, 10, 30, 35, 40])

    async def test_numbers_go_on_when_all_events_were_pruned(self) -> None:
        await self.numbered(1, 2)
        self.assertEqual(await self.log.prune(NOW_MS, 0, 10), 2)
        await self.numbered(3)
        self.assertEqual(await self.events(), [(3, 3)])

    async def test_many_who_number_at_once_leave_no_gap_and_number_nothing_twice(self) -> None:
        await self.record(*range(20))
        counted = await all_of([self.log.number(7, NOW_MS) for _ in range(8)])
        self.assertEqual(sum(counted), 20)
        self.assertEqual([number for number, _ in await self.events()], list(range(1, 21)))


class PlaceContract(LogContract):
    """Places and leases of publishers."""

    async def test_a_new_publisher_begins_with_the_next_number(self) -> None:
        self.assertEqual(await self.log.attend("early", None, NOW_MS), 0)
        await self.numbered(1, 2)
        self.assertEqual(await self.log.attend("late", None, NOW_MS), 2)
        self.assertEqual(await self.log.attend("early", None, NOW_MS), 0, "it has its place already")
        self.assertIsNone(await self.log.place("never"))

    async def test_attending_moves_a_place_forward_and_never_back(self) -> None:
        await self.numbered(1, 2, 3)
        await self.log.attend("sns", 2, NOW_MS)
        for said, place in ((1, 2), (None, 2), (3, 3)):
            self.assertEqual(await self.log.attend("sns", said, NOW_MS), place)
        self.assertEqual(await self.log.place("sns"), 3)

    async def test_a_place_beyond_all_numbers_does_not_count(self) -> None:
        """As after a database went back to an earlier state under a daemon."""
        await self.numbered(1, 2, 3)
        await self.log.attend("sns", 1, NOW_MS)
        self.assertEqual(await self.log.attend("sns", 9, NOW_MS), 1)
        self.assertEqual(await self.log.attend("new", 9, NOW_MS), 3)

    async def test_one_holder_at_a_time_is_told_the_place(self) -> None:
        await self.numbered(1, 2, 3)
        await self.log.attend("sns", 2, NOW_MS)
        self.assertEqual(await self.log.claim("sns", ONE, 100, 200), 2)
        self.assertIsNone(await self.log.claim("sns", OTHER, 199, 300))
        self.assertEqual(await self.log.claim("sns", OTHER, 200, 300), 2)

    async def test_each_publisher_has_a_lease_of_its_own(self) -> None:
        await self.numbered(1, 2, 3)
        for name, holder in (("sns", ONE), ("basket", OTHER)):
            await self.log.attend(name, 1, NOW_MS)
            self.assertEqual(await self.log.claim(name, holder, 100, 200), 1)

    async def test_advancing_lengthens_the_lease_and_never_moves_back(self) -> None:
        await self.numbered(1, 2, 3)
        await self.log.attend("sns", 2, NOW_MS)
        await self.log.claim("sns", ONE, 100, 200)
        self.assertIs(await self.log.advance("sns", 5, ONE, 150, 300), True)
        self.assertIsNone(await self.log.claim("sns", OTHER, 299, 400))
        self.assertIs(await self.log.advance("sns", 4, ONE, 150, 300), True)
        self.assertEqual(await self.log.place("sns"), 5)

    async def test_who_has_lost_the_lease_does_not_advance(self) -> None:
        await self.numbered(1, 2, 3)
        await self.log.attend("sns", 2, NOW_MS)
        await self.log.claim("sns", ONE, 100, 200)
        await self.log.claim("sns", OTHER, 200, 300)
        self.assertIs(await self.log.advance("sns", 5, ONE, 250, 300), False)
        self.assertEqual(await self.log.place("sns"), 2)

    async def test_releasing_notes_the_place_and_lets_others_in(self) -> None:
        await self.numbered(1, 2, 3)
        await self.log.attend("sns", 2, NOW_MS)
        await self.log.claim("sns", ONE, 100, 200)
        await self.log.release("sns", 7, ONE, 150)
        self.assertEqual(await self.log.claim("sns", OTHER, 151, 300), 7)
        await self.log.release("sns", 3, ONE, 160)
        self.assertIsNone(await self.log.claim("sns", ONE, 170, 300), "released by one who did not hold it")
        self.assertEqual(await self.log.place("sns"), 7)


class PruneContract(LogContract):
    """Pruning."""

    async def prune(self, before_ms: int, attended_since_ms: int = 0, limit: int = 100) -> list[int]:
        """The numbers of the events that are left."""
        await self.log.prune(before_ms, attended_since_ms, limit)
        return [number for number, _ in await self.events()]

    async def test_without_publishers_age_decides(self) -> None:
        await self.numbered(1, 2, 3)
        self.assertEqual(await self.prune(3), [3])
        self.assertEqual(await self.prune(4), [])

    async def test_a_publisher_keeps_what_it_is_not_done_with(self) -> None:
        await self.numbered(1, 2, 3)
        await self.log.attend("basket", 1, NOW_MS)
        await self.log.attend("sns", 2, NOW_MS)
        self.assertEqual(await self.prune(NOW_MS), [2, 3])

    async def test_a_publisher_that_nobody_attends_keeps_nothing_and_is_forgotten(self) -> None:
        await self.numbered(1, 2, 3)
        await self.log.attend("gone", 1, 100)
        await self.log.attend("sns", 2, 200)
        self.assertEqual(await self.prune(NOW_MS, attended_since_ms=200), [3])
        self.assertIsNone(await self.log.place("gone"))
        self.assertEqual(await self.log.attend("gone", None, NOW_MS), 3, "back again, it begins with the next event")

    async def test_delivering_is_attending(self) -> None:
        await self.log.attend("sns", 1, 100)
        await self.log.claim("sns", ONE, 100, 300)
        await self.log.advance("sns", 1, ONE, 200, 300)
        await self.log.prune(0, 200, 10)
        self.assertEqual(await self.log.place("sns"), 1)
        await self.log.release("sns", 1, ONE, 300)
        await self.log.prune(0, 300, 10)
        self.assertEqual(await self.log.place("sns"), 1)

    async def test_the_log_stays_in_one_piece(self) -> None:
        """An event that is younger than those after it keeps them."""
        await self.numbered(1, 50, 2)
        self.assertEqual(await self.prune(10), [2, 3])

    async def test_so_many_at_a_time(self) -> None:
        await self.numbered(1, 2, 3)
        self.assertEqual(await self.log.prune(NOW_MS, 0, 2), 2)
        self.assertEqual(await self.log.prune(NOW_MS, 0, 2), 1)

    async def test_events_without_a_number_stay(self) -> None:
        await self.numbered(1)
        await self.record(2)
        self.assertEqual(await self.prune(NOW_MS), [])
        self.assertEqual(await self.log.number(10, NOW_MS), 1)


class SqliteFileNumberTests(OnSqliteFile, NumberContract, TestCase):
    pass


class SqliteMemoryNumberTests(OnSqliteMemory, NumberContract, TestCase):
    pass


class PostgresNumberTests(OnPostgres, NumberContract, TestCase):
    pass


class SqliteFilePlaceTests(OnSqliteFile, PlaceContract, TestCase):
    pass


class SqliteMemoryPlaceTests(OnSqliteMemory, PlaceContract, TestCase):
    pass


class PostgresPlaceTests(OnPostgres, PlaceContract, TestCase):
    pass


class SqliteFilePruneTests(OnSqliteFile, PruneContract, TestCase):
    pass


class SqliteMemoryPruneTests(OnSqliteMemory, PruneContract, TestCase):
    pass


class PostgresPruneTests(OnPostgres, PruneContract, TestCase):
    pass


class OpenTransactionTests(OnPostgres, LogContract, TestCase):
    """Changes that are held open while others come and go, on connections of their own."""

    database: PostgresDatabase

    async def test_an_event_that_commits_late_gets_a_number_that_nobody_has_passed(self) -> None:
        gate = Gate(self, self.url)
        late = begun(self.store.change(*self.login(10), Gate.passing))
        await gate.waiting()
        await self.record(20, uid=self.other)
        self.assertEqual(await self.log.number(100, NOW_MS), 1)
        self.assertEqual(await self.events(), [(1, 20)], "the later change has the first number")
        gate.open()
        await late
        self.assertEqual(await self.log.number(100, NOW_MS), 1)
        self.assertEqual([event.created_at_ms for event in await self.log.after(1, 100)], [10])

    async def test_whoever_numbers_second_waits_and_goes_on_from_there(self) -> None:
        """A sequencer that is held up in its transaction shows nothing, and nobody gets past it."""
        await self.record(10)
        gate = Gate(self, self.url)
        held = begun(self.store.change(*self.numbering(), Gate.passing))
        await gate.waiting()
        await self.record(20, uid=self.other)
        second = begun(self.log.number(100, NOW_MS))
        await gate.waiting(2)
        self.assertEqual(await self.events(), [])
        gate.open()
        await held
        self.assertEqual((await second, await self.events()), (1, [(1, 10), (2, 20)]))

    async def test_changes_of_one_account_commit_one_after_the_other(self) -> None:
        """So the stamp that a change sees is that of the one that committed before it, whatever its clock says."""
        gate = Gate(self, self.url)
        first = begun(self.store.change(*self.login(50), Gate.passing))
        await gate.waiting()
        second = begun(self.store.change(*self.login(40)))
        await gate.waiting(2)
        self.assertIs(second.called, False)
        gate.open()
        await first
        await second
        await self.log.number(100, NOW_MS)
        self.assertEqual(await self.events(), [(1, 50), (2, 40)])

    async def test_a_change_that_is_undone_leaves_no_gap(self) -> None:
        gate = Gate(self, self.url)
        gone = self.store.accounts.remove(b"x" * 16, "account is there")
        undone = begun(self.store.change(*self.login(50), Gate.passing, gone))
        await gate.waiting()
        second = begun(self.store.change(*self.login(60)))
        await gate.waiting(2)
        gate.open()
        await self.assertFailure(undone, Exception)
        await second
        await self.numbered(70)
        self.assertEqual(await self.events(), [(1, 60), (2, 70)])

    def numbering(self) -> list[Statement]:
        """The steps by which the log numbers, as it hands them to the database."""
        taken: list[Statement] = []

        class Listening:
            async def query(self, sql: str, params: object) -> list[int]:
                return [1]

            async def change(self, statements: list[Statement]) -> Any:
                taken.extend(statements)
                return [[], [], []]

        log = type(self.log)(Listening())  # type: ignore[arg-type]
        begun(log.number(100, NOW_MS))
        return taken

"""The PostgreSQL adapter while its server stops, dies or hangs: it mends itself, and does nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, DeferredList
from twisted.trial.unittest import TestCase

from fxa_auth.store.database import DatabaseUnavailable, Statement
from fxa_auth.store.pgconnection import Connection
from fxa_auth.store.postgres import PostgresDatabase
from tests.postgres import Server, administer, create_database, started_server
from tests.store.contract import all_of
from tests.store.on_postgres import Gate, adapter, begun, opened, unavailable, until
from tests.store.pgproxy import Proxy
from tests.store.test_postgres import insert

ONE = [{"one": 1}]
_server: list[Server] = []


def server() -> Server:
    """A server that runs and that a test may break; it lasts to the end of the run."""
    if not _server:
        _server.append(started_server())
    _server[0].start()
    return _server[0]


class OutageCase(TestCase):
    def setUp(self) -> None:
        self.server = server()
        self.url = create_database(self.server.url())
        self.attempts = 0
        open_connection = Connection.open

        async def counted(connection: Connection, *args: Any) -> None:
            self.attempts += 1
            await open_connection(connection, *args)

        self.patch(Connection, "open", counted)

    def name(self) -> str:
        """The name of the database."""
        return urlsplit(self.url).path[1:]

    def count(self) -> int:
        """How many changes the database has kept."""
        number: int = administer(self.url, "SELECT count(*) FROM events")[0][0]
        return number

    async def all_unavailable(self, calls: Sequence[Deferred[Any]]) -> None:
        results: list[Any] = await DeferredList(calls, consumeErrors=True)
        self.assertEqual({failure.type for _, failure in results}, {DatabaseUnavailable})

    async def one(self, database: PostgresDatabase) -> Any:
        return await database.query("SELECT 1 AS one", {})

    async def serving_again(self, database: PostgresDatabase) -> None:
        """Return once the adapter serves; trial ends it if it never does."""
        served = False
        while not served:
            try:
                served = await self.one(database) == ONE
            except DatabaseUnavailable:
                continue

    async def busy_in(self, steps: list[Statement], database: PostgresDatabase, gate: Gate) -> Deferred[Any]:
        change = begun(database.change(steps))
        await gate.waiting()
        return change


class RestartTests(OutageCase):
    """The server is gone for a moment, and back before anybody tries to connect again."""

    async def test_idle_connections_are_replaced(self) -> None:
        database = await opened(self, self.url)
        for end in (self.server.stop, self.server.kill):
            await all_of([database.query("SELECT pg_sleep(0.05)", {}) for _ in range(4)])
            end()
            self.server.start()
            self.assertEqual(await all_of([self.one(database) for _ in range(20)]), [ONE] * 20)

    async def test_idle_connections_whose_end_was_noticed_leave_no_trace(self) -> None:
        database = await opened(self, self.url)
        await all_of([database.query("SELECT pg_sleep(0.05)", {}) for _ in range(4)])
        idle = list(database._idle)
        self.assertEqual(len(idle), 4)
        self.server.stop()
        await until(lambda: all(connection.pollable().closed for connection in idle))
        self.server.start()
        self.assertEqual(await self.one(database), ONE)

    async def test_a_read_is_repeated(self) -> None:
        for end in (self.server.stop, self.server.kill):
            database = await opened(self, self.url)
            reads = [begun(database.query("SELECT pg_sleep(0.3), 1 AS one", {})) for _ in range(4)]
            active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%sleep(0%' "
            own = "AND pid <> pg_backend_pid()"
            await until(lambda: administer(self.url, active + own) == [(4,)])  # noqa: B023
            end()
            self.server.start()
            for read in reads:
                [row] = await read
                self.assertEqual(row["one"], 1)
            await database.stop()

    async def test_a_change_that_was_not_committed_is_repeated_once(self) -> None:
        database = await opened(self, self.url)
        gate = Gate(self, self.url)
        change = await self.busy_in([insert("a"), Gate.passing, insert("b")], database, gate)
        self.server.kill()
        self.server.start()
        await change
        self.assertEqual(self.count(), 2)

    async def test_one_connection_that_the_server_ends_harms_nobody(self) -> None:
        database = await opened(self, self.url)
        gate = Gate(self, self.url)
        calls = [begun(database.change([insert(str(n)), Gate.passing])) for n in range(4)]
        await gate.waiting(4)
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' LIMIT 1"
        administer(self.url, end)
        gate.open()
        for call in calls:
            await call
        self.assertEqual(self.count(), 4)

    async def test_a_server_that_became_a_copy_is_left_for_the_one_to_write_to(self) -> None:
        database = await opened(self, self.url, pool_size=1)
        await database.query("SELECT set_config('default_transaction_read_only', 'on', false)", {})
        await database.change([insert("a")])
        self.assertEqual((self.count(), self.attempts), (1, 2), "by a second connection")


class CutTests(OutageCase):
    """The connection breaks at a chosen point of the conversation."""

    async def through(self, cut_at: bytes = b"", is_heard: bool = False, **options: Any) -> PostgresDatabase:
        """An adapter over a proxy, whose first connection is cut at these words."""
        self.url = create_database(self.server.url())
        administer(self.url, "CREATE SEQUENCE attempts")
        proxy = self.proxy = Proxy(self.server.port)
        self.addCleanup(lambda: Deferred.fromCoroutine(proxy.stop()))
        port = {"host": "127.0.0.1", "port": str(proxy.port)}
        database = await opened(self, self.server.url(self.name(), **port), **options)
        proxy.cut_at, proxy.is_heard = cut_at, is_heard
        return database

    def tries(self) -> int:
        number: int = administer(self.url, "SELECT last_value FROM attempts")[0][0]
        return number

    async def test_a_change_whose_commit_got_no_answer_is_never_repeated(self) -> None:
        for is_heard in (True, False):
            database = await self.through(cut_at=b"COMMIT\0", is_heard=is_heard)
            await unavailable(self, database.change([Statement("SELECT nextval('attempts')", {}), insert("a")]))
            await until(lambda: self.count() == is_heard)  # noqa: B023
            self.assertEqual((self.tries(), self.proxy.cut_at), (1, b""))
            await self.serving_again(database)

    async def test_a_change_that_was_cut_before_its_commit_is_repeated(self) -> None:
        for is_heard in (True, False):
            database = await self.through(cut_at=b"INSERT", is_heard=is_heard)
            await database.change([Statement("SELECT nextval('attempts')", {}), insert("a")])
            self.assertEqual((self.tries(), self.count()), (2, 1))

    async def test_a_read_that_was_cut_is_repeated(self) -> None:
        database = await self.through(cut_at=b"SELECT 1 AS one", is_heard=True)
        self.assertEqual(await self.one(database), ONE)
        self.assertEqual(self.proxy.cut_at, b"")

    async def test_of_many_connections_that_died_in_silence_a_call_meets_one(self) -> None:
        database = await self.through(statement_timeout_s=0.5)
        await all_of([database.query("SELECT pg_sleep(0.05)", {}) for _ in range(4)])
        self.assertEqual(len(self.proxy.open), 4)
        self.proxy.forget_connections()
        self.assertEqual(await self.one(database), ONE)


class DownTests(OutageCase):
    """The server stays away."""

    async def test_all_calls_fail_and_work_again_when_it_is_back(self) -> None:
        for url in (self.url, self.server.tcp_url(self.name())):
            database = await opened(self, url)
            self.server.kill()
            for _ in range(3):
                await self.all_unavailable([begun(self.one(database)) for _ in range(300)])
            self.server.start()
            await self.serving_again(database)

    async def test_who_waits_for_a_connection_is_refused_with_those_who_lose_theirs(self) -> None:
        database = await opened(self, self.url, pool_size=2)
        gate = Gate(self, self.url)
        calls = [begun(database.change([Gate.passing])) for _ in range(300)]
        await gate.waiting(2)
        self.server.kill()
        await self.all_unavailable(calls)
        self.assertEqual(database.pending, 0)

    async def test_a_start_fails_and_may_be_repeated(self) -> None:
        database = adapter(self, self.url)
        self.server.stop()
        await unavailable(self, database.start())
        await unavailable(self, self.one(database))
        self.server.start()
        await database.start()
        self.assertEqual(await self.one(database), ONE)


class FrozenTests(OutageCase):
    """The server takes connections and what is sent on them, and says nothing."""

    def freeze(self) -> None:
        self.server.freeze()
        self.addCleanup(self.server.thaw)

    async def frozen(self) -> PostgresDatabase:
        """An adapter in a hurry, and all its connections idle when the server freezes."""
        database = await opened(self, self.url, statement_timeout_s=0.5, connect_timeout_s=0.3)
        await all_of([database.query("SELECT pg_sleep(0.05)", {}) for _ in range(4)])
        self.freeze()
        return database

    async def test_the_first_calls_fail_by_time_and_all_others_at_once(self) -> None:
        database = await self.frozen()
        await self.all_unavailable([begun(self.one(database)) for _ in range(20)])
        before = self.attempts
        calls = [begun(self.one(database)) for _ in range(50)]
        self.assertEqual(sum(call.called for call in calls), 49, "one tries, the others are refused in the same turn")
        for call in calls:
            await unavailable(self, call)
        self.assertEqual(self.attempts - before, 1)
        self.server.thaw()
        await self.serving_again(database)
        self.assertEqual(await all_of([self.one(database) for _ in range(20)]), [ONE] * 20)

    async def test_a_change_in_the_midst_of_it_is_not_kept(self) -> None:
        database = await opened(self, self.url, statement_timeout_s=0.5, connect_timeout_s=0.3)
        gate = Gate(self, self.url)
        change = await self.busy_in([insert("a"), Gate.passing], database, gate)
        self.freeze()
        await unavailable(self, change)
        self.server.thaw()
        gate.open()
        await self.serving_again(database)
        self.assertEqual(self.count(), 0)

    async def test_stopping_leaves_nothing_behind(self) -> None:
        database = await self.frozen()
        calls = [begun(self.one(database)) for _ in range(20)]
        await database.stop()
        for call in calls:
            await unavailable(self, call)

    async def test_stopping_while_a_connection_is_tried_leaves_nothing_behind(self) -> None:
        database = adapter(self, self.url, connect_timeout_s=0.3)
        self.freeze()
        start = begun(database.start())
        stopping = begun(database.stop())
        await unavailable(self, start)
        await stopping

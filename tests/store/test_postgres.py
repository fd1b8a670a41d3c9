"""The PostgreSQL adapter in peace: its pool, errors that are no outage, addresses, TLS, and how it starts and stops."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
from psycopg2 import extensions
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from fxa_auth.store import postgres
from fxa_auth.store.bulk import reading_postgres
from fxa_auth.store.database import DemandFailed, Statement, UnusableDatabase
from fxa_auth.store.postgres import PostgresDatabase
from fxa_auth.store.schema import MIGRATION_LOCK
from tests.certificates import issue
from tests.postgres import administer, create_database, database_url, started_server
from tests.store.contract import all_of
from tests.store.on_postgres import Gate, adapter, begun, opened, unavailable, until
from tests.store.pgproxy import Proxy

INSERT = "INSERT INTO events (id, kind, uid, created_at_ms, payload) VALUES (:id, 'x', :id, 0, :payload)"


def insert(payload: str) -> Statement:
    return Statement(INSERT, {"id": payload.encode("utf-8", "surrogatepass"), "payload": payload})


class PostgresCase(TestCase):
    def setUp(self) -> None:
        self.url = database_url(self)

    def payloads(self) -> list[str]:
        return [payload for (payload,) in administer(self.url, "SELECT payload FROM events ORDER BY payload")]

    async def pid(self, database: PostgresDatabase) -> int:
        """Which process of the server serves the connection of a pool of one."""
        [row] = await database.query("SELECT pg_backend_pid() AS pid", {})
        pid: int = row["pid"]
        return pid

    def over_tcp(self, port: int, host: str = "127.0.0.1", query: str = "") -> str:
        """The URL of the database through a port, for the user of its own URL."""
        user = extensions.parse_dsn(self.url)["user"]
        return f"postgresql://{user}@{host}:{port}{urlsplit(self.url).path}?{query}"

    def port(self) -> int:
        return int(extensions.parse_dsn(self.url)["port"])


class CallTests(PostgresCase):
    async def test_a_caller_that_hangs_up_leaves_a_clean_pool(self) -> None:
        database = await opened(self, self.url, pool_size=1)
        gate = Gate(self, self.url)
        change = begun(database.change([insert("a"), Gate.passing, insert("b")]))
        await gate.waiting()
        change.cancel()
        await self.assertFailure(change, CancelledError)
        gate.open()
        [row] = await database.query("SELECT count(*) AS n FROM events", {})
        self.assertEqual(row["n"], 2, "the change ran to its end, and outside it nothing is in a transaction")

    async def test_a_change_sees_what_was_committed_while_it_waited_whatever_the_default_of_the_database(self) -> None:
        """Steps count on it that wait for their turn and then look; any other level would refuse most of them."""
        level = "SELECT current_setting('transaction_isolation') AS level, count(*) AS seen FROM events"
        administer(
            self.url,
            f"ALTER DATABASE {urlsplit(self.url).path[1:]} SET default_transaction_isolation = 'serializable'",
        )
        database = await opened(self, self.url)
        gate = Gate(self, self.url)
        change = begun(database.change([Statement(level, {}), Gate.passing, Statement(level, {})]))
        await gate.waiting()
        await database.change([insert("a")])
        gate.open()
        [before], _, [after] = await change
        self.assertEqual(
            [(row["level"], row["seen"]) for row in (before, after)], [("read committed", 0), ("read committed", 1)]
        )

    async def test_an_error_of_the_server_undoes_the_change_and_keeps_the_connection(self) -> None:
        database = await opened(self, self.url, pool_size=1, lock_timeout_s=0.1, statement_timeout_s=0.5)
        Gate(self, self.url)
        pid = await self.pid(database)
        for step, reason in (
            (Gate.passing, "lock timeout"),
            (Statement("SELECT pg_sleep(60)", {}), "took too long"),
            (insert("a"), "duplicate key"),
            (Statement("SELECT :missing", {}), "missing"),
            (insert("NUL \0"), "NUL"),
            (insert("surrogate \ud800"), "surrogates"),
        ):
            error = await unavailable(self, database.change([insert("a"), step]))
            self.assertIn(reason, error)
            self.assertEqual((await self.pid(database), self.payloads()), (pid, []), reason)
        await self.assertFailure(
            begun(database.change([insert("a"), Statement("SELECT 1 WHERE false", {}, "it is")])), DemandFailed
        )
        self.assertEqual((await self.pid(database), self.payloads()), (pid, []))

    async def test_a_read_that_takes_too_long_keeps_the_connection(self) -> None:
        database = await opened(self, self.url, pool_size=1, statement_timeout_s=0.1)
        pid = await self.pid(database)
        self.assertIn("took too long", await unavailable(self, database.query("SELECT pg_sleep(60)", {})))
        self.assertEqual(await self.pid(database), pid)

    async def test_a_deadlock_is_tried_again(self) -> None:
        self.patch(postgres, "_ATTEMPTS", 100)  # the other may be slower to go on than the next attempt is
        database = await opened(self, self.url, pool_size=1)
        administer(self.url, "CREATE SEQUENCE attempts")
        await database.change([insert("a"), insert("b")])
        gate, other = Gate(self, self.url), psycopg2.connect(self.url)
        self.addCleanup(other.close)
        cursor = other.cursor()
        cursor.execute("SET deadlock_timeout = '1h'; UPDATE events SET kind = kind || 'o' WHERE id = 'b'")
        touch = "UPDATE events SET kind = kind || 'c' WHERE id = :id"
        attempt = Statement("SELECT nextval('attempts')", {})
        steps = [attempt, Statement(touch, {"id": b"a"}), Gate.passing, Statement(touch, {"id": b"b"})]
        change = begun(database.change(steps))
        await gate.waiting()
        blocked = deferToThread(cursor.execute, "UPDATE events SET kind = kind || 'o' WHERE id = 'a'")
        await gate.waiting(2)
        gate.open()
        await blocked
        other.commit()
        await change
        self.assertEqual(administer(self.url, "SELECT id, kind FROM events ORDER BY id")[0][1], "xoc")
        [(attempts,)] = administer(self.url, "SELECT last_value FROM attempts")
        self.assertGreater(attempts, 1)

    async def test_a_deadlock_is_not_tried_for_ever(self) -> None:
        database = await opened(self, self.url, pool_size=1)
        administer(self.url, "CREATE SEQUENCE attempts")
        fail = "DO $$ BEGIN RAISE EXCEPTION SQLSTATE '40P01'; END $$"
        await unavailable(self, database.change([Statement("SELECT nextval('attempts')", {}), Statement(fail, {})]))
        self.assertEqual(administer(self.url, "SELECT last_value FROM attempts"), [(3,)])

    async def test_values_come_back_as_they_went(self) -> None:
        database = await opened(self, self.url, pool_size=1)
        values: dict[str, Any] = {
            "every_byte": bytes(range(256)),
            "no_byte": b"",
            "text": 'it\'s 100% "odd" \\ :name %(name)s %s \U0001f98a \x01\n',
            "big": 2**63 - 1,
            "negative": -(2**63),
            "yes": True,
            "nothing": None,
        }
        casts = {bytes: "bytea", str: "text", int: "bigint", bool: "boolean", type(None): "text"}
        columns = ", ".join(f"CAST(:{name} AS {casts[type(value)]}) AS {name}" for name, value in values.items())
        [row] = await database.query(f"SELECT {columns}", values)
        self.assertEqual(row, values)
        self.assertEqual([type(value) for value in row.values()], [type(value) for value in values.values()])

    async def test_a_percent_sign_is_itself(self) -> None:
        database = await opened(self, self.url, pool_size=1)
        for sql, params in (
            ("SELECT 'a%s' AS found WHERE 'ab' LIKE 'a%'", {}),
            ("SELECT CAST(:found AS text) AS found WHERE 'ab' LIKE 'a%'", {"found": "a%s"}),
            ("SELECT :found2::text AS found", {"found2": "a%s"}),
        ):
            self.assertEqual(await database.query(sql, params), [{"found": "a%s"}], sql)


class PoolTests(PostgresCase):
    def connections(self, name: str = "fxa-auth") -> int:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = "
        count: int = administer(self.url, f"{sql} '{name}'")[0][0]
        return count

    async def test_many_calls_share_few_connections(self) -> None:
        database = await opened(self, self.url, pool_size=3)
        gate = Gate(self, self.url)
        calls = [begun(database.change([Gate.passing, insert(str(n))])) for n in range(30)]
        await gate.waiting(3)
        self.assertEqual((self.connections(), database.pending), (3, 30))
        gate.open()
        for call in calls:
            await call
        self.assertEqual((len(self.payloads()), self.connections(), database.pending), (30, 3, 0))

    async def test_calls_are_served_in_order(self) -> None:
        database = await opened(self, self.url, pool_size=1)
        gate = Gate(self, self.url)
        served: list[int] = []

        async def call(number: int) -> None:
            await database.change([Gate.passing])
            served.append(number)

        calls = [begun(call(number)) for number in range(9)]
        await gate.waiting()
        gate.open()
        for each in calls:
            await each
        self.assertEqual(served, list(range(9)))

    async def test_who_waits_too_long_for_a_connection_is_refused(self) -> None:
        database = await opened(self, self.url, pool_size=1, statement_timeout_s=1)
        gate = Gate(self, self.url)
        self.patch(database, "_statement_timeout_s", 0.1)
        first = begun(database.change([Gate.passing, insert("a")]))
        await gate.waiting()
        waiting = [begun(database.query("SELECT 1", {})) for _ in range(3)]
        for call in waiting:
            self.assertEqual(await unavailable(self, call), "all connections are busy")
        gate.open()
        await first
        self.assertEqual((await database.query("SELECT 1 AS one", {}), database.pending), ([{"one": 1}], 0))

    async def test_a_server_that_wants_no_more_connections_is_not_down(self) -> None:
        server = started_server()
        self.addCleanup(server.close)
        self.url = create_database(server.url())
        administer(self.url, "CREATE ROLE few LOGIN CONNECTION LIMIT 1; GRANT ALL ON SCHEMA public TO few")
        database = await opened(self, self.url.replace("user=postgres", "user=few"), pool_size=5)
        pid, gate = await self.pid(database), Gate(self, self.url)
        first = begun(database.change([Gate.passing]))
        await gate.waiting()
        others = [begun(self.pid(database)) for _ in range(10)]
        gate.open()
        await first
        self.assertEqual([await other for other in others], [pid] * 10)

    async def test_connections_bear_the_name_of_the_program_unless_the_url_names_another(self) -> None:
        await opened(self, self.url)
        self.assertEqual(self.connections(), 1)
        await opened(self, self.url + "&application_name=other")
        self.assertEqual((self.connections(), self.connections("other")), (1, 1))

    async def test_stopping_ends_all_connections_once_every_call_is_done(self) -> None:
        database = await opened(self, self.url, pool_size=2)
        gate = Gate(self, self.url)
        calls = [begun(database.change([Gate.passing, insert(str(n))])) for n in range(6)]
        await gate.waiting(2)
        stopping = begun(database.stop())
        self.assertEqual(await unavailable(self, database.query("SELECT 1", {})), "the database is not open")
        self.assertFalse(stopping.called)
        gate.open()
        await stopping
        for call in calls:
            await call
        self.assertEqual(len(self.payloads()), 6)
        await until(lambda: self.connections() == 0)


class StartTests(PostgresCase):
    async def test_of_two_that_start_at_once_one_applies_the_schema(self) -> None:
        gate = Gate(self, self.url, MIGRATION_LOCK)
        databases = [adapter(self, self.url, statement_timeout_s=0.2, lock_timeout_s=0.2) for _ in range(2)]
        starts = [begun(database.start()) for database in databases]
        await gate.waiting(2)
        self.assertEqual([start.called for start in starts], [False, False])
        gate.open()
        for start in starts:
            await start
        await all_of([database.change([insert(str(n))]) for n, database in enumerate(databases)])
        versions = administer(self.url, "SELECT version, count(*) FROM schema_versions GROUP BY version")
        self.assertEqual([count for _, count in versions], [1] * len(versions))

    async def test_a_start_that_waits_for_another_daemon_can_be_interrupted(self) -> None:
        gate = Gate(self, self.url, MIGRATION_LOCK)
        for by_stopping in (False, True):
            database = adapter(self, self.url)
            start = begun(database.start())
            await gate.waiting()
            if by_stopping:
                await database.stop()
            else:
                database.interrupt()
            await unavailable(self, start)
            administer(self.url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'advisory'")
            await gate.waiting(0)

    async def test_an_interruption_does_not_touch_an_open_database(self) -> None:
        database = await opened(self, self.url)
        database.interrupt()
        self.assertEqual(await database.query("SELECT 1 AS one", {}), [{"one": 1}])

    async def test_a_newer_database_is_refused_and_left_as_it_is(self) -> None:
        await opened(self, self.url)
        administer(self.url, "INSERT INTO schema_versions VALUES (999, 0)")
        newer = adapter(self, self.url)
        error = await self.assertFailure(begun(newer.start()), UnusableDatabase)
        self.assertIn("999", str(error))
        await unavailable(self, newer.query("SELECT 1", {}))
        administer(self.url, "DELETE FROM schema_versions WHERE version = 999")
        await newer.start()

    async def test_a_url_that_makes_no_sense_is_refused_without_its_password(self) -> None:
        for url in (
            "postgresql://me:hunter%zz2@host/",
            "postgresql://me:a@hunter2@host/",
            "postgresql://host/?hunter2=1",
            "postgresql://[hunter2/",
        ):
            error = await self.assertFailure(begun(adapter(self, url).start()), UnusableDatabase)
            self.assertNotIn("hunter", str(error))
            self.assertNotIn("\n", str(error))
            with self.assertRaises(UnusableDatabase) as caught, reading_postgres(url):
                pass
            self.assertEqual(str(caught.exception), str(error))

    async def test_a_database_that_is_not_there_is_unavailable(self) -> None:
        error = await unavailable(self, adapter(self, self.url.replace("/fxa_test_", "/no_such_")).start())
        self.assertIn("does not exist", error)


class AddressTests(PostgresCase):
    """How a server is found; looking up a name must not block the reactor."""

    def resolve(self, names: dict[str, list[str]]) -> None:
        """Let the reactor find these names; a look-up of any other never ends."""

        class Resolver:
            def resolveHostName(self, receiver: Any, hostName: str, *args: Any, **kwargs: Any) -> Any:
                if hostName in names:
                    for address in names[hostName]:
                        receiver.addressResolved(IPv4Address("TCP", address, 0))
                    receiver.resolutionComplete()

        usual = reactor.nameResolver  # type: ignore[attr-defined]
        reactor.installNameResolver(Resolver())  # type: ignore[attr-defined]
        self.addCleanup(reactor.installNameResolver, usual)  # type: ignore[attr-defined]

    async def assertServes(self, host: str, query: str = "") -> None:
        url = self.over_tcp(self.port(), query=f"host={host}&{query}").replace("127.0.0.1:", ":")
        database = await opened(self, url, pool_size=1)
        [row] = await database.query("SELECT inet_server_addr() IS NOT NULL AS tcp", {})
        self.assertTrue(row["tcp"])
        await database.stop()

    async def test_a_server_is_found_by_address_or_name(self) -> None:
        self.resolve({"db.test": ["127.0.0.1"]})
        for host in ("127.0.0.1", "db.test"):
            await self.assertServes(host)

    async def test_every_address_of_every_host_is_tried(self) -> None:
        self.resolve({"two.test": ["127.255.255.254", "127.0.0.1"], "none.test": []})
        await self.assertServes("two.test")
        await self.assertServes("none.test,127.255.255.254,two.test")
        await self.assertServes("127.0.0.1,two.test", f"port={self.port()},1")

    async def test_an_unknown_name_is_named(self) -> None:
        self.resolve({"none.test": []})
        self.assertIn("none.test", await unavailable(self, adapter(self, "postgresql://none.test/x").start()))

    async def test_a_look_up_that_never_ends_is_given_up(self) -> None:
        self.resolve({})
        database = adapter(self, "postgresql://never.test/x", connect_timeout_s=0.1)
        self.assertEqual(await unavailable(self, database.start()), "no connection within 0.1 s")

    async def test_the_host_may_come_from_the_environment(self) -> None:
        self.resolve({"db.test": ["127.0.0.1"]})
        parts = extensions.parse_dsn(self.url)
        for name, value in {"PGHOST": "db.test", "PGPORT": parts["port"], "PGUSER": parts["user"]}.items():
            self.set_variable(name, value)
        database = await opened(self, f"postgresql:///{parts['dbname']}", pool_size=1)
        await database.stop()

    def set_variable(self, name: str, value: str) -> None:
        """In the environment itself, which is where libpq looks; ``patch`` would put another in its place."""
        usual = os.environ.get(name)
        self.addCleanup(lambda: os.environ.pop(name) if usual is None else os.environ.update({name: usual}))
        os.environ[name] = value


class TlsTests(PostgresCase):
    def setUp(self) -> None:
        super().setUp()
        root = issue("root", is_authority=True)
        leaf = issue("localhost", "localhost", issuer=root)
        self.proxy = Proxy(self.port(), leaf.options(acceptableProtocols=[b"postgresql"]))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.proxy.stop()))
        self.root = Path(os.path.abspath(self.mktemp()))
        self.root.write_bytes(root.pem)

    def verified(self, host: str) -> str:
        return self.over_tcp(self.proxy.port, host, f"sslmode=verify-full&sslrootcert={self.root}&hostaddr=127.0.0.1")

    async def test_a_server_that_is_who_it_says_is_believed(self) -> None:
        database = await opened(self, self.verified("localhost"), pool_size=1)
        self.assertEqual(await database.query("SELECT 1 AS one", {}), [{"one": 1}])
        self.assertEqual(self.proxy.encrypted, 1)
        await database.stop()

    async def test_another_server_is_not(self) -> None:
        error = await unavailable(self, adapter(self, self.verified("other.test")).start())
        self.assertIn("does not match host name", error)
        self.root.write_bytes(issue("stranger", is_authority=True).pem)
        self.assertIn("verify failed", await unavailable(self, adapter(self, self.verified("localhost")).start()))

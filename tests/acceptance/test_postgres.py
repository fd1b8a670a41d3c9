"""What only PostgreSQL can do to a daemon: be away when it starts, go away under it, and serve two daemons at once."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from shutil import copytree
from typing import Any

import psycopg2
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.store.schema import MIGRATION_LOCK
from tests.acceptance.daemon import Daemon, eventually, free_ports, started
from tests.acceptance.smtp_server import SmtpServer
from tests.acceptance.test_bounces import FeedbackCase
from tests.acceptance.wire import Answer, Call, Token, Wire, credentials, mailed_code, new_email
from tests.commands.operator import run_command
from tests.postgres import create_database, started_server
from tests.test_ses import a_bounce

QUICK = "[database]\nstatementTimeout = 1000\nlockTimeout = 1000\n"
UNAVAILABLE = (503, 201)


class OutageCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = started_server()
        self.addCleanup(self.server.close)
        self.daemon = a_daemon(self, create_database(self.server.url()))
        self.wire = Wire(self.daemon)

    def assertUnavailable(self, answer: Answer) -> None:
        self.assertEqual(answer.outcome, UNAVAILABLE)
        self.assertEqual(answer.headers["Retry-After"], str(answer.body["retryAfter"]))

    def assertWithoutStore(self) -> None:
        """The store is away: what needs it says so, and all else works."""
        self.assertUnavailable(self.wire.post("/account/login", credentials(new_email())))
        self.assertUnavailable(self.wire.post("/account/create", credentials(new_email())))
        self.assertUnavailable(fetched(self.daemon, "/__heartbeat__"))
        self.assertEqual(fetched(self.daemon, "/__lbheartbeat__").status, 200)
        self.assertEqual(self.wire.post("/get_random_bytes", {}).status, 200)

    def create(self) -> None:
        self.assertEqual(self.wire.post("/account/create", credentials(new_email())).outcome, (200, 0))


class StartTests(OutageCase):
    def test_a_daemon_waits_for_its_database(self) -> None:
        self.server.stop()
        self.daemon.spawn()
        eventually(lambda: self.daemon.entries(op="server.waits_for_database"), "a daemon that waits")
        self.assertWithoutStore()
        self.server.start()
        eventually(self.daemon.is_healthy, "a daemon that serves")
        self.create()

    def test_a_daemon_that_waits_for_a_server_can_be_stopped(self) -> None:
        self.server.freeze()
        self.addCleanup(self.server.thaw)
        self.daemon.spawn()
        eventually(lambda: self.daemon.entries(op="server.waits_for_database"), "a daemon that waits")
        self.assertEqual(self.daemon.stop(), 0)

    def test_a_daemon_that_waits_for_the_upgrade_of_another_can_be_stopped(self) -> None:
        other = psycopg2.connect(self.daemon.database_url)
        self.addCleanup(other.close)
        other.cursor().execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        self.daemon.spawn()
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory'"
        eventually(lambda: self.daemon.sql(waiting), "a daemon that waits")
        self.assertEqual(self.daemon.stop(), 0)


class RunningTests(OutageCase):
    def setUp(self) -> None:
        super().setUp()
        self.daemon.start()

    def test_it_outlives_every_kind_of_outage(self) -> None:
        self.create()
        for away, back in (
            (self.server.stop, self.server.start),
            (self.server.kill, self.server.start),
            (self.server.freeze, self.server.thaw),
        ):
            away()
            self.assertWithoutStore()
            back()
            eventually(self.daemon.is_healthy, f"a daemon that serves again after {away.__name__}")
            self.create()

    def test_no_acknowledged_create_is_lost(self) -> None:
        acknowledged: dict[str, str] = {}
        unexpected: list[object] = []
        is_over = threading.Event()

        def sign_up() -> None:
            while not is_over.is_set():
                email = new_email()
                answer = self.wire.post("/account/create", credentials(email))
                if answer.status == 200:
                    acknowledged[email] = answer.body["uid"]
                elif answer.outcome != UNAVAILABLE:
                    unexpected.append(answer)

        with ThreadPoolExecutor(4) as pool:
            clients = [pool.submit(sign_up) for _ in range(4)]
            try:
                for end in (self.server.kill, self.server.stop, self.server.kill):
                    wanted = len(acknowledged) + 10
                    eventually(lambda: len(acknowledged) >= wanted or unexpected, "sign-ups")  # noqa: B023
                    end()
                    self.server.start()
                wanted = len(acknowledged) + 10
                eventually(lambda: len(acknowledged) >= wanted or unexpected, "sign-ups")
            finally:
                is_over.set()
            for client in clients:
                client.result()
        self.assertEqual(unexpected, [])
        for email, uid in acknowledged.items():
            login = self.wire.post("/account/login", credentials(email))
            self.assertEqual((login.outcome, login.body.get("uid")), ((200, 0), uid), email)


class TwoDaemonsCase(SynchronousTestCase):
    """Two processes, one database, the same keys. ``options`` are those of both daemons."""

    options: Mapping[str, Any] = {}

    def setUp(self) -> None:
        url = create_database()
        first = started(self, database_url=url, **self.options)
        second = Daemon(database_url=url, **self.options)
        self.addCleanup(second.close)
        copytree(first.folder / "var", second.folder / "var")
        second.start()
        self.daemons = (first, second)
        self.wires = [Wire(daemon) for daemon in self.daemons]
        self.email = new_email()


class BounceTests(FeedbackCase):
    def setUp(self) -> None:
        self.server = started_server()
        self.addCleanup(self.server.close)
        self.database_url = create_database(self.server.url())
        super().setUp()
        self.daemon.start()

    def test_a_bounce_stays_in_its_queue_until_the_database_is_back(self) -> None:
        email, _ = self.sign_up()
        self.server.stop()
        self.bounces.publish(a_bounce("Permanent", email))
        self.wait_for(op="sqs.message_kept")
        self.assertEqual(self.bounces.left(), 1)
        self.server.start()
        eventually(lambda: self.login(email) == (400, 102), "an account that is gone")
        self.bounces.wait_until_empty()
        self.wait_for(op="sqs.works_again", queue="bounces")


class TwoDaemonsTests(TwoDaemonsCase):
    def race(self, call: Call) -> list[Answer]:
        """The answers to ten calls at each daemon, all at once."""
        first, second = self.wires
        return first.at_once([call] * 10, second)

    def assertOneWins(self, answers: list[Answer], refusal: tuple[int, int]) -> Answer:
        outcomes = sorted(answer.outcome for answer in answers)
        self.assertEqual(outcomes, [(200, 0), *[refusal] * 19])
        return next(answer for answer in answers if answer.status == 200)

    def assertOneUses(self, call: Call) -> Answer:
        """Of all that show a token, one finds it."""
        return self.assertOneWins(self.race(call), (401, 110))

    def who_mailed(self, kind: str) -> Daemon | None:
        """Mostly the daemon that queued it, but another may be quicker."""
        return next((daemon for daemon in self.daemons if daemon.entries(op="mail.sent", kind=kind)), None)

    def create_verified(self) -> None:
        self.wires[0].post("/account/create", credentials(self.email, preVerified=True))

    def test_of_creates_of_one_address_one_wins(self) -> None:
        for _ in range(5):
            self.email = new_email()
            call = Call("POST", "/account/create", credentials(self.email, preVerified=True))
            winner = self.assertOneWins(self.race(call), (400, 101))
            for wire in self.wires:
                login = wire.post("/account/login", credentials(self.email))
                self.assertEqual(login.body["uid"], winner.body["uid"])

    def test_of_unverified_creates_of_one_address_one_account_stays(self) -> None:
        """What a later one replaced is gone, with its session."""
        for _ in range(5):
            self.email = new_email()
            answers = self.race(Call("POST", "/account/create", credentials(self.email)))
            self.assertLessEqual({answer.outcome for answer in answers}, {(200, 0), (400, 101)})
            rows = self.daemons[0].sql("SELECT uid, email FROM accounts")
            [stored] = [bytes(uid).hex() for uid, email in rows if email == self.email]
            made = [answer for answer in answers if answer.status == 200]
            for wire in self.wires:
                alive = [each for each in made if wire.get("/session/status", Token.of(each)).status == 200]
                self.assertEqual([each.body["uid"] for each in alive], [stored])

    def test_keys_are_handed_out_once(self) -> None:
        self.create_verified()
        for _ in range(5):
            login = self.wires[1].post("/account/login?keys=true", credentials(self.email))
            self.assertOneUses(Call("GET", "/account/keys", None, Token.of(login, "keyFetchToken")))

    def test_a_session_is_destroyed_once(self) -> None:
        self.create_verified()
        for _ in range(5):
            login = self.wires[1].post("/account/login", credentials(self.email))
            self.assertOneUses(Call("POST", "/session/destroy", {}, Token.of(login)))

    def test_a_password_is_changed_once(self) -> None:
        self.create_verified()
        body = {"email": self.email, "oldAuthPW": credentials(self.email)["authPW"]}
        token = Token.of(self.wires[0].post("/password/change/start", body), "passwordChangeToken")
        change = {"authPW": "11" * 32, "wrapKb": "00" * 32}
        self.assertOneUses(Call("POST", "/password/change/finish", change, token))

    def test_an_account_is_reset_once(self) -> None:
        self.create_verified()
        forgot = self.wires[0].post("/password/forgot/send_code", {"email": self.email})
        mailer = eventually(lambda: self.who_mailed("reset"), "a daemon that has sent the mail")
        code = {"code": mailed_code(mailer, self.email, "x-recovery-code")}
        verify = Call("POST", "/password/forgot/verify_code", code, Token.of(forgot, "passwordForgotToken"))
        token = Token.of(self.assertOneUses(verify), "accountResetToken")
        self.assertOneUses(Call("POST", "/account/reset", {"authPW": "11" * 32}, token))

    def test_what_one_has_done_the_other_knows(self) -> None:
        created = self.wires[0].post("/account/create", credentials(self.email))
        status = self.wires[1].get("/session/status", Token.of(created))
        self.assertEqual(status.body, {"uid": created.body["uid"]})


class TwoDaemonsMailTests(TwoDaemonsCase):
    """Two daemons, one mail server."""

    def setUp(self) -> None:
        [self.smtp_port] = free_ports(1)
        settings = "verifierVersion = 0\n[smtp]\nretryDelay = 100\nmaxRetryDelay = 500\n"
        environ = {"CONFIG_FILES": "mail.toml", "SMTP_PORT": str(self.smtp_port)}
        self.options = {"profile": "prod", "files": {"mail.toml": settings}, "environ": environ}
        super().setUp()

    def test_each_mail_that_waited_out_an_outage_comes_once(self) -> None:
        emails = [new_email() for _ in range(50)]
        for email, wire in zip(emails, cycle(self.wires)):
            self.assertEqual(wire.post("/account/create", credentials(email)).outcome, (200, 0))
        for daemon in self.daemons:
            eventually(lambda: daemon.entries(op="mail.deferred"), "an attempt of each daemon")  # noqa: B023
        mail_server = SmtpServer(self.smtp_port)
        self.addCleanup(mail_server.stop)
        mail_server.start()
        eventually(lambda: self.daemons[0].sql("SELECT count(*) FROM mails") == [(0,)], "an empty queue")
        for daemon in self.daemons:
            self.assertEqual((daemon.stop(), daemon.failures()), (0, []))
        mail_server.stop()
        self.assertEqual([len(mail_server.to(email)) for email in emails], [1] * len(emails))


class TwoDaemonsRegistrationTests(TwoDaemonsCase):
    """Two daemons let in as many as one."""

    options: Mapping[str, Any] = {
        "files": {"rules.toml": '[registration]\nmode = ["first", "invite"]\nfirst = 3\n'},
        "environ": {"CONFIG_FILES": "rules.toml"},
    }

    def assertLetIn(self, number: int, **more: str) -> None:
        """Of ten addresses that sign up at both daemons, all at once, so many get an account."""
        before = self.accounts()
        calls = [Call("POST", "/account/create", credentials(new_email(), preVerified=True, **more)) for _ in range(10)]
        answers = self.wires[0].at_once(calls, self.wires[1])
        counted = Counter(answer.outcome for answer in answers)
        self.assertEqual((counted[(200, 0)], self.accounts() - before), (number, number), counted)
        self.assertLessEqual(set(counted), {(200, 0), (403, 999), (400, 101)})

    def accounts(self) -> int:
        [(number,)] = self.daemons[0].sql("SELECT count(*) FROM accounts")
        return int(number)

    def test_the_first_places_and_the_uses_of_an_invite_are_given_away_once(self) -> None:
        self.assertLetIn(3)
        self.assertLetIn(0)
        for uses in (1, 1, 2):
            outcome = run_command(
                self.daemons[0].folder,
                *("invite", "create", "--uses", str(uses), "--config", "rules.toml"),
                environ={"DATABASE_URL": self.daemons[0].database_url},
            )
            self.assertLetIn(uses, inviteCode=outcome.out.split()[-1])


def a_daemon(case: SynchronousTestCase, database_url: str) -> Daemon:
    """A daemon that is not started yet; it ends with the test."""
    files = {"quick.toml": QUICK}
    daemon = Daemon(files=files, environ={"CONFIG_FILES": "quick.toml"}, database_url=database_url)
    case.addCleanup(daemon.close)
    return daemon


def fetched(daemon: Daemon, path: str) -> Answer:
    """The answer to a GET outside /v1."""
    connection = daemon.connect()
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        headers: Any = response.headers
        return Answer(response.status, json.loads(response.read()), headers)
    finally:
        connection.close()

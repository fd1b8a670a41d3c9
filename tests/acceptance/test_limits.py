"""The abuse policy as clients and operators meet it: by PyFxA, all at once, at two daemons, over restarts."""

from __future__ import annotations

import atexit
import http.client
import json
from collections import Counter
from functools import cache
from http import HTTPStatus
from shutil import copytree
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.acceptance.daemon import TIMEOUT_S, Daemon, started
from tests.acceptance.test_pyfxa import NEW_PASSWORD, PyFxaCase
from tests.acceptance.wire import PASSWORD, Answer, Call, Wire, credentials, new_email
from tests.commands.operator import run_command
from tests.customs.customs_server import CustomsServer
from tests.proxies import start_chain

TOGETHER = 50


def limited(settings: str = "", **options: Any) -> Daemon:
    """A daemon of the dev profile with the builtin policy, which nobody has started yet."""
    files = {"limits.toml": f'customsUrl = "builtin"\n{settings}'}
    return Daemon(files=files, environ={"CONFIG_FILES": "limits.toml"}, **options)


def shared_pair() -> tuple[Daemon, Daemon]:
    """Two daemons on one database that live to the end of the run, for tests that have accounts of their own."""
    return _shared_pair(Daemon.store)


@cache
def _shared_pair(store: str) -> tuple[Daemon, Daemon]:
    patience = "[limits.logins]\nwait = 60000\n"  # on a slow machine it takes long until everybody had a turn
    first = limited(patience)
    atexit.register(first.close)
    first.start()
    url = first.database_url.replace("sqlite:///", f"sqlite:///{first.folder}/")
    second = limited(patience, database_url=url)
    atexit.register(second.close)
    copytree(first.folder / "var", second.folder / "var")
    second.start()
    return first, second


class LimitedCase(PyFxaCase):
    def choose_daemon(self) -> Daemon:
        return shared_pair()[0]

    def assertLimited(self, call: Any, *args: Any) -> None:
        error = self.assertRefused(429, 114, call, *args)
        self.assertTrue(0 < error.details["retryAfter"] <= 900, error.details)
        self.client = self.make_client()  # the other one has been told to wait, and does


class PyFxaTests(LimitedCase):
    def test_three_wrong_logins_and_the_fourth_has_to_wait_until_a_reset(self) -> None:
        self.create_verified()
        for _ in range(3):
            self.assertRefused(400, 103, self.client.login, self.email, "wrong")
        self.assertLimited(self.client.login, self.email, PASSWORD)
        self.assertLimited(self.client.change_password, self.email, PASSWORD, NEW_PASSWORD)
        answer = Wire(self.daemon).post("/account/login", credentials(self.email))
        self.assertEqual(answer.headers["Retry-After"], str(answer.body["retryAfter"]))
        blocked = self.daemon.entries(op="customs.blocked", email=self.email, rule="logins", ip="127.0.0.1")
        told = [(entry["action"], entry["count"], entry["windowMs"]) for entry in blocked]
        actions = ("accountLogin", "passwordChange", "accountLogin")
        self.assertEqual(told, [(action, 3, 900_000) for action in actions])
        forgotten = self.client.send_reset_code(self.email)
        self.client.reset_account(self.email, forgotten.verify_code(self.code("x-recovery-code")), NEW_PASSWORD)
        self.client.login(self.email, NEW_PASSWORD)

    def test_a_fourth_mail_has_to_wait(self) -> None:
        session = self.create()
        session.resend_email_code()
        session.resend_email_code()
        self.assertLimited(session.resend_email_code)
        self.assertLimited(self.client.send_reset_code, self.email)
        self.code(count=3)
        self.client.login(self.email, PASSWORD)


class LockoutTests(LimitedCase):
    def choose_daemon(self) -> Daemon:
        daemon = limited("[limits.lockout]\nmax = 1\n")
        self.addCleanup(daemon.close)
        daemon.start()
        return daemon

    def test_an_account_that_was_locked_opens_by_its_mailed_code(self) -> None:
        session, post = self.create_verified(), self.client.apiclient.post
        for _ in range(2):
            self.assertRefused(400, 103, self.client.login, self.email, "wrong")
        for password in (PASSWORD, "wrong"):
            self.assertRefused(400, 121, self.client.login, self.email, password)
        session.check_session_status()
        post("/account/unlock/resend_code", {"email": self.email})
        post("/account/unlock/verify_code", {"uid": session.uid, "code": self.code("x-unlock-code")})
        self.client.login(self.email, PASSWORD)
        self.assertRefused(400, 103, self.client.login, self.email, "wrong")
        self.assertLimited(self.client.login, self.email, PASSWORD)


class DaemonCase(SynchronousTestCase):
    """A daemon with a verified account, and a client that knows nothing of waiting."""

    def setUp(self) -> None:
        self.daemon = self.choose_daemon()
        self.wire = Wire(self.daemon)
        self.email = new_email()
        self.create(self.email)

    def choose_daemon(self) -> Daemon:
        return shared_pair()[0]

    def started(self, settings: str = "") -> Daemon:
        """A daemon for one test."""
        daemon = limited(settings)
        self.addCleanup(daemon.close)
        daemon.start()
        return daemon

    def create(self, email: str) -> None:
        created = self.wire.post("/account/create", credentials(email, preVerified=True))
        self.assertEqual(created.outcome, (200, 0))

    def login(self, right: bool = True, email: str | None = None) -> Call:
        password = PASSWORD if right else "wrong"
        return Call("POST", "/account/login", credentials(email or self.email, password))

    def ask(self, *calls: Call) -> list[tuple[int, int]]:
        """The outcomes of calls that come one after the other."""
        return [self.wire.together([call])[0].outcome for call in calls]

    def type(self, *argv: str) -> str:
        """What a command says that an operator types beside the daemon."""
        outcome = run_command(
            self.daemon.folder,
            *argv,
            environ={"DATABASE_URL": self.daemon.database_url, "CONFIG_FILES": "limits.toml", "NODE_ENV": "dev"},
        )
        self.assertEqual((outcome.code, outcome.err), (0, ""), outcome)
        return outcome.out


def outcomes(answers: list[Answer]) -> Counter[tuple[int, int]]:
    return Counter(answer.outcome for answer in answers)


class TogetherTests(DaemonCase):
    def test_of_50_wrong_logins_at_once_three_are_checked(self) -> None:
        answers = self.wire.at_once([self.login(right=False)] * TOGETHER)
        self.assertEqual(outcomes(answers), {(400, 103): 3, (429, 114): TOGETHER - 3})

    def test_50_right_logins_at_once_all_succeed(self) -> None:
        answers = self.wire.at_once([self.login()] * TOGETHER)
        self.assertEqual(outcomes(answers), {(200, 0): TOGETHER})

    def test_a_wrong_one_among_many_right_ones_hinders_nobody(self) -> None:
        calls = [self.login(right=number != 7) for number in range(TOGETHER)]
        self.assertEqual(outcomes(self.wire.at_once(calls)), {(200, 0): TOGETHER - 1, (400, 103): 1})

    def test_of_50_mails_at_once_two_are_sent_beside_that_of_the_sign_up(self) -> None:
        call = Call("POST", "/password/forgot/send_code", {"email": self.email})
        self.assertEqual(outcomes(self.wire.at_once([call] * TOGETHER)), {(200, 0): 2, (429, 114): TOGETHER - 2})


class TwoDaemonsTests(DaemonCase):
    """Two processes on one database."""

    def setUp(self) -> None:
        super().setUp()
        self.second = Wire(shared_pair()[1])

    def test_of_50_wrong_logins_at_both_at_once_three_are_checked(self) -> None:
        answers = self.wire.at_once([self.login(right=False)] * (TOGETHER // 2), self.second)
        self.assertEqual(outcomes(answers), {(400, 103): 3, (429, 114): TOGETHER - 3})

    def test_50_right_logins_at_both_at_once_all_succeed(self) -> None:
        answers = self.wire.at_once([self.login()] * (TOGETHER // 2), self.second)
        self.assertEqual(outcomes(answers), {(200, 0): TOGETHER})

    def test_what_one_has_counted_holds_for_the_other(self) -> None:
        self.assertEqual(self.ask(*[self.login(right=False)] * 3), [(400, 103)] * 3)
        self.assertEqual(self.second.together([self.login()])[0].outcome, (429, 114))


class OperatorTests(DaemonCase):
    def choose_daemon(self) -> Daemon:
        return self.started()

    def test_limits_and_bans_outlive_a_restart_and_obey_the_operator_at_once(self) -> None:
        other = new_email()
        self.create(other)
        self.assertEqual(self.ask(*[self.login(right=False)] * 3, self.login()), [(400, 103)] * 3 + [(429, 114)])
        self.assertIn(other, self.type("ban", "add", other, "--for", "2h"))
        self.assertEqual(self.ask(self.login(email=other)), [(429, 114)])
        self.assertEqual(self.daemon.stop(), 0)
        self.daemon.start()
        self.assertEqual(self.ask(self.login(), self.login(email=other)), [(429, 114)] * 2)
        self.assertRegex(
            self.type("limits", "show"), rf"logins  {self.email} from 127\.0\.0\.1: 3 \(limit 2\), limited"
        )
        self.assertEqual(self.type("limits", "clear", "--email", self.email), "counts forgotten: 4\n")
        self.assertEqual(self.ask(self.login(), self.login(email=other)), [(200, 0), (429, 114)])
        self.type("ban", "remove", other)
        self.assertEqual(self.ask(self.login(email=other)), [(200, 0)])
        self.type("ban", "add", "127.0.0.0/8", "--reason", "all of them")
        self.assertEqual(self.ask(self.login(), self.login(email=other)), [(429, 114)] * 2)
        [*_, blocked] = self.daemon.entries(op="customs.blocked")
        self.assertEqual((blocked["rule"], blocked["email"]), ("ban", other))
        self.assertEqual(self.daemon.failures(), [])


class ProxyTests(DaemonCase):
    def choose_daemon(self) -> Daemon:
        return self.started("trustProxies = 2\n")

    def test_forged_headers_neither_free_a_client_nor_burden_another(self) -> None:
        port = start_chain(self, self.daemon.port)

        def log_in(client: str, forged: str, right: bool) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S, source_address=(client, 0))
            headers = {"Content-Type": "application/json", "X-Forwarded-For": forged}
            connection.request("POST", "/v1/account/login", json.dumps(self.login(right).body), headers)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            self.assertEqual(answer.reason, HTTPStatus(answer.status).phrase)
            return answer.status

        attacker, victim = "127.0.2.1", "127.0.2.2"
        statuses = [log_in(attacker, forged, right=False) for forged in (victim, f"{victim}, {victim}", victim, victim)]
        self.assertEqual(statuses, [400, 400, 400, 429])
        for forged in (victim, "192.0.2.1", f"{victim}, 192.0.2.1", "127.0.0.1", ""):
            self.assertEqual(log_in(attacker, forged, right=True), 429, forged)
        self.assertEqual(log_in(victim, attacker, right=True), 200)


class CustomsServerTests(SynchronousTestCase):
    """A policy that is a process of its own."""

    def test_the_daemon_obeys_it_and_lives_without_it(self) -> None:
        server = CustomsServer(self)
        server.start()
        email = new_email()
        blocking = started(self, environ={"CUSTOMS_SERVER_URL": server.url("blocks")})
        answer = Wire(blocking).post("/account/create", credentials(email))
        self.assertEqual((answer.outcome, answer.body["retryAfter"]), ((429, 114), 77))
        [entry] = blocking.entries(op="customs.blocked")
        self.assertEqual((entry["rule"], entry["action"], entry["email"]), ("customs server", "accountCreate", email))
        server.kill()
        created = Wire(blocking).post("/account/create", credentials(email, preVerified=True))
        self.assertEqual(created.outcome, (200, 0))
        [entry] = blocking.entries(op="customs.unavailable")
        self.assertEqual(entry["action"], "accountCreate")
        server.start()
        self.assertEqual(Wire(blocking).post("/account/login", credentials(email)).outcome, (429, 114))


class ProductionTests(SynchronousTestCase):
    """Without any setting, and against scrypt, which leaves the time for all to be under way."""

    def test_of_50_wrong_logins_at_once_three_are_checked(self) -> None:
        wire, email = Wire(started(self, "prod")), new_email()
        self.assertEqual(wire.post("/account/create", credentials(email)).outcome, (200, 0))
        answers = wire.at_once([Call("POST", "/account/login", credentials(email, "wrong"))] * TOGETHER)
        self.assertEqual(outcomes(answers), {(400, 103): 3, (429, 114): TOGETHER - 3})
        self.assertEqual(wire.post("/account/login", credentials(email)).outcome, (429, 114))

"""A daemon in its daily life: clients that leave, a stop in the midst of work, and the other ways to set it up."""

from __future__ import annotations

import contextlib
import http.client
import signal
import ssl
import threading
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import fxa_auth
from tests.acceptance.daemon import PLUGIN, eventually, started
from tests.acceptance.wire import Answer, Call, Token, Wire, auth_pw, credentials, new_email
from tests.certificates import issue

SCRYPT: dict[str, Any] = {"files": {"scrypt.toml": "verifierVersion = 1\n"}, "environ": {"CONFIG_FILES": "scrypt.toml"}}
"""For a dev profile whose passwords take their time."""


def create(wire: Wire, email: str) -> Answer:
    answer = wire.post("/account/create", credentials(email, preVerified=True))
    assert answer.status == 200, answer.body
    return answer


class HangUpTests(SynchronousTestCase):
    """What was begun is brought to its end, whether or not anybody waits for the answer."""

    def setUp(self) -> None:
        self.daemon = started(self, **SCRYPT)
        self.wire = Wire(self.daemon)
        self.email = new_email()
        self.session = Token.of(create(self.wire, self.email))

    def wait_for_summary(self, path: str) -> None:
        """Until the request is through, and not refused."""
        [entry] = eventually(lambda: self.daemon.entries(op="request.summary", path=path), f"the end of {path}")
        self.assertEqual((entry["code"], entry["errno"]), (200, 0))

    def test_a_login_is_finished(self) -> None:
        self.wire.send_and_leave(Call("POST", "/account/login", credentials(self.email)))
        self.wait_for_summary("/v1/account/login")
        self.assertEqual(self.wire.get("/account/devices", self.session).body["devices"], ["0", "1"])
        self.assertEqual(self.daemon.failures(), [])

    def test_a_password_change_is_finished(self) -> None:
        start = self.wire.post("/password/change/start", {"email": self.email, "oldAuthPW": auth_pw(self.email)})
        token = Token.of(start, "passwordChangeToken")
        call = Call("POST", "/password/change/finish", {"authPW": "77" * 32, "wrapKb": "88" * 32}, token)
        self.wire.send_and_leave(call)
        self.wait_for_summary("/v1/password/change/finish")
        self.assertEqual(self.wire.together([call])[0].outcome, (401, 110))
        self.assertEqual(self.wire.post("/account/login", credentials(self.email)).outcome, (400, 103))
        login = self.wire.post("/account/login", {"email": self.email, "authPW": "77" * 32})
        self.assertEqual(login.outcome, (200, 0))
        self.assertEqual(self.daemon.failures(), [])


class StopTests(SynchronousTestCase):
    def stop_during_logins(self, signal_number: int) -> None:
        daemon = started(self, **SCRYPT)
        wire, email = Wire(daemon), new_email()
        create(wire, email)
        logins = [wire.begin(Call("POST", "/account/login", credentials(email))) for _ in range(4)]
        wire.catch_up()
        assert daemon.process is not None
        daemon.process.send_signal(signal_number)
        answers = [wire.finish(login) for login in logins]
        self.assertEqual([answer.outcome for answer in answers], [(200, 0)] * 4)
        self.assertEqual(daemon.wait(), 0)
        self.assertEqual(len(daemon.entries(op="server.stopped")), 1)
        self.assertEqual(daemon.failures(), [])
        daemon.start()
        for answer in answers:
            self.assertEqual(wire.get("/session/status", Token.of(answer)).outcome, (200, 0))

    def test_logins_under_way_are_answered_before_it_ends(self) -> None:
        self.stop_during_logins(signal.SIGTERM)

    def test_ctrl_c_does_the_same(self) -> None:
        self.stop_during_logins(signal.SIGINT)

    def test_clients_that_never_pause_do_not_delay_it(self) -> None:
        daemon = started(self)
        answered: list[int] = []

        def ask_on_and_on() -> None:
            connection = daemon.connect()
            with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
                closing = False
                while not closing:
                    connection.request("GET", "/__heartbeat__")
                    answer = connection.getresponse()
                    answer.read()
                    answered.append(answer.status)
                    closing = answer.getheader("Connection") == "close"

        clients = [threading.Thread(target=ask_on_and_on) for _ in range(4)]
        for client in clients:
            client.start()
        eventually(lambda: len(answered) > 100, "a hundred answers")
        self.assertEqual(daemon.stop(), 0)
        for client in clients:
            client.join()
        self.assertEqual(set(answered), {200})
        self.assertEqual(daemon.entries(op="server.stop_impatient"), [])
        self.assertEqual(daemon.failures(), [])

    def test_a_waiting_reader_of_mail_does_not_delay_it(self) -> None:
        daemon = started(self)
        reader = daemon.connect()
        reader.port = daemon.helper_port
        self.addCleanup(reader.close)
        reader.request("GET", "/mail/nobody")
        Wire(daemon).catch_up()
        self.assertEqual(daemon.stop(), 0)


class TacTests(SynchronousTestCase):
    def test_the_application_file_makes_the_same_daemon(self) -> None:
        tac = Path(fxa_auth.__file__).resolve().parents[1] / "auth.tac"
        daemon = started(self, arguments=("-ny", str(tac)))
        session = Token.of(create(Wire(daemon), new_email()))
        self.assertEqual(Wire(daemon).get("/session/status", session).outcome, (200, 0))
        self.assertIn("not for real accounts", daemon.console)
        self.assertTrue(daemon.entries(op="request.summary", path="/v1/session/status"))


class BasePathTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.daemon = started(self, base_path="/some/path")

    def status(self, target: str) -> int:
        connection = self.daemon.connect()
        self.addCleanup(connection.close)
        connection.request("GET", target)
        response = connection.getresponse()
        response.read()
        return response.status

    def test_signatures_are_made_over_the_whole_path(self) -> None:
        wire = Wire(self.daemon)
        created = create(wire, new_email())
        answer = wire.get("/session/status", Token.of(created))
        self.assertEqual((answer.status, answer.body), (200, {"uid": created.body["uid"]}))

    def test_all_but_the_well_known_places_move(self) -> None:
        for target, status in (("/", 200), ("/__heartbeat__", 200), ("/v1/session/status", 401), ("/v0/x", 410)):
            self.assertEqual((self.status(f"/some/path{target}"), self.status(target)), (status, 404), target)
        for page in ("/.well-known/browserid", "/.well-known/public-keys"):
            self.assertEqual((self.status(page), self.status(f"/some/path{page}")), (200, 404), page)


class HttpsTests(SynchronousTestCase):
    def test_the_api_speaks_tls_by_itself(self) -> None:
        issued = issue("127.0.0.1", "127.0.0.1")
        certificate = issued.pem.decode()
        daemon = started(
            self,
            files={
                "tls.toml": 'useHttps = true\nkeyPath = "key.pem"\ncertPath = "cert.pem"\n',
                "key.pem": issued.key_pem.decode(),
                "cert.pem": certificate,
            },
            arguments=(*PLUGIN, "--config", "tls.toml"),
            tls=ssl.create_default_context(cadata=certificate),
        )
        created = create(Wire(daemon), new_email())
        answer = Wire(daemon).get("/session/status", Token.of(created))
        self.assertEqual((answer.status, answer.body), (200, {"uid": created.body["uid"]}))
        self.assertIn(f"API           https://127.0.0.1:{daemon.port}", daemon.console)
        daemon.tls = None
        plain = daemon.connect()
        self.addCleanup(plain.close)
        plain.request("GET", "/")
        self.assertRaises(OSError, plain.getresponse)

"""A daemon that is killed in the midst of its work has done what it said it had done."""

from __future__ import annotations

import http.client
import threading

from twisted.trial.unittest import SynchronousTestCase

from tests.acceptance.daemon import Daemon, eventually
from tests.acceptance.smtp_server import SmtpServer
from tests.acceptance.wire import Wire, credentials, new_email

CLIENTS = 4
ROUNDS = 3
ACKNOWLEDGED_BEFORE_KILL = 15


class SignUps:
    """Clients that create one account after the other until the server is gone."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.acknowledged: dict[str, str] = {}
        """Address to uid."""
        self.unexpected: list[object] = []
        self._threads = [threading.Thread(target=self._sign_up) for _ in range(CLIENTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _sign_up(self) -> None:
        while True:
            email = new_email()
            try:
                answer = self._wire.post("/account/create", credentials(email))
            except (OSError, http.client.HTTPException):
                return
            except Exception as error:
                self.unexpected.append(error)
                return
            if answer.status != 200:
                self.unexpected.append(answer)
                return
            self.acknowledged[email] = answer.body["uid"]


class KillTests(SynchronousTestCase):
    def test_every_acknowledged_account_is_there_and_gets_its_mail(self) -> None:
        daemon = Daemon(
            "prod",
            files={"quick.toml": "verifierVersion = 0\n[smtp]\nretryDelay = 100\n"},
            environ={"CONFIG_FILES": "quick.toml"},
        )
        self.addCleanup(daemon.close)
        mail_server = SmtpServer(daemon.smtp_port)
        self.addCleanup(mail_server.stop)
        mail_server.start()
        wire = Wire(daemon)
        uids: dict[str, str] = {}
        for _ in range(ROUNDS):
            daemon.start()
            uids |= self.sign_up_until_killed(daemon, wire)
        daemon.start()
        for email, uid in uids.items():
            login = wire.post("/account/login", credentials(email))
            self.assertEqual((login.outcome, login.body.get("uid")), ((200, 0), uid), email)
        for email, uid in uids.items():
            code = mail_server.nth_to(email, 1)["X-Verify-Code"]
            self.assertEqual(wire.post("/recovery_email/verify_code", {"uid": uid, "code": code}).outcome, (200, 0))
        self.assertEqual(daemon.failures(), [])

    def sign_up_until_killed(self, daemon: Daemon, wire: Wire) -> dict[str, str]:
        sign_ups = SignUps(wire)
        sign_ups.start()
        try:
            eventually(
                lambda: sign_ups.unexpected or len(sign_ups.acknowledged) >= ACKNOWLEDGED_BEFORE_KILL, "sign-ups"
            )
        finally:
            daemon.kill()
            sign_ups.join()
        self.assertEqual(sign_ups.unexpected, [])
        return sign_ups.acknowledged

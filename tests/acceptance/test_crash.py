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
    """Clients that create one account after the other until the server is gone. ``more`` goes with each create."""

    def __init__(self, wire: Wire, **more: object) -> None:
        self._wire = wire
        self._more = more
        self.acknowledged: dict[str, str] = {}
        """Address to uid."""
        self.unexpected: list[object] = []
        self._threads = [threading.Thread(target=self._sign_up) for _ in range(CLIENTS)]

    def run_until_killed(self, daemon: Daemon) -> None:
        """Sign up for a while, then kill the daemon in the midst of it."""
        for thread in self._threads:
            thread.start()
        try:
            eventually(lambda: self.unexpected or len(self.acknowledged) >= ACKNOWLEDGED_BEFORE_KILL, "sign-ups")
        finally:
            daemon.kill()
            for thread in self._threads:
                thread.join()
        assert not self.unexpected, self.unexpected

    def _sign_up(self) -> None:
        while True:
            email = new_email()
            try:
                answer = self._wire.post("/account/create", credentials(email, **self._more))
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
            # What was in hand when the daemon was killed stays claimed for twice the timeout.
            files={"quick.toml": "verifierVersion = 0\n[smtp]\nretryDelay = 100\ntimeout = 3000\n"},
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
            sign_ups = SignUps(wire)
            sign_ups.run_until_killed(daemon)
            uids |= sign_ups.acknowledged
        daemon.start()
        for email, uid in uids.items():
            login = wire.post("/account/login", credentials(email))
            self.assertEqual((login.outcome, login.body.get("uid")), ((200, 0), uid), email)
        for email, uid in uids.items():
            code = mail_server.nth_to(email, 1)["X-Verify-Code"]
            self.assertEqual(wire.post("/recovery_email/verify_code", {"uid": uid, "code": code}).outcome, (200, 0))
        self.assertEqual(daemon.failures(), [])

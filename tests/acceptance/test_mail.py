"""Mail goes its own way: no request fails or waits because the mail server does."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.acceptance.daemon import eventually, started
from tests.acceptance.smtp_server import SmtpServer
from tests.acceptance.wire import Wire, credentials, new_email


class MailServerDownTests(SynchronousTestCase):
    def test_a_mail_arrives_once_the_mail_server_is_back(self) -> None:
        daemon = started(
            self, "prod", files={"mail.toml": "[smtp]\nretryDelay = 100\n"}, environ={"CONFIG_FILES": "mail.toml"}
        )
        wire, email = Wire(daemon), new_email()
        created = wire.post("/account/create", credentials(email))
        self.assertEqual(created.outcome, (200, 0))
        eventually(lambda: daemon.entries(op="mail.deferred"), "a failed attempt")
        mail_server = SmtpServer(daemon.smtp_port)
        self.addCleanup(mail_server.stop)
        mail_server.start()
        body = {"uid": created.body["uid"], "code": mail_server.nth_to(email, 1)["X-Verify-Code"]}
        self.assertEqual(wire.post("/recovery_email/verify_code", body).outcome, (200, 0))
        eventually(lambda: daemon.entries(op="mail.sent"), "the daemon's own account of it")
        self.assertEqual(len(mail_server.to(email)), 1)
        self.assertEqual(daemon.failures(), [])

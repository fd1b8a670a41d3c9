"""Mail goes its own way: no request fails or waits because the mail server does."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.acceptance.daemon import eventually, started
from tests.acceptance.smtp_server import SmtpServer
from tests.acceptance.wire import Wire, credentials, new_email
from tests.certificates import issue


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


class EncryptedMailTests(SynchronousTestCase):
    def test_codes_arrive_over_starttls_after_a_login_and_the_server_stops_quietly(self) -> None:
        authority = issue("authority", is_authority=True)
        peer = issue("peer", "127.0.0.1", issuer=authority)
        lines = "[smtp]", "retryDelay = 100", 'startTls = "required"', 'caFile = "ca.pem"', 'returnPath = "b@c.example"'
        login = {"user": "accounts", "password": "hunter2-hunter2"}
        daemon = started(
            self,
            "prod",
            files={"mail.toml": "\n".join(lines), "ca.pem": authority.pem.decode()},
            environ={"CONFIG_FILES": "mail.toml", "SMTP_USER": login["user"], "SMTP_PASS": login["password"]},
        )
        certificate = peer.file(self.mktemp)
        mail_server = SmtpServer(daemon.smtp_port, certificate=certificate, starttls=True, auth_needs_tls=True, **login)
        self.addCleanup(mail_server.stop)
        mail_server.start()
        wire, emails = Wire(daemon), [new_email() for _ in range(5)]
        uids = {email: wire.post("/account/create", credentials(email)).body["uid"] for email in emails}
        for email in emails:
            body = {"uid": uids[email], "code": mail_server.nth_to(email, 1)["X-Verify-Code"]}
            self.assertEqual(wire.post("/recovery_email/verify_code", body).outcome, (200, 0))
        for told in mail_server.told:
            self.assertEqual((told["tls"], told["mechanism"], told["sender"]), (True, "PLAIN", "b@c.example"))
        eventually(lambda: len(daemon.entries(op="mail.sent")) == len(emails), "the daemon's own account of it")
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual(daemon.failures(), [])
        self.assertNotIn("hunter2", daemon.log)

"""Mail goes its own way: no request fails or waits because the mail server does, and no mail is lost."""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from tests.acceptance.daemon import Daemon, eventually, started
from tests.acceptance.smtp_server import SmtpServer
from tests.acceptance.wire import Wire, credentials, new_email
from tests.certificates import issue

SIGN_UPS = 50
IMPATIENT = "verifierVersion = 0\n[smtp]\nretryDelay = 100\nmaxRetryDelay = 500\ntimeout = 3000\n"


def a_daemon(case: SynchronousTestCase, settings: str = IMPATIENT) -> Daemon:
    """Of the production profile, with a mail server of its own that is not there yet."""
    return started(case, "prod", files={"mail.toml": settings}, environ={"CONFIG_FILES": "mail.toml"})


def mail_server_of(case: SynchronousTestCase, daemon: Daemon) -> SmtpServer:
    mail_server = SmtpServer(daemon.smtp_port)
    case.addCleanup(mail_server.stop)
    return mail_server


class MailServerDownTests(SynchronousTestCase):
    def test_a_mail_arrives_once_the_mail_server_is_back(self) -> None:
        daemon = a_daemon(self)
        wire, email = Wire(daemon), new_email()
        created = wire.post("/account/create", credentials(email))
        self.assertEqual(created.outcome, (200, 0))
        eventually(lambda: daemon.entries(op="mail.deferred"), "a failed attempt")
        mail_server = mail_server_of(self, daemon)
        mail_server.start()
        body = {"uid": created.body["uid"], "code": mail_server.nth_to(email, 1)["X-Verify-Code"]}
        self.assertEqual(wire.post("/recovery_email/verify_code", body).outcome, (200, 0))
        eventually(lambda: daemon.entries(op="mail.sent"), "the daemon's own account of it")
        self.assertEqual(len(mail_server.to(email)), 1)
        self.assertEqual(daemon.failures(), [])

    def test_a_mail_whose_code_has_been_used_meanwhile_is_not_sent(self) -> None:
        daemon = a_daemon(self)
        wire, email, other = Wire(daemon), new_email(), new_email()
        for address in (email, other):
            self.assertEqual(wire.post("/account/create", credentials(address)).outcome, (200, 0))
        sent_again = wire.post("/password/forgot/send_code", {"email": other})
        self.assertEqual(sent_again.outcome, (200, 0))
        daemon.sql(f"UPDATE accounts SET email_verified = TRUE WHERE email = '{email}'")
        mail_server = mail_server_of(self, daemon)
        mail_server.start()
        eventually(lambda: daemon.sql("SELECT count(*) FROM mails") == [(0,)], "an empty queue")
        [dropped] = daemon.entries(op="mail.dropped")
        self.assertEqual((dropped["kind"], dropped["reason"]), ("verify", "the address is verified already"))
        mail_server.nth_to(other, 2)
        self.assertEqual(mail_server.recipients, {other})


class KillTests(SynchronousTestCase):
    """The mail server takes connections and says nothing, then nothing at all, and then it is back."""

    def test_all_codes_arrive_though_the_daemon_is_killed_with_mails_in_hand(self) -> None:
        daemon = a_daemon(self)
        silent = socket.create_server(("127.0.0.1", daemon.smtp_port))
        self.addCleanup(silent.close)
        wire = Wire(daemon)
        uids = {email: self.sign_up(wire, email) for email in (new_email() for _ in range(SIGN_UPS))}
        eventually(lambda: daemon.sql("SELECT 1 FROM mails WHERE claim IS NOT NULL"), "mails in hand")
        daemon.kill()
        silent.close()
        daemon.start()
        eventually(lambda: self.was_refused_a_connection(daemon), "an attempt without a mail server")
        mail_server = mail_server_of(self, daemon)
        mail_server.start()
        codes = {email: mail_server.nth_to(email, 1)["X-Verify-Code"] for email in uids}
        for email, uid in uids.items():
            answer = wire.post("/recovery_email/verify_code", {"uid": uid, "code": codes[email]})
            self.assertEqual(answer.outcome, (200, 0), email)
        eventually(lambda: daemon.sql("SELECT count(*) FROM mails") == [(0,)], "an empty queue")
        self.assertEqual(mail_server.recipients, set(uids))
        for email, code in codes.items():
            self.assertEqual({mail["X-Verify-Code"] for mail in mail_server.to(email)}, {code})
        self.assertEqual(daemon.failures(), [])

    def sign_up(self, wire: Wire, email: str) -> str:
        answer = wire.post("/account/create", credentials(email))
        self.assertEqual(answer.outcome, (200, 0))
        uid: str = answer.body["uid"]
        return uid

    def was_refused_a_connection(self, daemon: Daemon) -> bool:
        return any("no connection" in entry["reason"] for entry in daemon.entries(op="mail.deferred"))


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

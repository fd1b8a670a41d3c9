"""Mail by way of a real Postfix: in clear, by STARTTLS and by TLS from the first byte, with a login and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.acceptance.daemon import eventually, started
from tests.acceptance.wire import Wire, credentials
from tests.certificates import issue
from tests.commands.operator import Outcome, run_command
from tests.system import SKIP
from tests.system.postfix import MAILBOXES, PASSWORD, USER, Postfix

AUTHORITY = issue("authority", is_authority=True)
SERVER = issue("mx.example.com", "localhost", "127.0.0.1", issuer=AUTHORITY)
LOGIN = {"SMTP_USER": USER, "SMTP_PASS": PASSWORD}


class PostfixTests(SynchronousTestCase):
    skip = SKIP

    def setUp(self) -> None:
        self.postfix = Postfix(SERVER)
        self.addCleanup(self.postfix.close)
        self.postfix.start()
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        self.ca_file = AUTHORITY.file(self.mktemp)

    def mail_test(
        self, port: int, to: str = "bob@example.com", start_tls: str = "opportunistic", **environ: str
    ) -> Outcome:
        (self.folder / "mail.toml").write_text(f'[smtp]\nstartTls = "{start_tls}"\ncaFile = "{self.ca_file}"\n')
        environ |= {"SMTP_PORT": str(port), "SMTP_SENDER": USER, "CONFIG_FILES": "mail.toml"}
        return run_command(self.folder, "mail", "test", to, environ=environ)

    def mails(self, local_part: str, count: int = 1) -> list[Any]:
        return eventually(lambda: self.postfix.mails(local_part)[count - 1 :], f"mail {count} for {local_part}")

    def test_each_way_delivers(self) -> None:
        postfix = self.postfix
        for count, (port, start_tls, environ, said) in enumerate(
            (
                (postfix.plain, "opportunistic", {}, []),
                (postfix.plain, "opportunistic", LOGIN, ["-> AUTH CRAM-MD5"]),
                (postfix.starttls, "off", {}, []),
                (postfix.starttls, "opportunistic", {}, ["-> STARTTLS", "-- TLSv1.3, certificate believed"]),
                (postfix.starttls, "required", LOGIN, ["-> STARTTLS", "-> AUTH PLAIN ***"]),
                (postfix.starttls, "required", {"SMTP_HOST": "localhost"}, ["-- TLSv1.3, certificate believed"]),
                (postfix.implicit, "off", {"SMTP_SECURE": "true", **LOGIN}, ["-> AUTH PLAIN ***"]),
            ),
            1,
        ):
            outcome = self.mail_test(port, start_tls=start_tls, **environ)
            self.assertEqual((outcome.code, outcome.err), (0, ""), outcome.out)
            self.assertLessEqual(set(said), set(outcome.out.splitlines()))
            self.mails("bob", count)
        self.assertIn(f"sasl_username={USER}", postfix.log)

    def test_an_address_outside_ascii_is_delivered(self) -> None:
        outcome = self.mail_test(self.postfix.plain, f"{MAILBOXES[2]}@example.com")
        self.assertEqual((outcome.code, outcome.err), (0, ""), outcome.out)
        self.assertIn(f"-> MAIL FROM:<{USER}> BODY=8BITMIME SMTPUTF8", outcome.out.splitlines())
        [mail] = self.mails(MAILBOXES[2])
        self.assertEqual(mail["To"].addresses[0].username.encode("utf-8", "surrogateescape").decode(), MAILBOXES[2])

    def test_refusals_are_told_with_the_mend(self) -> None:
        postfix = self.postfix
        for outcome, words in (
            (self.mail_test(postfix.plain, "nobody@example.com"), ("550 5.1.1", "correct the address")),
            (self.mail_test(postfix.plain, "bob@example.org"), ("smtp.user", "Relay access denied", "does not relay")),
            (
                self.mail_test(postfix.starttls, SMTP_USER=USER, SMTP_PASS="wrong-wrong"),
                ("smtp.user", "535 AUTH refused: 5.7.8", "correct user and password"),
            ),
            (self.mail_test(postfix.plain, start_tls="required"), ("smtp.startTls", "offers no STARTTLS")),
            (self.mail_test(postfix.starttls, start_tls="off", **LOGIN), ("smtp.user", "no AUTH at all")),
            (self.mail_test(postfix.starttls, SMTP_SECURE="true"), ("smtp.secure", "wrong version number")),
        ):
            self.assertEqual(outcome.code, 1, outcome)
            for word in words:
                self.assertIn(word, outcome.err)
            self.assertNotIn("wrong-wrong", outcome.out + outcome.err)

    def test_who_has_logged_in_may_write_to_other_domains(self) -> None:
        outcome = self.mail_test(self.postfix.starttls, "bob@example.org", **LOGIN)
        self.assertEqual((outcome.code, outcome.err), (0, ""), outcome.out)

    def test_a_daemon_sends_its_codes_and_survives_an_outage_of_postfix(self) -> None:
        settings = f'[smtp]\nretryDelay = 200\nstartTls = "required"\ncaFile = "{self.ca_file}"\n'
        environ = {"CONFIG_FILES": "mail.toml", "SMTP_SENDER": USER, **LOGIN}
        environ["SMTP_PORT"] = str(self.postfix.starttls)
        daemon = started(self, "prod", files={"mail.toml": settings}, environ=environ)
        self.sign_up(Wire(daemon), "bob")
        self.postfix.stop()
        wire = Wire(daemon)
        created = wire.post("/account/create", credentials("carol@example.com"))
        eventually(lambda: daemon.entries(op="mail.deferred"), "a failed attempt")
        self.postfix.start()
        [mail] = self.mails("carol")
        body = {"uid": created.body["uid"], "code": mail["X-Verify-Code"]}
        self.assertEqual(wire.post("/recovery_email/verify_code", body).outcome, (200, 0))
        self.assertEqual((daemon.stop(), daemon.failures()), (0, []))

    def sign_up(self, wire: Wire, local_part: str) -> None:
        """Make an account and verify it with the code that is mailed."""
        created = wire.post("/account/create", credentials(f"{local_part}@example.com"))
        [mail] = self.mails(local_part)
        body = {"uid": created.body["uid"], "code": mail["X-Verify-Code"]}
        self.assertEqual(wire.post("/recovery_email/verify_code", body).outcome, (200, 0))

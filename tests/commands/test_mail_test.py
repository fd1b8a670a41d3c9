"""``fxa-auth mail test`` as an operator types it, against mail servers of all kinds."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.commands.mail.mends import mend
from fxa_auth.config import DECLARED, Smtp
from fxa_auth.mail.failures import MailNotSent, Stage
from tests.acceptance.smtp_server import SmtpServer
from tests.certificates import issue
from tests.commands.operator import TIMEOUT_S, Outcome, environment, heed_ctrl_c, run_command

LOGIN = {"SMTP_USER": "accounts", "SMTP_PASS": "hunter2-hunter2"}
AUTHORITY = issue("authority", is_authority=True)
PEER = issue("peer", "127.0.0.1", issuer=AUTHORITY)


class MailTestTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)

    def server(self, **arguments: Any) -> SmtpServer:
        server = SmtpServer(**arguments)
        self.addCleanup(server.stop)
        server.start()
        return server

    def mail_test(
        self, port: int, *argv: str, to: str = "bob@example.com", smtp: str | None = None, **environ: str
    ) -> Outcome:
        """``smtp`` is a line of that table in a settings file, which there is only then."""
        environ["SMTP_PORT"] = str(port)
        if smtp is not None:
            (self.folder / "mail.toml").write_text(f"[smtp]\n{smtp}\n")
            environ["CONFIG_FILES"] = "mail.toml"
        return run_command(self.folder, "mail", "test", to, *argv, environ=environ)

    def assert_fails(self, outcome: Outcome, complaint: str) -> None:
        self.assertEqual((outcome.code, outcome.err), (1, f"fxa-auth: {complaint}\n"))

    def test_a_mail_that_is_taken_shows_its_way(self) -> None:
        server = self.server(mechanisms=["PLAIN"], user="accounts", password="hunter2-hunter2")
        outcome = self.mail_test(server.port, **LOGIN)
        self.assertEqual((outcome.code, outcome.err), (0, ""), outcome.out)
        said = outcome.out.splitlines()
        for line in (
            f"-- connecting to 127.0.0.1:{server.port}",
            "-> EHLO localhost",
            "-> AUTH PLAIN ***",
            "-> MAIL FROM:<accounts@localhost>",
            "-> RCPT TO:<bob@example.com>",
            "-> To: bob@example.com",
            "-> Subject: Verify your account",
            "-> QUIT",
        ):
            self.assertIn(line, said)
        self.assertEqual(said[-1], f"ok: 127.0.0.1:{server.port} has taken over a mail for bob@example.com")
        self.assertNotIn("<html", outcome.out)
        self.assertEqual(server.nth_to("bob@example.com", 1)["Subject"], "Verify your account")
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), [], "it makes no database and no key")

    def test_the_language_goes_to_the_composer(self) -> None:
        server = self.server()
        self.assertEqual(self.mail_test(server.port, "--language", "de-CH, en;q=0.5").code, 0)
        self.assertEqual(server.nth_to("bob@example.com", 1)["Content-Language"], "de")

    def test_a_certificate_is_checked_and_the_doubt_told(self) -> None:
        server = self.server(certificate=PEER.file(self.mktemp))
        outcome = self.mail_test(server.port, SMTP_SECURE="true")
        self.assert_fails(
            outcome,
            "smtp.caFile = unset (default): certificate not believed: unable to get issuer cert locally; name the "
            "server in smtp.host as its certificate does; name here the PEM file of who vouches for it, or of itself; "
            "one that has expired is for who runs the server to renew",
        )
        ca_file = AUTHORITY.file(self.mktemp)
        outcome = self.mail_test(server.port, smtp=f'caFile = "{ca_file}"', SMTP_SECURE="true")
        self.assertEqual(outcome.code, 0, outcome.err)
        self.assertIn("-- TLSv1.3, certificate believed", outcome.out)

    def test_what_a_server_may_do_is_told_with_the_mend(self) -> None:
        for to, arguments, environ, complaint in (
            (
                "bob@example.com",
                {"answers": {"RCPT": "554 5.7.1 Relay access denied"}},
                {},
                "smtp.user = unset (default): 554 5.7.1 Relay access denied; the server does not relay for this "
                "machine: set user and password, or have it allowed",
            ),
            (
                "bob@example.com",
                {"user": "accounts", "password": "another"},
                LOGIN,
                'smtp.user = "accounts" (environment SMTP_USER): 535 AUTH refused: 5.7.8 Authentication credentials '
                "invalid; correct user and password; some providers want a password made for this program alone",
            ),
            (
                "é@example.com",
                {},
                {},
                'smtp.host = "127.0.0.1" (default): 553 address cannot be mailed to: it is not ASCII, and the mail '
                "server does not offer SMTPUTF8; only a server that offers SMTPUTF8 takes mails for such addresses",
            ),
            (
                "nobody@example.com",
                {},
                {},
                "550 5.1.1 No such?[31m user; correct the address; if it is right, the server's words say why it "
                "takes no mail for it",
            ),
        ):
            server = self.server(**arguments)  # type: ignore[arg-type]
            outcome = self.mail_test(server.port, to=to, **environ)  # type: ignore[arg-type]
            self.assert_fails(outcome, complaint)
            self.assertNotIn("hunter2", outcome.out)
            self.assertEqual(server.told, [])

    def test_nobody_listening_is_told(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as occupied:
            port = occupied.getsockname()[1]
        outcome = self.mail_test(port)
        self.assertEqual(outcome.code, 1)
        self.assertRegex(
            outcome.err, rf"\Afxa-auth: smtp.port = {port} \(environment SMTP_PORT\): no connection: .*refused"
        )

    def test_settings_that_are_no_good_are_told_before_anything_is_sent(self) -> None:
        outcome = self.mail_test(1, smtp='caFile = "nowhere.pem"')
        self.assertEqual((outcome.code, outcome.out), (1, ""))
        self.assertTrue(outcome.err.startswith('fxa-auth: smtp.caFile = "nowhere.pem" (mail.toml): cannot be read'))
        outcome = self.mail_test(1, smtp='startTls = "on"')
        self.assertEqual((outcome.code, outcome.out), (1, ""))
        self.assertIn("must be one of required, opportunistic, off", outcome.err)

    def test_what_is_no_address_is_a_usage_error(self) -> None:
        for address in ("nobody", "\udcff@example.com"):
            outcome = self.mail_test(1, to=address)
            self.assertEqual((outcome.code, outcome.out), (2, ""))
            self.assertIn(f"{address!r} is no mail address", outcome.err)

    def test_ctrl_c_ends_it(self) -> None:
        server = self.server()
        program = "import sys; from fxa_auth.cli import main; sys.exit(main())"
        with subprocess.Popen(
            [sys.executable, "-c", program, "mail", "test", "mute@example.com"],
            cwd=self.folder,
            env=environment({"SMTP_PORT": str(server.port)}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_ctrl_c,
        ) as process:
            assert process.stdout is not None
            while process.stdout.readline() not in ("-> RCPT TO:<mute@example.com>\n", ""):
                pass
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual((process.returncode, err), (130, "fxa-auth: interrupted\n"))


class MendTests(SynchronousTestCase):
    def test_every_way_to_fail_has_a_setting_that_exists_and_a_mend(self) -> None:
        known = {declared.name for declared in DECLARED} | {None}
        for stage in Stage:
            for code in (None, 421, 450, 500, 530, 550, 554):
                for smtp in (Smtp(), Smtp(secure=True, port=465), Smtp(user="me", password="x", return_path="a@b")):
                    setting, advice = mend(MailNotSent("x", code, stage=stage), smtp)
                    self.assertIn(setting, known)
                    self.assertGreater(len(advice), 20)

    def test_the_setting_is_the_one_at_fault(self) -> None:
        for stage, code, smtp, setting in (
            (Stage.RESOLVE, None, Smtp(), "smtp.host"),
            (Stage.CONNECT, None, Smtp(), "smtp.port"),
            (Stage.GREETING, None, Smtp(), "smtp.port"),
            (Stage.GREETING, None, Smtp(port=465), "smtp.secure"),
            (Stage.GREETING, 554, Smtp(), "smtp.host"),
            (Stage.EHLO, 550, Smtp(), "smtp.ehloName"),
            (Stage.STARTTLS, None, Smtp(start_tls="required"), "smtp.startTls"),
            (Stage.TLS, None, Smtp(), "smtp.startTls"),
            (Stage.TLS, None, Smtp(secure=True), "smtp.secure"),
            (Stage.CERTIFICATE, None, Smtp(), "smtp.caFile"),
            (Stage.AUTH, 535, Smtp(user="me", password="x"), "smtp.user"),
            (Stage.AUTH, None, Smtp(user="me", password="x"), "smtp.user"),
            (Stage.MAIL, 550, Smtp(), "smtp.sender"),
            (Stage.MAIL, 550, Smtp(return_path="a@b"), "smtp.returnPath"),
            (Stage.MAIL, 530, Smtp(), "smtp.user"),
            (Stage.RCPT, 451, Smtp(), "smtp.host"),
            (Stage.RCPT, 550, Smtp(), None),
            (Stage.CONTENT, 554, Smtp(), "smtp.sender"),
            (Stage.CONTENT, None, Smtp(), "smtp.replyTimeout"),
        ):
            self.assertEqual(mend(MailNotSent("x", code, stage=stage), smtp)[0], setting, (stage, code))

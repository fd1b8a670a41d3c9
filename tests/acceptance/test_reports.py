"""From a mail that bounced to its account, without Amazon: a relay brings its report to a daemon, by SMTP or LMTP."""

from __future__ import annotations

import re
import smtplib
import socket
import stat

from twisted.trial.unittest import SynchronousTestCase

from tests.acceptance.daemon import TIMEOUT_S, Daemon, free_ports
from tests.acceptance.smtp_server import SmtpServer
from tests.acceptance.wire import Wire, credentials, new_email
from tests.reports.samples import OUT_OF_OFFICE, abuse_report, delivery_report

SETTINGS = """
verifierVersion = 0
[bounces]
verp = "bounce@bounces.example.com"
listen = {{ port = {port}, socket = "reports.sock" }}
"""


class ReportTests(SynchronousTestCase):
    def setUp(self) -> None:
        [self.port] = free_ports(1)
        files = {"reports.toml": SETTINGS.format(port=self.port)}
        self.daemon = Daemon("prod", environ={"CONFIG_FILES": "reports.toml"}, files=files)
        self.addCleanup(self.daemon.close)
        self.daemon.start()
        self.mail_server = SmtpServer(self.daemon.smtp_port)
        self.addCleanup(self.mail_server.stop)
        self.mail_server.start()
        self.wire = Wire(self.daemon)

    def sign_up(self) -> tuple[str, str]:
        """The address of a new account, and the return path of its mail."""
        email = new_email()
        self.assertEqual(self.wire.post("/account/create", credentials(email)).outcome, (200, 0))
        self.mail_server.nth_to(email, 1)
        [sender] = [told["sender"] for told in self.mail_server.told if told["recipients"] == [email]]
        return email, sender

    def by_smtp(self) -> smtplib.SMTP:
        relay = smtplib.SMTP("127.0.0.1", self.port, timeout=TIMEOUT_S)
        self.addCleanup(relay.close)
        return relay

    def by_lmtp(self) -> smtplib.SMTP:
        relay = smtplib.LMTP(str(self.daemon.folder / "reports.sock"))
        self.addCleanup(relay.close)
        return relay

    def assertGone(self, email: str) -> None:
        self.assertEqual(self.wire.post("/account/login", credentials(email)).outcome, (400, 102))

    def assertThere(self, email: str) -> None:
        self.assertEqual(self.wire.post("/account/login", credentials(email)).outcome, (200, 0))

    def test_a_bounce_and_a_complaint_remove_unverified_accounts_whichever_way_they_come(self) -> None:
        for relay in (self.by_smtp(), self.by_lmtp()):
            for content in (delivery_report(), abuse_report()):
                email, return_path = self.sign_up()
                self.assertRegex(return_path, r"\Abounce\+[a-z2-7]{48}@bounces\.example\.com\Z")
                self.assertThere(email)
                self.assertEqual(relay.sendmail("", [return_path], content), {})
                self.assertGone(email)
        self.assertEqual(len(self.daemon.entries(op="bounce.handled", outcome="deleted")), 4)
        self.assertEqual((self.daemon.stop(), self.daemon.failures()), (0, []))
        self.assertFalse((self.daemon.folder / "reports.sock").exists())

    def test_what_is_no_report_and_what_is_for_nobody_changes_nothing(self) -> None:
        email, return_path = self.sign_up()
        relay = self.by_smtp()
        self.assertEqual(relay.sendmail("me@example.com", [return_path], OUT_OF_OFFICE), {})
        forged = re.sub(r"\+.", lambda found: "+b" if found[0] == "+a" else "+a", return_path)
        for recipient in (forged, "bounce@bounces.example.com", email):
            with self.assertRaises(smtplib.SMTPRecipientsRefused) as caught:
                relay.sendmail("", [recipient], delivery_report())
            self.assertEqual(caught.exception.recipients[recipient][0], 550)
        self.assertThere(email)
        self.assertEqual(len(self.daemon.entries(op="report.dropped")), 1)
        reasons = [entry["reason"] for entry in self.daemon.entries(op="report.refused")]
        self.assertEqual(reasons, ["wrong MAC", *["not of the form of a return path"] * 2])
        self.assertEqual(self.daemon.failures(), [])

    def test_what_was_acknowledged_outlives_a_kill_and_so_do_return_paths_and_the_socket(self) -> None:
        gone, first_path = self.sign_up()
        kept, second_path = self.sign_up()
        self.by_lmtp().sendmail("", [first_path], delivery_report())
        self.daemon.kill()
        self.assertTrue((self.daemon.folder / "reports.sock").is_socket())
        self.daemon.start()
        self.assertGone(gone)
        self.assertThere(kept)
        self.by_lmtp().sendmail("", [second_path], delivery_report())
        self.assertGone(kept)

    def test_a_stop_ends_connections_and_a_mail_that_is_halfway_is_not_acknowledged(self) -> None:
        email, return_path = self.sign_up()
        idle, halfway = self.by_smtp(), self.by_smtp()
        for line in ("MAIL FROM:<>", f"RCPT TO:<{return_path}>", "DATA"):
            self.assertIn(halfway.docmd(line)[0], (250, 354))
        halfway.send(b"Subject: x\r\n")
        self.assertEqual((self.daemon.stop(), self.daemon.failures()), (0, []))
        for relay in (idle, halfway):
            self.assertEqual(relay.getreply()[0], 421)
        self.daemon.start()
        self.assertThere(email)

    def test_the_socket_is_for_owner_and_group_may_be_removed_and_is_not_taken_from_another(self) -> None:
        path = self.daemon.folder / "reports.sock"
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o660)
        path.unlink()
        self.assertEqual(self.daemon.stop(), 0)
        self.assertEqual(len(self.daemon.entries(op="server.port_not_closed")), 1)
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen()
            self.assertEqual(self.daemon.spawn().wait(TIMEOUT_S), 1)
        line = self.daemon.log.splitlines()[-1]
        self.assertIn('bounces.listen.socket = "reports.sock" (reports.toml): cannot listen (Address already in', line)

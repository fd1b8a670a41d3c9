"""Bounces by way of real relays: what they report reaches the account, in the settings that docs/bounces.md has."""

from __future__ import annotations

import os
import shutil
import smtplib
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.acceptance.daemon import TIMEOUT_S, Daemon, eventually, free_ports
from tests.acceptance.smtp_server import SmtpServer
from tests.acceptance.wire import Answer, Wire, credentials
from tests.reports.samples import delivery_report
from tests.system import SKIP
from tests.system.relays import LOCAL_DOMAIN, REMOTE_DOMAIN, REPORT_DOMAIN, Exim, Listener, Postfix

SETTINGS = """
verifierVersion = 0
[bounces]
verp = "bounce@{domain}"
listen = {{ port = {port}, socket = "{socket}" }}
"""


class PostfixTests(SynchronousTestCase):
    """What any relay does; here it is Postfix, which hands over by port."""

    skip = SKIP

    def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="fxa-auth-reports-", dir="/tmp"))  # mktemp's names are too long
        self.addCleanup(shutil.rmtree, folder)
        [port] = free_ports(1)
        listener = Listener(port, folder / "reports.sock")
        self.remote = SmtpServer()
        self.addCleanup(self.remote.stop)
        self.remote.start()
        self.relay = self.make_relay(listener)
        self.addCleanup(self.relay.close)
        os.chown(folder, 0, self.relay.gid)
        folder.chmod(0o2750)
        settings = SETTINGS.format(domain=REPORT_DOMAIN, port=port, socket=listener.socket)
        environ = {"CONFIG_FILES": "reports.toml", "SMTP_PORT": str(self.relay.port)}
        self.daemon = Daemon("prod", environ=environ, files={"reports.toml": settings})
        self.addCleanup(self.daemon.close)
        self.relay.start()
        self.daemon.start()
        self.wire = Wire(self.daemon)

    def make_relay(self, listener: Listener) -> Postfix | Exim:
        return Postfix(listener, self.remote.port, by_socket=False)

    def create(self, email: str) -> Answer:
        created = self.wire.post("/account/create", credentials(email))
        self.assertEqual(created.outcome, (200, 0))
        return created

    def is_there(self, email: str) -> bool:
        [[count]] = self.daemon.sql(f"SELECT count(*) FROM accounts WHERE normalized_email = '{email}'")
        return bool(count)

    def wait_until_gone(self, email: str) -> None:
        eventually(lambda: not self.is_there(email), f"the end of {email}")

    def entries(self, **fields: object) -> list[dict[str, Any]]:
        """Lines of the log, once there is one: it is written after what it tells of."""
        found: list[dict[str, Any]] = eventually(lambda: self.daemon.entries(**fields), f"a line with {fields}")
        return found

    def test_a_sign_up_whose_mail_bounces_is_gone(self) -> None:
        for email in (f"someone@{LOCAL_DOMAIN}", f"δοκιμή@{LOCAL_DOMAIN}", f"nobody@{REMOTE_DOMAIN}"):
            created = self.create(email)
            self.wait_until_gone(email)
            [handled] = self.entries(op="bounce.handled", uid=created.body["uid"])
            self.assertEqual(handled["outcome"], "deleted")
            [taken] = self.daemon.entries(op="report.taken", uid=created.body["uid"])
            self.assertEqual((taken["fate"], taken["reporter"]), ("bounce", "relay.example.com"))
        self.assertRegex(handled["reason"], r"^bounce: 5\.1\.1 .*No such")
        self.assertEqual((self.daemon.stop(), self.daemon.failures()), (0, []))

    def test_a_mail_that_arrives_leaves_its_account_alone(self) -> None:
        email = f"somebody@{REMOTE_DOMAIN}"
        self.create(email)
        self.remote.nth_to(email, 1)
        self.create(f"nobody@{REMOTE_DOMAIN}")
        self.wait_until_gone(f"nobody@{REMOTE_DOMAIN}")
        self.assertEqual(self.is_there(email), True)

    def test_a_report_waits_for_a_daemon_that_is_away(self) -> None:
        email = f"somebody@{REMOTE_DOMAIN}"
        return_path = self.return_path_of(email)
        self.daemon.stop()
        with smtplib.SMTP("127.0.0.1", self.relay.port, timeout=TIMEOUT_S) as client:
            client.sendmail(return_path, [f"someone@{LOCAL_DOMAIN}"], b"Subject: x\r\n\r\nx\r\n")
        eventually(lambda: self.relay.has_put_off(return_path), "a report that cannot be handed over")
        self.daemon.start()
        self.assertEqual(self.is_there(email), True)
        self.relay.run_queue()
        self.wait_until_gone(email)

    def return_path_of(self, email: str) -> str:
        """Sign up, and read what the further server was told."""
        self.create(email)
        self.remote.nth_to(email, 1)
        [sender] = [told["sender"] for told in self.remote.told if told["recipients"] == [email]]
        return str(sender)

    def test_a_report_from_outside_is_taken_for_a_return_path_and_refused_for_anything_else(self) -> None:
        email = f"somebody@{REMOTE_DOMAIN}"
        return_path = self.return_path_of(email)
        with smtplib.SMTP("127.0.0.1", self.relay.port, timeout=TIMEOUT_S) as outside:
            for recipient in (f"bounce+{'a' * 48}@{REPORT_DOMAIN}", f"bounce@{REPORT_DOMAIN}"):
                with self.assertRaises(smtplib.SMTPRecipientsRefused) as caught:
                    outside.sendmail("", [recipient], delivery_report())
                self.assertEqual(caught.exception.recipients[recipient][0], 550)
            outside.sendmail("", [return_path.upper()], delivery_report())
        self.wait_until_gone(email)


class PostfixBySocketTests(PostfixTests):
    def make_relay(self, listener: Listener) -> Postfix | Exim:
        return Postfix(listener, self.remote.port, by_socket=True)


class EximTests(PostfixTests):
    def make_relay(self, listener: Listener) -> Postfix | Exim:
        return Exim(listener, self.remote.port)

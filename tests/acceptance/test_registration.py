"""Who may make an account on a real server: from the first line of its log to the last use of an invite."""

from __future__ import annotations

import base64
import os
import pwd
import re
import subprocess

from twisted.trial.unittest import SynchronousTestCase

from tests.acceptance.daemon import Daemon, eventually, started
from tests.acceptance.test_crash import SignUps
from tests.acceptance.test_pyfxa import PyFxaCase
from tests.acceptance.test_secrets import found_in
from tests.acceptance.wire import PASSWORD, Call, Wire, credentials, mails, new_email
from tests.commands.operator import TIMEOUT_S, environment, run_command

REFUSED = (403, 999)
TOGETHER = 20


def inviting(case: SynchronousTestCase, profile: str = "dev", **environ: str) -> Daemon:
    """A daemon that lets people in by invitation only; with cheap hashes."""
    settings = 'verifierVersion = 0\n[registration]\nmode = ["invite"]\n'
    return started(
        case,
        profile,
        files={"invite.toml": settings},
        environ={"CONFIG_FILES": "invite.toml", **environ},
        left_alone=True,
    )


def invite(daemon: Daemon, *argv: str) -> str:
    """What ``fxa-auth invite`` prints, typed beside the daemon."""
    environ = {"DATABASE_URL": daemon.database_url}
    outcome = run_command(daemon.folder, "invite", *argv, "--config", "invite.toml", environ=environ)
    assert (outcome.code, outcome.err) == (0, ""), outcome
    return outcome.out


def invited_by_code(daemon: Daemon, uses: int) -> str:
    """The code of a new invite."""
    return invite(daemon, "create", "--uses", str(uses)).split()[-1]


class ProductionTests(SynchronousTestCase):
    """A server nobody has changed any setting of."""

    def test_what_its_log_says_lets_the_first_one_in(self) -> None:
        daemon = started(self, "prod", files={"my.toml": ""}, environ={"CONFIG_FILES": "my.toml"}, left_alone=True)
        wire, email = Wire(daemon), new_email()
        refused = wire.post("/account/create", credentials(email))
        self.assertEqual(refused.outcome, REFUSED)
        self.assertEqual(refused.body["message"], "Registration refused: closed (no accounts are made here)")
        [told] = daemon.entries(op="server.registration_closed")
        self.assertEqual(told["setting"], 'registration.mode = ["closed"] (default)')
        self.assertIn(f'write mode = ["invite"] below [registration] in {daemon.folder / "my.toml"}, ', told["mend"])
        self.assertEqual(told["user"], pwd.getpwuid(os.geteuid()).pw_name)
        self.assertIn("DATABASE_URL", told["environment"])
        self.type(told["run"].replace("ADDRESS", email), daemon)
        self.assertEqual(wire.post("/account/create", credentials(email)).outcome, REFUSED)
        (daemon.folder / "my.toml").write_text('[registration]\nmode = ["invite"]\n')
        daemon.stop()
        daemon.start()
        [again] = daemon.entries(op="server.registration_by_invite")
        self.assertEqual(again["run"], told["run"])
        self.assertEqual(wire.post("/account/create", credentials(new_email())).outcome, REFUSED)
        self.assertEqual(wire.post("/account/create", credentials(email)).outcome, (200, 0))

    def type(self, line: str, daemon: Daemon) -> None:
        """Run the line in some other folder, with that of the daemon's environment that the log names."""
        environ = environment({"DATABASE_URL": daemon.database_url, "PYTHONPATH": os.environ.get("PYTHONPATH", "")})
        done = subprocess.run(line, shell=True, cwd="/", env=environ, capture_output=True, text=True, timeout=TIMEOUT_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("registration.mode is closed here", done.stderr)

    def test_an_open_server_has_nothing_to_say(self) -> None:
        daemon = started(self, "prod")
        self.assertEqual([entry for entry in daemon.entries() if "registration" in entry["op"]], [])
        self.assertEqual(Wire(daemon).post("/account/create", credentials(new_email())).outcome, (200, 0))


class ClientTests(PyFxaCase):
    """A client that knows nothing of invites."""

    def choose_daemon(self) -> Daemon:
        return inviting(self)

    def test_it_is_let_in_by_an_invite_for_its_address(self) -> None:
        error = self.assertRefused(*REFUSED, self.create)
        self.assertIn("invite (there is none for this address)", str(error))
        invite(self.daemon, "create", "--email", self.email.upper())
        for _ in range(2):
            session = self.create()
        session.verify_email_code(
            eventually(lambda: self.mailed_code_of(session.uid), "the mail to the second account")
        )
        self.assertTrue(self.client.login(self.email, PASSWORD).verified)
        self.assertRefused(400, 101, self.create)

    def mailed_code_of(self, uid: str) -> str | None:
        headers = [mail["headers"] for mail in mails(self.daemon, self.email)]
        return next((header["x-verify-code"] for header in headers if header["x-uid"] == uid), None)


class CodeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.daemon = inviting(self, LOG_LEVEL="trace")
        self.wire = Wire(self.daemon)

    def sign_up(self, code: str) -> tuple[int, int]:
        return self.wire.post("/account/create", credentials(new_email(), inviteCode=code)).outcome

    def test_a_code_lets_in_as_often_as_it_has_uses_and_is_kept_nowhere(self) -> None:
        code = invited_by_code(self.daemon, 2)
        self.assertEqual([self.sign_up(code) for _ in range(3)], [(200, 0), (200, 0), REFUSED])
        self.assertRegex(invite(self.daemon, "list"), r"^\w{16}  \(by code\)  2 of 2 used  until \S+  used up\n$")
        plain = code.replace("-", "")
        secrets = {"code": code.encode(), "plain": plain.encode(), "entropy": base64.b32decode(plain.upper())}
        self.assertEqual(found_in(self.daemon.log.encode(), secrets), [])
        for form, content in self.daemon.dumps().items():
            self.assertEqual(found_in(content, secrets), [], form)

    def test_a_revoked_code_is_unknown(self) -> None:
        created = invite(self.daemon, "create")
        [invite_id] = re.findall("^invite ([0-9a-f]{16}):", created)
        invite(self.daemon, "revoke", invite_id)
        self.assertEqual(self.sign_up(created.split()[-1]), REFUSED)

    def test_of_twenty_at_once_with_a_single_use_one_is_let_in(self) -> None:
        code = invited_by_code(self.daemon, 1)
        calls = [Call("POST", "/account/create", credentials(new_email(), inviteCode=code)) for _ in range(TOGETHER)]
        outcomes = sorted(answer.outcome for answer in self.wire.at_once(calls))
        self.assertEqual(outcomes, [(200, 0), *[REFUSED] * (TOGETHER - 1)])

    def test_a_daemon_that_is_killed_has_counted_each_account_it_made(self) -> None:
        code = invited_by_code(self.daemon, 1_000_000)
        sign_ups = SignUps(self.wire, inviteCode=code)
        sign_ups.run_until_killed(self.daemon)
        self.daemon.start()
        [(accounts,)] = self.daemon.sql("SELECT count(*) FROM accounts")
        [(used,)] = self.daemon.sql("SELECT uses - uses_left FROM invites")
        self.assertEqual(used, accounts)
        self.assertGreaterEqual(accounts, len(sign_ups.acknowledged))

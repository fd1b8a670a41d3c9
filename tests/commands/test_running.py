"""How a command on the store is run, whatever it does: each piece of work here runs in a process of its own."""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from fxa_auth.commands.running import complain, say
from fxa_auth.config import Layer, load
from fxa_auth.storage import Storage
from tests.commands.operator import TIMEOUT_S, Outcome, environment, heed_ctrl_c
from tests.databases import names
from tests.postgres import administer, database_url

_PROGRAM = """
import argparse, sys
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from fxa_auth.commands.running import CommandFailed, add_settings_options, run_on_storage

async def work(reactor, settings, storage):
{work}

parser = argparse.ArgumentParser()
add_settings_options(parser)
sys.exit(run_on_storage(parser.parse_args(), work))
"""


class RunningTests(TestCase):
    """On an SQLite file that a daemon has made."""

    async def setUp(self) -> None:
        self.settle()
        settings = {
            "database": {"url": f"sqlite:///{self.database}"},
            "sealingKeys": [str(self.folder / "var" / "sealing.key")],
        }
        storage = Storage(load([Layer("test", settings)], {}).settings, reactor)
        await storage.open()
        await storage.close()

    def settle(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.database = self.folder / "accounts.sqlite"

    def begin(self, work: str, url: str | None = None, *argv: str) -> subprocess.Popen[str]:
        """Start a process that does the work: the body of an ``async def work(reactor, settings, storage)``."""
        indented = "\n".join("    " + line for line in dedent(work).strip().splitlines())
        return subprocess.Popen(
            [sys.executable, "-c", _PROGRAM.format(work=indented), *argv],
            cwd=self.folder,
            env=environment({"DATABASE_URL": url or f"sqlite:///{self.database.name}"}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_ctrl_c,
        )

    def end(self, process: subprocess.Popen[str]) -> Outcome:
        out, err = process.communicate(timeout=TIMEOUT_S)
        return Outcome(process.returncode, out, err)

    def run_work(self, work: str, url: str | None = None, *argv: str) -> Outcome:
        return self.end(self.begin(work, url, *argv))

    def test_work_finds_an_open_store_and_the_settings(self) -> None:
        (self.folder / "a.toml").write_text("[listen]\nport = 7\n")
        outcome = self.run_work(
            "print(await storage.store.accounts.is_any(), settings.listen.port, settings.env)",
            None, "--config", "a.toml", "--profile", "stage",
        )  # fmt: skip
        self.assertEqual(outcome, Outcome(0, "False 7 stage\n", ""))

    def test_what_a_command_cannot_do_is_one_line(self) -> None:
        self.assertEqual(
            self.run_work("raise CommandFailed('there is no such thing')"),
            Outcome(1, "", "fxa-auth: there is no such thing\n"),
        )

    def test_a_database_that_fails_is_one_line_without_its_password(self) -> None:
        for url, told in (
            ("sqlite:///nowhere.sqlite", "cannot be opened \\(No such file or directory\\): .*"),
            ("sqlite://", "is in memory, where only the daemon itself sees it"),
            ("postgresql://me:hunter2@127.0.0.1:1/x", ".*refused.*"),
            ("sqlite:///not-one.sqlite", ".*not a database.*"),
        ):
            (self.folder / "not-one.sqlite").write_text("x" * 5000)
            outcome = self.run_work("print('not reached')", url)
            self.assertEqual((outcome.code, outcome.out), (1, ""), outcome)
            self.assertRegex(outcome.err, rf"\Afxa-auth: database\.url = \S+ \(environment DATABASE_URL\): {told}\n\Z")
            self.assertNotIn("hunter2", outcome.err)
        self.assertFalse((self.folder / "nowhere.sqlite").exists())

    def test_a_command_does_not_make_a_database(self) -> None:
        (self.folder / "empty.sqlite").touch()
        before, on_server = names(self.folder), database_url(self)
        for url in ("sqlite:///empty.sqlite", on_server):
            outcome = self.run_work("print('not reached')", url)
            self.assertEqual((outcome.code, outcome.out, outcome.err.count("\n")), (1, "", 1), outcome)
            self.assertIn("the database is empty: name the one that the daemon uses", outcome.err)
        self.assertEqual((names(self.folder), (self.folder / "empty.sqlite").stat().st_size), (before, 0))
        sql = "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
        self.assertEqual(administer(on_server, sql), [])

    def test_a_database_that_fails_under_the_work_is_one_line(self) -> None:
        outcome = self.run_work("await storage.database.query('SELECT nonsense', {})")
        self.assertEqual((outcome.code, outcome.out), (1, ""))
        self.assertRegex(outcome.err, r"\Afxa-auth: database\.url = .*: no such column: nonsense\n\Z")

    def test_bad_settings_are_told_one_line_each(self) -> None:
        (self.folder / "a.toml").write_text("nonsense = 1\n[listen]\nport = 70000\n")
        outcome = self.run_work("print('not reached')", None, "--config", "a.toml")
        self.assertEqual((outcome.code, outcome.out), (1, ""))
        lines = outcome.err.splitlines()
        self.assertEqual(
            [line.split()[:2] for line in lines], [["fxa-auth:", "nonsense"], ["fxa-auth:", "listen.port"]]
        )

    def test_a_bug_shows_its_traceback(self) -> None:
        outcome = self.run_work("raise ValueError('a bug')")
        self.assertEqual((outcome.code, outcome.out), (1, ""))
        self.assertIn("ValueError: a bug", outcome.err)
        self.assertIn("Traceback", outcome.err)

    def test_the_log_is_quiet_but_for_warnings(self) -> None:
        outcome = self.run_work(
            """
            log = Logger(namespace="fxa_auth.anything")
            log.info("all.is_well")
            log.warn("beware", of="the dog")
            print("done")
            """
        )
        self.assertEqual((outcome.code, outcome.out, outcome.err.count("\n")), (0, "done\n", 1), outcome.err)
        self.assertIn('beware of="the dog"', outcome.err)

    def test_ctrl_c_ends_the_work_and_closes_the_store(self) -> None:
        process = self.begin(
            """
            try:
                print("ready", flush=True)
                await Deferred()
            finally:
                await storage.store.ping()
                print("tidied up", flush=True)
            """
        )
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), "ready\n")
        process.send_signal(signal.SIGINT)
        self.assertEqual(self.end(process), Outcome(130, "tidied up\n", "fxa-auth: interrupted\n"))
        self.assertEqual([path.name for path in self.folder.glob("accounts.sqlite-*")], [], "it was not closed")


class SayingTests(SynchronousTestCase):
    def test_a_line_is_one_line_and_steers_nothing(self) -> None:
        for text, shown in (
            ("ol\u00e9", "ol\u00e9"),
            ("a\nb\r\x1b[2J\x9b", "a\\nb\\r\\x1b[2J\\x9b"),
            ("\u202e\udcff", "\\u202e\\udcff"),
        ):
            stream = io.StringIO()
            say(text, stream)
            self.assertEqual(stream.getvalue(), f"{shown}\n")

    def test_what_the_encoding_cannot_say_is_escaped(self) -> None:
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, "latin-1")
        say("ol\u00e9 \u65e5", stream)
        self.assertEqual(raw.getvalue(), b"ol\xe9 \\u65e5\n")

    def test_a_complaint_goes_to_stderr(self) -> None:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            complain("it is broken")
        self.assertEqual((out.getvalue(), err.getvalue()), ("", "fxa-auth: it is broken\n"))

"""``fxa-auth db rewrap`` as an operator types it, also cut off by ``kill -9`` in the middle, on both databases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.store.seal import key_id
from tests.commands.operator import environment, run_command
from tests.postgres import database_url

OLD, NEW = b"\x01" * 32, b"\x02" * 32

# Accounts by way of the store, as a daemon would make them; the last line says that they are there.
_FILL = """
import os, sys
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from fxa_auth.configfiles import load_settings
from fxa_auth.storage import Storage
from tests.store.contract import an_account

async def fill(reactor):
    storage = Storage(load_settings([], None, os.environ).settings, reactor)
    await storage.open()
    storage.unseal()
    accounts = storage.store.accounts
    await storage.store.change(*(accounts.add(an_account(f"{n}@example.com"), "free") for n in range(int(sys.argv[1]))))
    found = await storage.store.accounts.by_email("0@example.com")
    await storage.close()
    print("filled" if found else "empty")

react(lambda reactor: Deferred.fromCoroutine(fill(reactor)))
"""

# Runs the command, and dies of SIGKILL when it hands over its second batch.
_DYING = """
import os, signal, sys
from fxa_auth.store import postgres, sqlite
for adapter in (postgres.PostgresDatabase, sqlite.SqliteDatabase):
    def change(self, statements, change=adapter.change, handed=[]):
        handed.extend([1] if any("old_ka" in step.sql for step in statements) else [])
        if len(handed) > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return change(self, statements)
    adapter.change = change
from fxa_auth.cli import main
sys.exit(main(["db", "rewrap"]))
"""


class RewrapContract:
    """``database`` gives the URL of an empty database; what a test asserts by is trial's."""

    assertEqual: Any
    assertIn: Any
    mktemp: Any

    def database(self) -> str:
        raise NotImplementedError

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.environ = {"DATABASE_URL": self.database(), "OLD": OLD.hex(), "NEW": NEW.hex()}

    def settings(self, *places: str) -> dict[str, str]:
        path = self.folder / f"{len(places)}{places[0][-3:]}.json"
        path.write_text(json.dumps({"sealingKeys": places, "database": {"statementTimeout": 1000}}))
        return {**self.environ, "CONFIG_FILES": str(path.absolute())}

    def python(self, program: str, *argv: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *argv]
        return subprocess.run(
            command, cwd=self.folder, env=environment(environ), capture_output=True, text=True, timeout=60
        )

    def fill(self, accounts: int) -> None:
        done = self.python(_FILL, str(accounts), environ=self.settings("env:OLD"))
        self.assertEqual(done.stdout, "filled\n", done.stderr)

    def start_with_new_key(self) -> None:
        """What a daemon does that finds the new key in front: it records it."""
        done = self.python(_FILL, "0", environ=self.settings("env:NEW", "env:OLD"))
        self.assertEqual(done.stdout, "filled\n", done.stderr)

    def test_afterwards_the_old_key_is_not_needed(self) -> None:
        self.fill(3)
        self.start_with_new_key()
        done = run_command(self.folder, "db", "rewrap", environ=self.settings("env:NEW", "env:OLD"))
        self.assertEqual((done.code, done.err), (0, ""))
        self.assertIn(f"3 rows sealed anew; everything is sealed with key {key_id(NEW).hex()}", done.out)
        self.assertIn(f"The database needs no more: {key_id(OLD).hex()}", done.out)
        shown = run_command(self.folder, "account", "show", "1@example.com", environ=self.settings("env:NEW"))
        self.assertEqual((shown.code, shown.err), (0, ""))

    def test_the_old_key_alone_is_refused_from_then_on(self) -> None:
        self.fill(1)
        self.start_with_new_key()
        run_command(self.folder, "db", "rewrap", environ=self.settings("env:NEW", "env:OLD"))
        refused = run_command(self.folder, "account", "show", "0@example.com", environ=self.settings("env:OLD"))
        self.assertEqual(refused.code, 1)
        self.assertIn(f"the database is sealed with key {key_id(NEW).hex()}", refused.err)

    def test_an_older_key_in_front_is_refused(self) -> None:
        self.fill(1)
        self.start_with_new_key()
        refused = run_command(self.folder, "db", "rewrap", environ=self.settings("env:OLD", "env:NEW"))
        self.assertEqual((refused.code, refused.out, len(refused.err.splitlines())), (1, "", 1))
        self.assertIn('sealingKeys = ["env:OLD", "env:NEW"]', refused.err)
        self.assertIn(f"the newest key of this database is {key_id(NEW).hex()}", refused.err)

    def test_a_key_that_no_daemon_seals_with_yet_is_refused(self) -> None:
        self.fill(1)
        refused = run_command(self.folder, "db", "rewrap", environ=self.settings("env:NEW", "env:OLD"))
        self.assertEqual((refused.code, refused.out, len(refused.err.splitlines())), (1, "", 1))
        self.assertIn(f"no daemon seals with key {key_id(NEW).hex()} (env:NEW) yet", refused.err)

    def test_killed_in_the_middle_it_is_begun_again(self) -> None:
        self.fill(450)
        self.start_with_new_key()
        killed = self.python(_DYING, environ=self.settings("env:NEW", "env:OLD"))
        self.assertEqual(killed.returncode, -9, killed.stderr)
        done = run_command(self.folder, "db", "rewrap", environ=self.settings("env:NEW", "env:OLD"))
        self.assertIn("250 rows sealed anew", done.out)
        shown = run_command(self.folder, "account", "show", "449@example.com", environ=self.settings("env:NEW"))
        self.assertEqual((shown.code, shown.err), (0, ""))


class SqliteTests(RewrapContract, SynchronousTestCase):
    def database(self) -> str:
        return f"sqlite:///{os.path.abspath(self.mktemp())}"


class PostgresTests(RewrapContract, SynchronousTestCase):
    def database(self) -> str:
        return database_url(self)

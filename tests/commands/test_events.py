"""``fxa-auth events`` as an operator types it, beside whatever daemon numbers the events."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from fxa_auth.config import Layer, load
from fxa_auth.storage import Storage
from tests.commands.operator import TIMEOUT_S, Outcome, command, environment, heed_ctrl_c, run_command
from tests.store.contract import an_account

EMAIL = "Mé@example.com"
NOW_MS = 1_700_000_000_123


class TailTests(TestCase):
    """Twelve logins of one account in the log, and one that has no number yet."""

    async def setUp(self) -> None:
        self.settle()
        self.account = an_account(EMAIL)
        await self.record(12, self.account)
        await self.record(1, number=False)

    def settle(self) -> None:
        """A folder with settings in it."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        settings = {
            "database": {"url": f"sqlite:///{self.folder / 'accounts.sqlite'}"},
            "sealingKeys": [str(self.folder / "sealing.key")],
        }
        (self.folder / "settings.json").write_text(json.dumps(settings))
        self.settings = load([Layer("settings.json", settings)], {}).settings

    async def record(self, logins: int, account: Any = None, number: bool = True) -> None:
        storage = Storage(self.settings, reactor)
        await storage.open()
        storage.unseal()
        store = storage.store
        if account is not None:
            await store.change(store.accounts.add(account, "address is free"))
        for _ in range(logins):
            await store.change(*store.events.login(self.account.uid, EMAIL, NOW_MS))
        if number:
            await store.event_log.number(100, NOW_MS)
        await storage.close()

    async def type(self, *argv: str) -> Outcome:
        return await deferToThread(run_command, self.folder, "events", "tail", *argv, "--config", "settings.json")

    def line(self, number: int) -> str:
        data = {"email": EMAIL, "uid": self.account.uid.hex()}
        return json.dumps({"event": "login", "data": data, "number": number, "time": NOW_MS}) + "\n"

    def lines(self, first: int, last: int) -> str:
        return "".join(self.line(number) for number in range(first, last + 1))

    def spawn(self, *argv: str) -> subprocess.Popen[bytes]:
        """The command under way."""
        process = subprocess.Popen(
            command("events", "tail", *argv, "--config", "settings.json"),
            cwd=self.folder,
            env=environment({}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=heed_ctrl_c,
        )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()

    async def test_the_latest_ten(self) -> None:
        self.assertEqual(await self.type(), Outcome(0, self.lines(3, 12), ""))

    async def test_those_after_a_number(self) -> None:
        for after, shown in ((0, self.lines(1, 12)), (11, self.line(12)), (12, ""), (500, "")):
            self.assertEqual(await self.type("--after", str(after)), Outcome(0, shown, ""), after)

    async def test_what_is_no_number_is_refused(self) -> None:
        for text in ("x", "-1", "1.5"):
            said = await self.type(f"--after={text}")
            self.assertEqual((said.code, said.out), (2, ""))
            self.assertIn("not a whole number of 0 or more", said.err)

    async def test_following_prints_what_comes_until_it_is_interrupted(self) -> None:
        process = self.spawn("--after", "11", "--follow")
        assert process.stdout is not None and process.stderr is not None
        self.assertEqual((await deferToThread(process.stdout.readline)).decode(), self.line(12))
        await self.record(1)
        for number in (13, 14):
            self.assertEqual((await deferToThread(process.stdout.readline)).decode(), self.line(number))
        process.send_signal(signal.SIGINT)
        out, err = await deferToThread(process.communicate, timeout=TIMEOUT_S)
        self.assertEqual((process.returncode, out, err), (0, b"", b""))

    async def test_a_reader_that_has_seen_enough_ends_it_quietly(self) -> None:
        process = self.spawn("--after", "0", "--follow")
        assert process.stdout is not None and process.stderr is not None
        await deferToThread(process.stdout.readline)
        process.stdout.close()
        await self.record(1)
        self.assertEqual(await deferToThread(process.wait, TIMEOUT_S), 0)
        self.assertEqual(process.stderr.read(), b"")

    async def test_an_empty_log_prints_nothing(self) -> None:
        os.rename(self.folder / "accounts.sqlite", self.folder / "other.sqlite")
        storage = Storage(self.settings, reactor)
        await storage.open()
        await storage.close()
        self.assertEqual(await self.type(), Outcome(0, "", ""))

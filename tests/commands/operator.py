"""An operator at a shell: runs the program in a child process, as the tests of the commands need it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

import fxa_auth
from fxa_auth.config import DECLARED, Layer, load
from fxa_auth.storage import Storage

TIMEOUT_S = 60

_ROOT = Path(fxa_auth.__file__).resolve().parents[1]
_OF_SETTINGS = {declared.setting.env for declared in DECLARED} | {"CONFIG_FILES", "DB_BACKEND"}
_PROGRAM = "import sys; from fxa_auth.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process without any setting, in which the package can be imported from anywhere."""
    environ = {name: value for name, value in os.environ.items() if name not in _OF_SETTINGS}
    paths = filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])
    return {**environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8", **more}


def heed_ctrl_c() -> None:
    """In a child process: who runs the tests in the background ignores it, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def command(*argv: str) -> list[str]:
    """What to run for ``fxa-auth`` with these arguments."""
    return [sys.executable, "-c", _PROGRAM, *argv]


def run_command(
    folder: Path, *argv: str, environ: Mapping[str, str] | None = None, stdin: int = subprocess.DEVNULL
) -> Outcome:
    """Type ``fxa-auth`` with these arguments in the folder, with these settings in the environment."""
    done = subprocess.run(
        command(*argv),
        cwd=folder,
        env=environment(environ or {}),
        stdin=stdin,
        capture_output=True,
        timeout=TIMEOUT_S,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


class StoreCase(TestCase):
    """An operator beside a database that nobody else uses just now. ``family`` is the command that is typed."""

    family: str

    def settle(self, **more: Any) -> None:
        """A folder with settings in it: those of the database, and ``more``."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.database_file = self.folder / "accounts.sqlite"
        settings = {
            "database": {"url": f"sqlite:///{self.database_file}"},
            "sealingKeys": [str(self.folder / "sealing.key")],
            **more,
        }
        (self.folder / "settings.json").write_text(json.dumps(settings))
        self.settings = load([Layer("settings.json", settings)], {}).settings

    async def in_store(self, work: Any) -> Any:
        """Open the store as a daemon does, and close it again."""
        storage = Storage(self.settings, reactor)
        await storage.open()
        storage.unseal()
        try:
            return await work(storage.store)
        finally:
            await storage.close()

    async def change(self, steps: Any) -> None:
        await self.in_store(lambda store: store.change(*steps(store)))

    async def type(self, *argv: str, **more: Any) -> Outcome:
        return await deferToThread(run_command, self.folder, self.family, *argv, "--config", "settings.json", **more)

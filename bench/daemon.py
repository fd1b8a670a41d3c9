"""A real daemon for a measurement: a child process in a folder of its own, with the production profile and its log."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SERVE = """
import sys
from twisted.scripts.twistd import run
sys.argv = ["twistd", "--nodaemon", "--pidfile=", "fxa-auth"]
run()
"""

READS_ON_THREAD = """
from fxa_auth.store.sqlite import SqliteDatabase
SqliteDatabase.point = SqliteDatabase.query
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_daemon(
    *,
    reads_on_thread: bool = False,
    verifier_version: int = 1,
    settings: str = "",
    smtp_port: int | None = None,
    database_url: str | None = None,
    altered: str = "",
) -> Iterator[int]:
    """The port of a fresh daemon with further ``settings`` (TOML), on SQLite unless there is a ``database_url``.

    ``reads_on_thread`` sends point reads to the store's thread, like all other work. Unless an ``smtp_port`` is given,
    there is no mail server. ``altered`` is Python that makes the daemon another one.
    """
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        file = Path(folder, "settings.toml")
        file.write_text(f'verifierVersion = {verifier_version}\n{settings}\n[registration]\nmode = ["open"]\n')
        environ = {
            **os.environ,
            "NODE_ENV": "prod",
            "CONFIG_FILES": str(file),
            "PORT": str(port),
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "DATABASE_URL": database_url or f"sqlite:///{folder}/accounts.sqlite",
            "SMTP_PORT": str(smtp_port or free_port()),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-c", altered + (READS_ON_THREAD if reads_on_thread else "") + SERVE]
        with Path(folder, "log").open("wb") as log:
            child = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
        try:
            _wait_until_ready(port)
            yield port
        finally:
            child.terminate()
            child.wait(60)


def _wait_until_ready(port: int) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(b"GET /__heartbeat__ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                if connection.recv(100).startswith(b"HTTP/1.1 200"):
                    return
        except OSError:
            pass
        if time.monotonic() > end:
            raise TimeoutError("the daemon does not answer")
        time.sleep(0.05)

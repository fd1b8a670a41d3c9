"""Whether sign-ups notice that the mail server is away: ``python -m bench.mail_outage [seconds]``.

Rounds with a mail server that works, with none, and with one that takes connections and never says a word, in turns,
since a machine is not equally fast all the time.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.daemon import free_port, running_daemon
from bench.load import Figures, Load, creates
from tests.mail import smtp_peer

ROUNDS = 5
SETTINGS = "[smtp]\ntimeout = 1000\n"
"""So that attempts end, and others begin, within a round."""


@contextmanager
def working(port: int) -> Iterator[None]:
    """aiosmtpd, in a process of its own."""
    command = [sys.executable, smtp_peer.__file__, json.dumps({"port": port})]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        _wait_until_open(port)
        yield
    finally:
        child.terminate()
        child.wait(60)


@contextmanager
def away(port: int) -> Iterator[None]:
    yield


@contextmanager
def silent(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


def _wait_until_open(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError("the mail server does not answer")


def measure(connections: int, verifier_version: int, seconds: float) -> None:
    found: dict[Callable[..., object], list[Figures]] = {working: [], away: [], silent: []}
    for _ in range(ROUNDS):
        for mail_server, figures in found.items():
            smtp_port = free_port()
            with (
                mail_server(smtp_port),  # type: ignore[attr-defined]
                running_daemon(verifier_version=verifier_version, settings=SETTINGS, smtp_port=smtp_port) as port,
            ):
                figures.append(Load(port, creates("c"), connections, seconds).figures())
    print(f"account/create, {'scrypt' if verifier_version else 'verifier version 0'}, {connections} connections")
    for mail_server, figures in found.items():
        medians = [each.median_ms for each in figures]
        middle = min(figures, key=lambda each: abs(each.median_ms - statistics.median(medians)))
        spread = f"(median {min(medians):.1f} to {max(medians):.1f} ms in {len(medians)} rounds)"
        print(f"    mail server {mail_server.__name__:8}{middle}   {spread}", flush=True)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    measure(1, 0, seconds)
    measure(4, 0, seconds)
    measure(4, 1, 2 * seconds)


if __name__ == "__main__":
    main()

"""Requests a second of a real daemon: ``python -m bench.endpoints [seconds]``."""

from __future__ import annotations

import statistics
import sys

from bench.daemon import running_daemon
from bench.load import AUTH_PW, Figures, Load, ask, creates, http, logins, session_statuses

ROUNDS = 5
CONNECTIONS = 16


def measure_session_status(seconds: float) -> None:
    """Both ways to read alternate, since a machine is not equally fast all the time."""
    for writers in (0, 4):
        found: dict[bool, list[Figures]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for reads_on_thread, all_figures in found.items():
                all_figures.append(_session_status(reads_on_thread, writers, seconds))
        for reads_on_thread, all_figures in found.items():
            where = "thread " if reads_on_thread else "reactor"
            beside = f", {writers} connections creating accounts beside" if writers else ""
            tell(f"session/status, read on the {where}{beside}", all_figures)


def _session_status(reads_on_thread: bool, writers: int, seconds: float) -> Figures:
    with running_daemon(reads_on_thread=reads_on_thread, verifier_version=0) as port:
        created = ask(port, http("POST", "/v1/account/create", {"email": "a@example.com", "authPW": AUTH_PW}))
        beside = Load(port, creates("w"), writers, seconds + 1) if writers else None
        requests = session_statuses(port, str(created["sessionToken"]))
        figures = Load(port, requests, CONNECTIONS, seconds).figures()
        if beside is not None:
            beside.figures()
        return figures


def measure_logins(seconds: float) -> None:
    found = []
    for _ in range(ROUNDS):
        with running_daemon() as port:
            ask(port, http("POST", "/v1/account/create", {"email": "a@example.com", "authPW": AUTH_PW}))
            found.append(Load(port, logins("a@example.com"), CONNECTIONS, 2 * seconds).figures())
    tell("account/login, scrypt", found)


def measure_creates(seconds: float) -> None:
    for version in (1, 0):
        found = []
        for _ in range(ROUNDS):
            with running_daemon(verifier_version=version) as port:
                found.append(Load(port, creates("c"), CONNECTIONS, 2 * seconds).figures())
        tell(f"account/create, {'scrypt' if version else 'verifier version 0'}", found)


def tell(what: str, all_figures: list[Figures]) -> None:
    """The middle round, and how far the rounds lie apart."""
    rates = [figures.rate for figures in all_figures]
    middle = min(all_figures, key=lambda figures: abs(figures.rate - statistics.median(rates)))
    print(f"{what}\n    {middle}   ({min(rates):.1f} to {max(rates):.1f}/s in {len(rates)} rounds)", flush=True)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    measure_session_status(seconds)
    measure_logins(seconds)
    measure_creates(seconds)


if __name__ == "__main__":
    main()

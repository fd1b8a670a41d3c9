"""How a command is run: the settings read, the store open where it works on that, the outcome told in one line.

What the command does is its own affair. A reactor runs for as long as it takes, and the log stays quiet but for
warnings.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TextIO

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react
from twisted.logger import LogEvent, LogLevel, globalLogBeginner

from fxa_auth.clock import iso_utc
from fxa_auth.config import ConfigError, Loaded, Settings
from fxa_auth.configfiles import load_settings
from fxa_auth.log import Observer, observer
from fxa_auth.storage import Storage
from fxa_auth.store.database import DatabaseUnavailable, UnusableDatabase
from fxa_auth.store.seal import BrokenSeal

INTERRUPTED = 130
"""The exit code that a shell gives to what Ctrl-C ended."""

Work = Callable[[Any, Settings, Storage], Coroutine[Any, Any, None]]
"""What a command does with the reactor, the settings and the open storage; see CommandFailed."""

WorkWithoutStorage = Callable[[Any, Loaded], Coroutine[Any, Any, None]]
"""What a command does that needs no store."""


class CommandFailed(Exception):
    """The command cannot do what it was asked for; the text is one line for its user."""


def add_settings_options(parser: argparse.ArgumentParser) -> None:
    """The options by which every command finds the settings."""
    parser.add_argument(
        "--config", metavar="FILE", action="append", default=[], help="a settings file; repeatable, later ones win"
    )
    parser.add_argument("--profile", metavar="NAME", help="dev, test, stage or prod")


def text(argument: str) -> str:
    """For argparse: refuse what the shell handed over but no encoding can say."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("not text in the encoding of this terminal") from None
    return argument


def run_on_storage(options: argparse.Namespace, work: Work) -> int:
    """Do the work on the store that the settings name, which a daemon has made; the answer is the exit code.

    ``options`` are those of ``add_settings_options``. A process can do this once, since a reactor runs once.
    """
    if (loaded := _settings(options)) is None:
        return 1
    if (reason := _nothing_there(loaded)) is not None:
        complain(loaded.complaint("database.url", reason))
        return 1
    return _run(lambda reactor: _on_storage(reactor, loaded, work))


def run_without_storage(options: argparse.Namespace, work: WorkWithoutStorage) -> int:
    """As ``run_on_storage``, for work that has nothing to do with the store."""
    if (loaded := _settings(options)) is None:
        return 1
    return _run(lambda reactor: work(reactor, loaded))


def _settings(options: argparse.Namespace) -> Loaded | None:
    """The settings, or None once what is wrong with them has been told."""
    try:
        return load_settings(options.config, options.profile, os.environ)
    except ConfigError as error:
        for complaint in error.complaints:
            complain(complaint)
        return None


def _run(work: Callable[[Any], Coroutine[Any, Any, None]]) -> int:
    observers: list[Any] = [_quiet_log()]
    globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False)
    return run_reactor(lambda reactor: _exit_code(work(reactor)))


async def _exit_code(work: Coroutine[Any, Any, None]) -> int:
    try:
        await work
    except CommandFailed as error:
        complain(str(error))
        return 1
    except CancelledError:
        complain("interrupted")
        return INTERRUPTED
    return 0


async def _on_storage(reactor: Any, loaded: Loaded, work: Work) -> None:
    storage = Storage(loaded.settings, reactor)
    try:
        await storage.open_existing()
        storage.unseal()
        await work(reactor, loaded.settings, storage)
    except UnusableDatabase as error:
        raise CommandFailed(loaded.complaint(error.setting, error)) from None
    except (DatabaseUnavailable, BrokenSeal) as error:
        raise CommandFailed(loaded.complaint("database.url", error)) from None
    finally:
        await storage.close()


def ask_before_removal(command: str, warning: str, question: str) -> int | None:
    """Have the user confirm on the terminal; the answer is None, or else the exit code for a command that does nothing.

    Ask before anything is opened: nothing else can be done while a reactor waits for an answer.
    """
    if not sys.stdin.isatty():
        complain(f"{command} asks before it removes anything, and there is no terminal to ask on: give --yes")
        return 1
    try:
        say(warning)
        answer = input(f"{question} [y/N] ")
    except (EOFError, KeyboardInterrupt):
        print()
        complain("interrupted, nothing was removed")
        return INTERRUPTED
    if answer.strip().lower() not in ("y", "yes"):
        complain("nothing was removed")
        return 1
    return None


def say(line: str, stream: TextIO | None = None) -> None:
    """Print one line, which cannot steer the terminal whatever a client once put into it."""
    stream = stream or sys.stdout
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)
    encoding = stream.encoding or "utf-8"
    print(shown.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def shown_time(ms: int) -> str:
    """A time (ms since the epoch) in UTC, to the second."""
    return iso_utc(ms)


def complain(line: str) -> None:
    """Tell on stderr what is wrong."""
    say(f"fxa-auth: {line}", sys.stderr)


def _nothing_there(loaded: Loaded) -> str | None:
    """Why there can be nothing to work on."""
    database = loaded.settings.database
    if database.is_postgres:
        return None
    if database.path is None:
        return "is in memory, where only the daemon itself sees it"
    try:
        Path(database.path).stat()
    except OSError as error:
        return f"cannot be opened ({error.strerror}): name the database that the daemon uses, or run this in its folder"
    return None


def run_reactor(perform: Callable[[Any], Coroutine[Any, Any, int]]) -> int:
    """Run the reactor until the work has ended; whoever stops the reactor earlier cancels the work."""

    async def ended(reactor: Any) -> None:
        under_way = Deferred.fromCoroutine(perform(reactor))
        reactor.addSystemEventTrigger("before", "shutdown", _cancelled, under_way)
        raise SystemExit(await under_way)

    try:
        react(ended)
    except SystemExit as leaving:
        return int(leaving.code or 0)


def _cancelled(work: Deferred[int]) -> Deferred[int]:
    work.cancel()
    return work


def _quiet_log() -> Observer:
    """Warnings and worse, in the readable form, but not what the store logs as an error: it raises that too."""
    log = observer(sys.stderr, "warn", pretty=True)

    def quietly(event: LogEvent) -> None:
        from_store = str(event.get("log_namespace", "")).startswith("fxa_auth.store")
        if not (from_store and event.get("log_level") is LogLevel.error):
            log(event)

    return quietly

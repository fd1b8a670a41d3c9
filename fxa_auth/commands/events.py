"""``fxa-auth events``: what an operator sees of the event log. It only reads; publishing is the daemons' affair."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from fxa_auth.commands.running import add_settings_options, run_on_storage, say
from fxa_auth.config import Settings
from fxa_auth.events.lines import line
from fxa_auth.storage import Storage
from fxa_auth.store.eventlog import EventLog

if TYPE_CHECKING:
    from fxa_auth.commands import Subparsers

_LATEST = 10
_BATCH = 500
_POLL_S = 1.0


def add_parser(subparsers: Subparsers) -> None:
    events = subparsers.add_parser("events", help="look at the log of events")
    actions = events.add_subparsers(metavar="ACTION", required=True)
    tail = actions.add_parser(
        "tail",
        help="print events, a line of JSON each",
        description="Print the latest events, or those after a number, in the order in which they are published. An"
        " event is there once a daemon has numbered it, a moment after it happened.",
    )
    tail.add_argument("--after", metavar="N", type=_number, help=f"those after number N, instead of the last {_LATEST}")
    tail.add_argument("-f", "--follow", action="store_true", help="go on with those that come, until Ctrl-C")
    add_settings_options(tail)
    tail.set_defaults(run=_tail)


def _number(argument: str) -> int:
    if not argument.isdecimal():
        raise argparse.ArgumentTypeError("not a whole number of 0 or more")
    return int(argument)


def _tail(options: argparse.Namespace) -> int:
    async def work(reactor: Any, _settings: Settings, storage: Storage) -> None:
        try:
            await _print_events(reactor, storage.store.event_log, options.after, options.follow)
        except BrokenPipeError:
            # The reader has seen enough; Python must not try to write the rest when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except CancelledError:
            if not options.follow:
                raise

    return run_on_storage(options, work)


async def _print_events(reactor: Any, log: EventLog, after: int | None, follow: bool) -> None:
    number = max(0, await log.last_number() - _LATEST) if after is None else after
    while True:
        while events := await log.after(number, _BATCH):
            for event in events:
                say(line(event))
            number = events[-1].number
        if not follow:
            return
        await deferLater(reactor, _POLL_S)

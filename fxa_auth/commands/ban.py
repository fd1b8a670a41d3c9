"""``fxa-auth ban``: keep a mail address, a client or a network from every action for a time, or let it in again.

Running daemons see a change at once, as it is made in the store that they ask.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fxa_auth import emailaddress
from fxa_auth.clock import time_ms
from fxa_auth.commands.durations import duration_ms
from fxa_auth.commands.running import (
    CommandFailed,
    add_settings_options,
    complain,
    run_on_storage,
    say,
    shown_time,
    text,
)
from fxa_auth.config import Settings
from fxa_auth.customs.networks import network_key, network_of, parse_network, shown_network
from fxa_auth.customs.policy import BAN
from fxa_auth.records import Ban
from fxa_auth.storage import Storage

if TYPE_CHECKING:
    from fxa_auth.commands import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    ban = subparsers.add_parser("ban", help="ban a mail address, a client or a network")
    actions = ban.add_subparsers(metavar="ACTION", required=True)

    def add(name: str, run: Callable[[argparse.Namespace], int], summary: str, details: str) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {details}")
        add_settings_options(action)
        action.set_defaults(run=run)
        return action

    adding = add("add", _add, "ban somebody", "A ban that is there already is replaced.")
    removing = add("remove", _remove, "lift a ban", "Name it as ban list does.")
    for action in (adding, removing):
        action.add_argument(
            "subject",
            metavar="ADDRESS|IP|NETWORK",
            type=_subject,
            help="a mail address, an IP address (of IPv6 its /64 is meant), or a network such as 192.0.2.0/24",
        )
    adding.add_argument(
        "--for",
        dest="length_ms",
        metavar="DURATION",
        type=duration_ms,
        help="such as 12h or 7d; the setting limits.bans.length unless given",
    )
    adding.add_argument("--reason", metavar="TEXT", type=text, default="", help="a note for ban list")
    add("list", _list, "print the bans in force", "The first to end comes first.")


def _subject(argument: str) -> str:
    """The lower-cased mail address, or the key of the network."""
    if emailaddress.is_valid(text(argument)):
        return emailaddress.normalize(argument)
    try:
        return network_key(parse_network(argument))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{argument!r} is neither a mail address nor an IP address or network"
        ) from None


def _add(options: argparse.Namespace) -> int:
    async def work(reactor: Any, settings: Settings, storage: Storage) -> None:
        now_ms = time_ms(reactor)
        length_ms = options.length_ms or settings.limits.bans.length
        banned = Ban(options.subject, options.reason, now_ms, now_ms + length_ms)
        await storage.store.bans.add(banned)
        say(told(banned))
        warn_unless_heeded(settings)

    return run_on_storage(options, work)


def _remove(options: argparse.Namespace) -> int:
    async def work(reactor: Any, settings: Settings, storage: Storage) -> None:
        if not await storage.store.bans.remove(options.subject, time_ms(reactor)):
            raise CommandFailed(f"there is no ban on {_shown(options.subject)}; see fxa-auth ban list")
        say(f"{_shown(options.subject)}: the ban is lifted")

    return run_on_storage(options, work)


def _list(options: argparse.Namespace) -> int:
    async def work(reactor: Any, settings: Settings, storage: Storage) -> None:
        bans = await storage.store.bans.in_force(time_ms(reactor))
        for line in map(told, bans):
            say(line)
        if not bans:
            say("Nobody is banned.")
        warn_unless_heeded(settings)

    return run_on_storage(options, work)


def told(ban: Ban) -> str:
    """A ban as one line."""
    reason = f" ({ban.reason})" if ban.reason else ""
    return f"{BAN:<8}{_shown(ban.subject)}: until {shown_time(ban.expires_at_ms)}{reason}"


def warn_unless_heeded(settings: Settings) -> None:
    """Say so if bans and limits have no effect with these settings."""
    if settings.customs_url != "builtin":
        complain(f'customsUrl = "{settings.customs_url}": limits and bans hold only where it is "builtin"')
    elif settings.limits.bans.report_only:
        complain("limits.bans.reportOnly = true: bans are only logged, they block nobody")


def _shown(subject: str) -> str:
    return subject if "@" in subject else shown_network(network_of(subject))

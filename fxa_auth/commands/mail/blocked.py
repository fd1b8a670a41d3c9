"""``fxa-auth mail blocked`` and ``unblock``: the accounts that get no mail since one bounced, and an end to that.

Daemons may serve meanwhile: what is done here they find in the database.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fxa_auth.bounces import Bounces
from fxa_auth.commands.running import CommandFailed, add_settings_options, run_on_storage, say, shown_time
from fxa_auth.config import Settings
from fxa_auth.storage import Storage

if TYPE_CHECKING:
    from fxa_auth.commands import Subparsers


def add_blocked(actions: Subparsers) -> None:
    summary = "list the accounts that get no mail for a while, and why"
    blocked = actions.add_parser("blocked", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    add_settings_options(blocked)
    blocked.set_defaults(run=lambda options: run_on_storage(options, _list))


def add_unblock(actions: Subparsers) -> None:
    summary = "let an account have mail again"
    details = "Mail that was dropped meanwhile does not come back: its owner has to ask for it anew."
    unblock = actions.add_parser("unblock", help=summary, description=f"{summary[0].upper()}{summary[1:]}. {details}")
    unblock.add_argument("address", metavar="ADDRESS", help="in any case of letters")
    add_settings_options(unblock)
    unblock.set_defaults(run=_unblock)


async def _list(reactor: Any, settings: Settings, storage: Storage) -> None:
    found = await _bounces(reactor, settings, storage).suppressions()
    if found:
        say(_row("until", "since", "address", "reason"))
    for suppression in found:
        until, since = shown_time(suppression.until_ms), shown_time(suppression.reported_at_ms)
        say(_row(until, since, suppression.email, suppression.reason))
    say(f"blocked: {len(found)}")


def _unblock(options: argparse.Namespace) -> int:
    async def work(reactor: Any, settings: Settings, storage: Storage) -> None:
        lifted = await _bounces(reactor, settings, storage).unblock(options.address)
        if lifted is None:
            raise CommandFailed(f"no account has the address {options.address}")
        say(f"{options.address}: {'gets mail again' if lifted else 'was not blocked'}")

    return run_on_storage(options, work)


def _bounces(reactor: Any, settings: Settings, storage: Storage) -> Bounces:
    return Bounces(storage.store, reactor, settings.bounces.suppression_time)


def _row(until: str, since: str, address: str, reason: str) -> str:
    return f"{until:<20}  {since:<20}  {address}  {reason}"

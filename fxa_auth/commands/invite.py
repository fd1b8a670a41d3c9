"""``fxa-auth invite``: letting people in by invitation, where ``registration.mode`` names ``invite``.

What an invite is good for is the business of ``registration``; here it is asked for, and told. A code is printed once,
when it is made: the database has only its hash.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from fxa_auth import emailaddress
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
from fxa_auth.invitations import Invitations
from fxa_auth.records import Invite
from fxa_auth.storage import Storage

if TYPE_CHECKING:
    from fxa_auth.commands import Subparsers

_ABOUT = "Invites count where registration.mode names invite. All of these are safe while daemons serve."
_DEFAULT_LIFETIME = "30d"
_FOR_EVER = "never"
_MOST_USES = 1_000_000

_Act = Callable[[Invitations, Settings, argparse.Namespace], Awaitable[None]]


def add_parser(subparsers: Subparsers) -> None:
    invite = subparsers.add_parser("invite", help="let people make accounts by invitation", description=_ABOUT)
    actions = invite.add_subparsers(metavar="ACTION", required=True)

    def add(name: str, act: _Act, summary: str, details: str) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {details}")
        action.set_defaults(run=_run, act=act)
        return action

    create = add(
        "create",
        _create,
        "make an invite",
        "The owner of the address given can then sign up with any client. Without an address, whoever knows the code "
        "can, which is shown only now; clients send it as inviteCode.",
    )
    create.add_argument("--email", metavar="ADDRESS", type=_address, help="whom to invite")
    create.add_argument(
        "--expires",
        metavar="DURATION",
        type=_lifetime_ms,
        default=_DEFAULT_LIFETIME,
        help=f"such as 12h or 7d, or {_FOR_EVER}; {_DEFAULT_LIFETIME} unless given",
    )
    create.add_argument(
        "--uses", metavar="NUMBER", type=_uses, default=1, help="how many accounts may be made; 1 unless given"
    )
    listing = add("list", _list, "print all invites", "Those that have ended are forgotten after 30 days.")
    revoke = add(
        "revoke",
        _revoke,
        "take back an invite, or all those for an address",
        "Accounts that have been made by it stay.",
    )
    revoke.add_argument("invite", metavar="ID|ADDRESS", type=text)
    for action in (create, listing, revoke):
        add_settings_options(action)


def _address(argument: str) -> str:
    if not emailaddress.is_valid(text(argument)):
        raise argparse.ArgumentTypeError(f"{argument!r} is not an address that can have an account")
    return argument


def _lifetime_ms(argument: str) -> int | None:
    return None if argument == _FOR_EVER else duration_ms(argument)


def _uses(argument: str) -> int:
    if not re.fullmatch("[0-9]{1,7}", argument) or not 0 < int(argument) <= _MOST_USES:
        raise argparse.ArgumentTypeError(f"{argument!r} is not a number, 1 to {_MOST_USES:,}")
    return int(argument)


def _run(options: argparse.Namespace) -> int:
    act: _Act = options.act

    async def work(reactor: Any, settings: Settings, storage: Storage) -> None:
        await act(Invitations(storage.store, os.urandom, reactor), settings, options)

    return run_on_storage(options, work)


async def _create(invitations: Invitations, settings: Settings, options: argparse.Namespace) -> None:
    if options.email is not None and await invitations.has_account(options.email):
        raise CommandFailed(f"{options.email} has an account already: there is nothing to invite its owner to")
    made = await invitations.create(options.email, options.expires, options.uses)
    whom = "whoever has its code" if options.email is None else options.email
    count = "one account" if options.uses == 1 else f"{options.uses:,} accounts"
    say(f"invite {made.invite.id.hex()}: lets {whom} make {count}, {_until(made.invite)}")
    if made.code is not None:
        say(f"code {made.code}")
    if "invite" not in settings.registration.mode:
        mode = ", ".join(settings.registration.mode)
        complain(
            f"registration.mode is {mode} here: as long as the daemon's does not name invite, this counts for nothing"
        )


async def _list(invitations: Invitations, settings: Settings, options: argparse.Namespace) -> None:
    for invite in await invitations.all():
        whom = invite.normalized_email or "(by code)"
        end = "  expired" if invitations.is_expired(invite) else "" if invite.uses_left else "  used up"
        used = f"{invite.uses - invite.uses_left} of {invite.uses} used"
        say(f"{invite.id.hex()}  {whom}  {used}  {_until(invite)}{end}")


async def _revoke(invitations: Invitations, settings: Settings, options: argparse.Namespace) -> None:
    revoked = await invitations.revoke(options.invite)
    if not revoked:
        raise CommandFailed(f"there is no invite {options.invite}, and none for such an address")
    for invite_id in revoked:
        say(f"invite {invite_id.hex()}: revoked")


def _until(invite: Invite) -> str:
    if invite.expires_at_ms is None:
        return "for ever"
    return f"until {shown_time(invite.expires_at_ms)}"

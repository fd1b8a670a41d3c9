"""``fxa-auth account``: what an operator can do for a user whose mail does not arrive, or who wants to be forgotten.

What each action does to an account is the business of ``administration``; here it is asked for, and told. No secret is
ever printed: no code, no key, no id of a token.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from treq.client import HTTPClient
from twisted.web.client import Agent

from fxa_auth.administration import Administration
from fxa_auth.commands.running import (
    CommandFailed,
    add_settings_options,
    ask_before_removal,
    run_on_storage,
    say,
    shown_time,
    text,
)
from fxa_auth.config import Settings
from fxa_auth.customs.chosen import chosen_customs
from fxa_auth.publicurl import parse_public_url
from fxa_auth.records import Account, Suppression, Tally, TokenKind
from fxa_auth.storage import Storage
from fxa_auth.tokens import Lifetimes

if TYPE_CHECKING:
    from fxa_auth.commands import Subparsers

_ABOUT = "All of these are safe while daemons serve the same database."


def add_parser(subparsers: Subparsers) -> None:
    account = subparsers.add_parser("account", help="look at an account, or help its owner", description=_ABOUT)
    actions = account.add_subparsers(metavar="ACTION", required=True)
    for name, act, summary, details in (
        ("show", _show, "print what is known of an account", "No secret is printed."),
        (
            "verify",
            _verify,
            "mark the address as verified, as the mailed link does",
            "Services that follow the events are told.",
        ),
        (
            "unlock",
            _unlock,
            "unlock a locked account, as the mailed link does",
            "The abuse policy forgets the failed logins.",
        ),
        (
            "sign-out",
            _sign_out,
            "end all sessions of an account",
            "Its sessionTokens and keyFetchTokens are removed; every client has to sign in again.",
        ),
        (
            "delete",
            _delete,
            "remove an account with all that belongs to it",
            "Services that follow the events are told, as when owners remove their accounts themselves. "
            "What was stored under the account's keys elsewhere can never be read again.",
        ),
    ):
        action = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {details}")
        action.add_argument(
            "account", metavar="ADDRESS|UID", type=text, help="the address in any case of letters, or 32 hex digits"
        )
        add_settings_options(action)
        action.set_defaults(run=_run, act=act)
        if act is _delete:
            action.add_argument("--yes", action="store_true", help="do not ask")
            action.set_defaults(run=_run_if_confirmed)


def _run_if_confirmed(options: argparse.Namespace) -> int:
    warning = f"This removes the account {options.account} and all that belongs to it, for good."
    refusal = None if options.yes else ask_before_removal("account delete", warning, "Remove it?")
    return _run(options) if refusal is None else refusal


def _run(options: argparse.Namespace) -> int:
    act: Callable[[Administration, Account], Awaitable[list[str]]] = options.act

    async def work(reactor: Any, settings: Settings, storage: Storage) -> None:
        http = HTTPClient(Agent(reactor))
        administration = Administration(
            storage.store,
            chosen_customs(settings.customs_url, settings.limits, storage.store.limits, os.urandom, reactor, http),
            Lifetimes(settings.token_lifetimes.by_kind),
            reactor,
            parse_public_url(settings.public_url).domain,
        )
        account = await administration.find(options.account)
        if account is None:
            raise CommandFailed(f"no account has the address or uid {options.account}")
        for line in await act(administration, account):
            say(line)

    return run_on_storage(options, work)


async def _show(administration: Administration, account: Account) -> list[str]:
    belongings = await administration.belongings(account)
    tokens = dict(belongings.tokens)
    sessions = tokens.pop(TokenKind.SESSION, None)
    waiting = [f"{kind.value} {_counted(tally)}" for kind, tally in tokens.items()]
    rows = {
        "uid": account.uid.hex(),
        "address": account.email,
        "verified": "yes" if account.email_verified else "no",
        "created": shown_time(account.created_at_ms),
        "password set": f"{shown_time(account.verifier_set_at_ms)}, verifier version {account.verifier.version}",
        "locale": account.locale or "unknown",
        "locked": "no" if account.locked_at_ms is None else f"since {shown_time(account.locked_at_ms)}",
        "sessions": _counted(sessions),
        "waiting tokens": ", ".join(sorted(waiting)) or "none",
        "queued mails": _counted(belongings.queued_mails),
        "dead letters": _counted(belongings.dead_letters),
        "mail blocked": _blocked(belongings.suppression),
    }
    return [f"{name:<16}{value}" for name, value in rows.items()]


async def _verify(administration: Administration, account: Account) -> list[str]:
    changed = await administration.verify(account)
    return [f"{_named(account)}: {'verified' if changed else 'was verified already'}"]


async def _unlock(administration: Administration, account: Account) -> list[str]:
    changed = await administration.unlock(account)
    return [f"{_named(account)}: {'unlocked' if changed else 'was not locked'}"]


async def _sign_out(administration: Administration, account: Account) -> list[str]:
    sessions, key_fetches = await administration.sign_out(account)
    return [f"{_named(account)}: sessions ended: {sessions}, keyFetchTokens removed: {key_fetches}"]


async def _delete(administration: Administration, account: Account) -> list[str]:
    if not await administration.delete(account):
        raise CommandFailed(f"{_named(account)}: somebody else has just removed it")
    return [f"{_named(account)}: removed"]


def _named(account: Account) -> str:
    return f"{account.email} (uid {account.uid.hex()})"


def _counted(tally: Tally | None) -> str:
    return "none" if tally is None else f"{tally.count} (oldest {shown_time(tally.oldest_at_ms)})"


def _blocked(suppression: Suppression | None) -> str:
    return "no" if suppression is None else f"until {shown_time(suppression.until_ms)} ({suppression.reason})"

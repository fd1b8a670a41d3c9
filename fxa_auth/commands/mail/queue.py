"""``fxa-auth mail queue``, ``retry`` and ``drop``: the mails that wait and the dead letters, and what becomes of them.

Daemons may serve meanwhile: what is done here they find in the database. No code is ever printed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from fxa_auth.clock import time_ms
from fxa_auth.commands.running import (
    CommandFailed,
    add_settings_options,
    ask_before_removal,
    run_on_storage,
    say,
)
from fxa_auth.config import Settings
from fxa_auth.records import StoredMail
from fxa_auth.storage import Storage
from fxa_auth.store.mails import MailTable

if TYPE_CHECKING:
    from fxa_auth.commands import Subparsers

_BATCH = 500
"""Mails that are read from the database at a time."""

_UNITS_MS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))


def add_queue(actions: Subparsers) -> None:
    summary = "list the mails that wait, and the dead letters"
    details = "The oldest come first. Attempts are those at which the mail server got to hear of the mail."
    _add(actions, "queue", summary, details).set_defaults(run=lambda options: run_on_storage(options, _list))


def add_retry(actions: Subparsers) -> None:
    summary = "have mails tried again now, dead letters too"
    details = (
        "A daemon that serves takes them up within seconds, or at the next of its attempts, about a minute apart, "
        "if it holds the mail server to be down. A dead letter counts as queued anew."
    )
    retry = _add(actions, "retry", summary, details)
    _add_choice(retry)
    retry.set_defaults(run=_retry)


def add_drop(actions: Subparsers) -> None:
    summary = "remove mails, and dead letters, from the queue"
    drop = _add(actions, "drop", summary, "Nobody gets them any more.")
    _add_choice(drop)
    drop.add_argument("--yes", action="store_true", help="do not ask, if --all is given")
    drop.set_defaults(run=_drop)


def _add(actions: Subparsers, name: str, summary: str, details: str) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {details}")
    add_settings_options(action)
    return action


def _add_choice(action: argparse.ArgumentParser) -> None:
    choice = action.add_mutually_exclusive_group(required=True)
    help_text = "the 32 hex digits that mail queue shows; repeatable"
    choice.add_argument("ids", metavar="ID", nargs="*", type=_mail_id, default=[], help=help_text)
    choice.add_argument("--all", action="store_true", help="all that wait, and all dead letters")


def _mail_id(text: str) -> bytes:
    if not re.fullmatch("[0-9A-Fa-f]{32}", text):
        raise argparse.ArgumentTypeError(f"not the id of a mail, which is 32 hex digits: {text!a}")
    return bytes.fromhex(text)


# What they do.


async def _list(reactor: Any, settings: Settings, storage: Storage) -> None:
    mails, now_ms = storage.store.mails, time_ms(reactor)
    waiting = dead = 0
    page: Sequence[StoredMail] = await mails.page(None, _BATCH)
    if page:
        say(_row("id", "kind", "age", "attempts", "next try", "address", "last answer"))
    while page:
        for mail in page:
            say(_shown(mail, now_ms))
        dead_here = sum(mail.dead_at_ms is not None for mail in page)
        dead, waiting = dead + dead_here, waiting + len(page) - dead_here
        page = await mails.page(page[-1], _BATCH)
    say(f"waiting: {waiting}, dead letters: {dead}")


def _shown(mail: StoredMail, now_ms: int) -> str:
    kind, address = ("?", "(cannot be read)") if mail.letter is None else (mail.letter.kind.value, mail.letter.to)
    age = _span(now_ms - mail.queued_at_ms)
    return _row(mail.id.hex(), kind, age, str(mail.attempts), _next_try(mail, now_ms), address, mail.last_answer or "-")


def _next_try(mail: StoredMail, now_ms: int) -> str:
    if mail.dead_at_ms is not None:
        return f"dead for {_span(now_ms - mail.dead_at_ms)}"
    if mail.due_at_ms <= now_ms:
        return "due"
    return "in delivery" if mail.is_claimed else f"in {_span(mail.due_at_ms - now_ms)}"


def _row(mail_id: str, kind: str, age: str, attempts: str, next_try: str, address: str, last_answer: str) -> str:
    return f"{mail_id:<32}  {kind:<6}  {age:>6}  {attempts:>8}  {next_try:<15}  {address}  {last_answer}"


def _span(duration_ms: int) -> str:
    """A duration for people, in the largest unit of which it is one at least."""
    for unit, unit_ms in _UNITS_MS:
        if duration_ms >= unit_ms:
            return f"{duration_ms // unit_ms} {unit}"
    return "0 s"


def _retry(options: argparse.Namespace) -> int:
    async def retry(mails: MailTable, mail_id: bytes | None, now_ms: int) -> int:
        return await mails.retry(mail_id, now_ms)

    return _change(options, retry, "due now", "no mail with this id waits or is dead, or it is in delivery just now")


def _drop(options: argparse.Namespace) -> int:
    async def drop(mails: MailTable, mail_id: bytes | None, now_ms: int) -> int:
        return await mails.drop(mail_id)

    if options.all and not options.yes:
        warning = "This removes all mails that wait, and all dead letters. Nobody gets them any more."
        refusal = ask_before_removal("mail drop --all", warning, "Remove them?")
        if refusal is not None:
            return refusal
    return _change(options, drop, "removed", "no mail has this id")


def _change(
    options: argparse.Namespace,
    change: Callable[[MailTable, bytes | None, int], Awaitable[int]],
    done: str,
    unknown: str,
) -> int:
    """Do something with the chosen mails; ``change`` says how many it has found with an id, None meaning all."""

    async def work(reactor: Any, settings: Settings, storage: Storage) -> None:
        ids = [None] if options.all else options.ids
        found = {mail_id: await change(storage.store.mails, mail_id, time_ms(reactor)) for mail_id in ids}
        say(f"{done}: {sum(found.values())}")
        if missing := [mail_id.hex() for mail_id, count in found.items() if mail_id is not None and not count]:
            raise CommandFailed(f"{unknown}: {', '.join(missing)}")

    return run_on_storage(options, work)

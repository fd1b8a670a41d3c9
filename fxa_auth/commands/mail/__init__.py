"""``fxa-auth mail``: what an operator does about mails. Each action is a module of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fxa_auth.commands.mail import blocked, preview, queue, test

if TYPE_CHECKING:
    from fxa_auth.commands import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    mail = subparsers.add_parser("mail", help="look after mails: queued ones, their form, the way to the mail server")
    actions = mail.add_subparsers(metavar="ACTION", required=True)
    for add in ACTIONS:
        add(actions)


ACTIONS: tuple[Callable[[Subparsers], None], ...] = (
    queue.add_queue,
    queue.add_retry,
    queue.add_drop,
    blocked.add_blocked,
    blocked.add_unblock,
    preview.add_parser,
    test.add_parser,
)
"""Each adds the parser of one action, as a command does with its own."""

"""``fxa-auth mail test``: send a sample mail the way that the daemon's go, and show what is said on it.

It needs no database, and no daemon that runs. What went wrong is told in one line, with the setting to look at.
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError

from fxa_auth import emailaddress
from fxa_auth.commands.mail.mends import mend
from fxa_auth.commands.running import CommandFailed, add_settings_options, run_without_storage, say
from fxa_auth.config import Loaded
from fxa_auth.mail.failures import CANCELLED, MailNotSent
from fxa_auth.mail.smtp import SmtpSender
from fxa_auth.mailing import mail_server, make_composer
from fxa_auth.records import Letter, MailKind
from fxa_auth.texts import Texts, UnusableTexts
from fxa_auth.tls import TlsFileError

if TYPE_CHECKING:
    from fxa_auth.commands import Subparsers

_ABOUT = (
    "Sends one sample mail through the mail server of the settings, shows the dialogue with it (without credentials "
    "and body), and says what is wrong if the server does not take it. The link in the mail belongs to no account."
)


def add_parser(subparsers: Subparsers) -> None:
    action = subparsers.add_parser(
        "test", help="send a sample mail and show what is said on the way", description=_ABOUT
    )
    action.add_argument("address", metavar="ADDRESS", type=_address, help="to whom")
    action.add_argument("--language", metavar="L", help="of the mail, as in Accept-Language: fr, or pt-BR,pt;q=0.5")
    add_settings_options(action)
    action.set_defaults(run=_run)


def _address(text: str) -> str:
    # What the shell hands over but no encoding can say comes as lone surrogates.
    if not emailaddress.is_valid(text) or re.search("[\ud800-\udfff]", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no mail address")
    return text


def _run(options: argparse.Namespace) -> int:
    letter = Letter(MailKind.VERIFY, bytes(16), options.address, bytes(16), accept_language=options.language)

    async def work(reactor: Any, loaded: Loaded) -> None:
        try:
            server, texts = mail_server(loaded.settings), Texts(loaded.settings)
        except (TlsFileError, UnusableTexts) as error:
            raise CommandFailed(loaded.complaint(error.setting, error)) from None
        message = make_composer(loaded.settings, texts, reactor).compose(letter)
        sender = SmtpSender(reactor, server, say)
        try:
            await sender.send(message)
        except MailNotSent as error:
            if error.reason == CANCELLED:
                raise CancelledError from None
            setting, advice = mend(error, loaded.settings.smtp)
            problem = f"{error}; {advice}"
            raise CommandFailed(loaded.complaint(setting, problem) if setting else problem) from None
        finally:
            await sender.stop()
        say(f"ok: {server.host}:{server.port} has taken over a mail for {options.address}")

    return run_without_storage(options, work)

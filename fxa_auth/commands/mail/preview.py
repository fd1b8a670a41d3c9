"""``fxa-auth mail preview``: the mails as files, as they would be sent with these settings.

Nothing is sent, and neither a store nor a mail server has to be there.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.task import Clock

from fxa_auth.catalogues import Language, Languages
from fxa_auth.commands.running import add_settings_options, complain, say
from fxa_auth.config import ConfigError
from fxa_auth.configfiles import load_settings
from fxa_auth.mail.compose import Composer
from fxa_auth.mailing import make_composer
from fxa_auth.records import Letter, LinkOptions, MailKind
from fxa_auth.texts import Texts, UnusableTexts

if TYPE_CHECKING:
    from fxa_auth.commands import Subparsers

_SUMMARY = "write the mails into files, as readers would get them"
_ABOUT = (
    "For each language there is a folder in DIR, with each mail as text (.txt), as HTML (.html) and as it is sent"
    " (.eml). The codes in the links are made up."
)


def add_parser(subparsers: Subparsers) -> None:
    action = subparsers.add_parser(
        "preview", help=_SUMMARY, description=f"{_SUMMARY[0].upper()}{_SUMMARY[1:]}. {_ABOUT}"
    )
    which = action.add_mutually_exclusive_group()
    which.add_argument("--language", metavar="TAG", help="the language, such as pt-BR; else i18n.defaultLanguage")
    which.add_argument("--all", action="store_true", help="all languages")
    action.add_argument("--out", metavar="DIR", type=Path, required=True, help="the folder to write to")
    add_settings_options(action)
    action.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        loaded = load_settings(options.config, options.profile, os.environ)
    except ConfigError as error:
        for complaint in error.complaints:
            complain(complaint)
        return 1
    try:
        texts = Texts(loaded.settings)
    except UnusableTexts as error:
        complain(loaded.complaint(error.setting, error))
        return 1
    tag = options.language or loaded.settings.i18n.default_language
    languages = list(texts.languages) if options.all else _named(texts.languages, tag)
    if not languages:
        complain(f"there is no language {tag}: name one of {', '.join(each.tag for each in texts.languages)}")
        return 1
    clock = Clock()
    clock.advance(time.time())
    try:
        _write(make_composer(loaded.settings, texts, clock), languages, options.out)
    except OSError as error:
        complain(f"{error.filename}: cannot be written: {error.strerror}")
        return 1
    say(f"{options.out}: {len(MailKind)} mails, each in {len(languages)} language{'s' * (len(languages) > 1)}")
    return 0


def _named(languages: Languages, tag: str) -> list[Language]:
    found = languages.named(tag)
    return [] if found is None else [found]


def _write(composer: Composer, languages: list[Language], out: Path) -> None:
    for language in languages:
        folder = out / language.tag
        folder.mkdir(parents=True, exist_ok=True)
        for kind in MailKind:
            for suffix, content in _forms(composer.compose(_sample(kind, language)).content):
                (folder / f"{kind.value}.{suffix}").write_bytes(content)


def _sample(kind: MailKind, language: Language) -> Letter:
    uid, code, token = bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 64))
    return Letter(kind, uid, "reader@example.com", code, token, LinkOptions(service="sync"), language.tag)


def _forms(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The message as it is, and its bodies, by the endings of their files."""
    yield "eml", content
    message = message_from_bytes(content, EmailMessage, policy=policy.default)
    for suffix, subtype in (("txt", "plain"), ("html", "html")):
        body = message.get_body((subtype,))
        assert body is not None
        yield suffix, body.get_content().replace("\r\n", "\n").encode()

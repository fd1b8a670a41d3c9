"""Nobody can have this server mail their own words: what a client sends is an address, or escaped within the link."""

from __future__ import annotations

import html
import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cache
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.emailaddress import is_valid
from fxa_auth.mail.compose import Composer, mailbox
from fxa_auth.records import Letter, LinkOptions, MailKind
from tests.mail.test_wording import Page
from tests.texts import default_texts, make_composer

UID, CODE, TOKEN = bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 64))

_NOT_LOCAL = r"[^\x80-\U0010ffff.!#$%&'*+/=?^_`{|}~0-9A-Za-z-]"
_NOT_DOMAIN = r"[\x00-\x7f]"
"""What an address cannot have, by the rules of the API (docs/api.md, "Values")."""

WORDS = (
    *("\r\n", "\n", "\r", "\0", "\x85", "\u2028", "\u2029", "\r\n\r\n", "\n.\n", "\nFrom ", "\t", " "),
    *("Bcc: eve@example.com", "Subject: x", "=?utf-8?q?x?=", "--=_fxa-auth", "--=_fxa-auth--", "=", "=\r\n", "=3D"),
    *("<script>alert(1)</script>", "<a href=https://evil.example>", "</a>", "</td>", '"', "'", "<!--", "&lt;", "&#60;"),
    *("{{ 7 * 7 }}", "{% raw %}", "{# x #}", "%(product)s", "%(link)s", "%s", "%", "%0d%0a", "{}", "${x}", "\\"),
    *("\u202e", "\u202a", "\u2066", "\u2069", "\u200f", "\u061c", "\ufeff", "é", "あ", "א", "\U0001f600"),
    *("https://evil.example/", "//evil.example", "javascript:alert(1)", "@", ",", ";", "+"),
)
hostile = st.lists(
    st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=12
).map("".join)
addresses = st.builds(
    lambda local, domain: f"x{re.sub(_NOT_LOCAL, '', local)[:100]}@{re.sub(_NOT_DOMAIN, '', domain)[:100]}example.com",
    hostile,
    hostile,
) | st.integers(1, 243).map(lambda length: "a" * length + "@example.com")
letters = st.builds(
    Letter,
    kind=st.sampled_from(MailKind),
    uid=st.just(UID),
    to=addresses,
    code=st.just(CODE),
    token=st.just(TOKEN),
    options=st.builds(LinkOptions, st.none() | hostile, st.none() | hostile, st.none() | hostile),
    accept_language=st.none() | st.sampled_from([each.tag for each in default_texts().languages]) | hostile,
)


@cache
def composer() -> Composer:
    return make_composer("https://content.example.com", "Accounts <accounts@example.com>", Clock())


def harmless(letter: Letter) -> Letter:
    """The same mail for somebody who sends nothing but an address."""
    language = default_texts().languages.choose(letter.accept_language).tag
    return Letter(letter.kind, UID, "bob@example.com", CODE, TOKEN, LinkOptions(), language)


def parsed(letter: Letter) -> EmailMessage:
    return message_from_bytes(composer().compose(letter).content, EmailMessage, policy=policy.default)


parsed_once = cache(parsed)


def link_of(letter: Letter) -> str:
    """The link, put together in another way than the composer does it."""
    named = {
        "service": letter.options.service,
        "redirectTo": letter.options.redirect_to,
        "resume": letter.options.resume,
    }
    if letter.kind is MailKind.RESET:
        path, own = "complete_reset_password", {"token": TOKEN.hex(), "code": CODE.hex(), "email": letter.to}
    else:
        path = "verify_email" if letter.kind is MailKind.VERIFY else "complete_unlock_account"
        own = {"uid": UID.hex(), "code": CODE.hex()}
    given_ones = {name: value for name, value in {**own, **named}.items() if value is not None}
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in given_ones.items())
    return f"https://content.example.com/v1/{path}?{query}"


class RelayTests(SynchronousTestCase):
    """A letter with anything in it is either refused or becomes the mail that it would be without, but for the link."""

    def assert_harmless(self, letter: Letter) -> None:
        message, plain = parsed(letter), parsed_once(harmless(letter))
        link, plain_link = link_of(letter), link_of(harmless(letter))
        text, page = (part.get_content() for part in message.iter_parts())
        plain_text, plain_page = (part.get_content() for part in plain.iter_parts())
        self.assertEqual(text.replace(link, plain_link), plain_text)
        self.assertEqual(page.replace(html.escape(link), html.escape(plain_link)), plain_page)
        self.assertEqual(text.count("://"), 1)
        self.assertEqual((Page(page).links, Page(page).faults), ([link, link], []))
        has_service = letter.options.service is not None and letter.kind is not MailKind.RESET
        self.assertEqual(sorted(message.keys()), sorted([*plain.keys(), *["X-Service-ID"] * has_service]))
        for name in set(plain.keys()) - {"To", "X-Link"}:
            self.assertEqual(message[name], plain[name])
        self.assertEqual((message["X-Link"], message.defects), (link, []))
        self.assertIn(message["To"], (mailbox(letter.to), "undisclosed-recipients:;"))
        self.assertIsNone(re.search("[\u202a-\u202e\u2066-\u2069\u2028]", message["To"]))

    @given(addresses)
    def test_the_addresses_are_such_as_the_api_takes(self, address: str) -> None:
        self.assertTrue(is_valid(address), address)

    @settings(deadline=None)
    @given(letters)
    def test_whatever_a_client_sends(self, letter: Letter) -> None:
        service = letter.options.service or ""
        if letter.kind is not MailKind.RESET and re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", service):
            with self.assertRaises(ValueError):
                composer().compose(letter)
        else:
            self.assert_harmless(letter)

    def test_each_hostile_word_alone(self) -> None:
        """Not left to chance."""
        for word in WORDS:
            for kind in MailKind:
                letter = Letter(kind, UID, "bob@example.com", CODE, TOKEN, LinkOptions(None, word, word), "he")
                self.assert_harmless(letter)

    def test_an_address_of_255_characters(self) -> None:
        for local, domain in (("a" * 243, "example.com"), ("a", "b" * 249 + ".com"), ("é" * 243, "example.com")):
            to = f"{local}@{domain}"
            self.assertEqual((is_valid(to), len(to)), (True, 255))
            for kind in MailKind:
                letter = Letter(kind, UID, to, CODE, TOKEN)
                self.assert_harmless(letter)
                self.assertIn(f"\r\nTo: {to}\r\n".encode(), composer().compose(letter).content)

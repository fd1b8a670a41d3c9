"""Messages: links, header fields, bodies; and that no address can write a header of its own."""

from __future__ import annotations

import dataclasses
from email import message_from_bytes, policy
from email.message import EmailMessage
from urllib.parse import parse_qsl, urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.emailaddress import is_valid
from fxa_auth.mail.addresses import mailbox
from fxa_auth.mail.compose import MAX_LINE, Composer, Message
from fxa_auth.records import Letter, LinkOptions, MailKind
from tests.texts import default_texts, make_composer

UID = bytes(range(16))
CODE = bytes(range(16, 32))
TOKEN = bytes(range(32, 64))
NOW_S = 1_430_000_000.5

STANDING = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Language", "X-Link", "X-Uid"]
MIME = ["MIME-Version", "Content-Type"]
CODE_HEADERS = {
    MailKind.VERIFY: "X-Verify-Code",
    MailKind.RESET: "X-Recovery-Code",
    MailKind.UNLOCK: "X-Unlock-Code",
}

ASCII_LOCAL = "abcXYZ019.!#$%&'*+-/=?^_`{|}~"
NON_ASCII = st.characters(min_codepoint=0x80, exclude_categories=["Cs"])
STEERING = "\x00\r\n\x1b\x7f\x80\x85\x9f\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069"
"""Some of the characters that no header field may have: controls, separators, direction of writing."""
ADDRESSABLE = st.characters(
    min_codepoint=0xA0,
    exclude_categories=["Cs", "Zl", "Zp"],
    exclude_characters="\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
)
LABEL = st.text(st.one_of(st.sampled_from("abcXYZ019"), ADDRESSABLE), min_size=1, max_size=30)
addresses = st.builds(
    lambda local, labels: f"{local}@{'.'.join(labels)}",
    st.text(st.one_of(st.sampled_from(ASCII_LOCAL), ADDRESSABLE), min_size=1, max_size=120),
    st.lists(LABEL, min_size=1, max_size=4),
).filter(lambda address: is_valid(address) and len(f"To: {address}".encode()) <= MAX_LINE)
letters = st.builds(
    Letter,
    kind=st.sampled_from(MailKind),
    uid=st.binary(min_size=16, max_size=16),
    to=addresses,
    code=st.binary(min_size=16, max_size=16),
    token=st.binary(min_size=32, max_size=32),
    options=st.builds(
        LinkOptions,
        service=st.none() | st.from_regex(r"[A-Za-z0-9]{1,16}", fullmatch=True),
        redirect_to=st.none() | st.text(NON_ASCII, max_size=500).map(lambda path: f"https://firefox.com/{path}"),
        resume=st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=2048),
    ),
)


def composer(sender: str = "Firefox Accounts <accounts@example.com>") -> Composer:
    clock = Clock()
    clock.advance(NOW_S)
    return make_composer("https://content.example.com/", sender, clock, lambda size: b"\xab" * size)


def letter(kind: MailKind = MailKind.VERIFY, to: str = "bob@example.com", **options: str) -> Letter:
    return Letter(kind, UID, to, CODE, TOKEN if kind is MailKind.RESET else None, LinkOptions(**options))


def parsed(message: Message) -> EmailMessage:
    return message_from_bytes(message.content, EmailMessage, policy=policy.default)


def as_utf8(text: str) -> str:
    """The parser gives bytes outside ASCII back as surrogates."""
    return text.encode("utf-8", "surrogateescape").decode()


class LinkTests(SynchronousTestCase):
    def test_each_kind_has_its_path_and_its_parameters_in_order(self) -> None:
        uid_and_code = f"uid={UID.hex()}&code={CODE.hex()}"
        for kind, target in (
            (MailKind.VERIFY, f"/v1/verify_email?{uid_and_code}"),
            (
                MailKind.RESET,
                f"/v1/complete_reset_password?token={TOKEN.hex()}&code={CODE.hex()}&email=bob%40example.com",
            ),
            (MailKind.UNLOCK, f"/v1/complete_unlock_account?{uid_and_code}"),
        ):
            link = f"https://content.example.com{target}"
            options = "&service=sync&redirectTo=https%3A%2F%2Ffirefox.com%2Fa&resume=r"
            self.assertEqual(parsed(composer().compose(letter(kind)))["X-Link"], link)
            full = letter(kind, resume="r", redirect_to="https://firefox.com/a", service="sync")
            self.assertEqual(parsed(composer().compose(full))["X-Link"], link + options)

    def test_values_are_percent_encoded_utf8_and_a_space_is_never_a_plus(self) -> None:
        link = parsed(composer().compose(letter(resume="a b+c&d=é/")))["X-Link"]
        self.assertTrue(link.endswith("&resume=a%20b%2Bc%26d%3D%C3%A9%2F"), link)

    def test_the_address_in_a_reset_link_is_encoded(self) -> None:
        link = parsed(composer().compose(letter(MailKind.RESET, "a+b&x=1é@example.com")))["X-Link"]
        self.assertTrue(link.endswith("&email=a%2Bb%26x%3D1%C3%A9%40example.com"), link)

    def test_a_reset_letter_without_its_token_is_refused(self) -> None:
        with self.assertRaises(ValueError):
            composer().compose(Letter(MailKind.RESET, UID, "bob@example.com", CODE))


class HeaderTests(SynchronousTestCase):
    def test_a_message_has_exactly_these_header_fields(self) -> None:
        for kind in MailKind:
            content = composer().compose(letter(kind, service="sync")).content
            head = content.partition(b"\r\n\r\n")[0].decode().split("\r\n")
            service = [] if kind is MailKind.RESET else ["X-Service-ID"]
            self.assertEqual(
                [line.partition(":")[0] for line in head if not line.startswith(" ")],
                [*STANDING, CODE_HEADERS[kind], *service, *MIME],
            )

    def test_the_fields_say_what_the_protocol_wants(self) -> None:
        subjects = {
            MailKind.VERIFY: "Verify your account",
            MailKind.RESET: "Reset your password",
            MailKind.UNLOCK: "Re-verify your account",
        }
        for kind in MailKind:
            headers = parsed(composer().compose(letter(kind)))
            self.assertEqual(headers["Subject"], subjects[kind])
            self.assertEqual(headers["From"], "Firefox Accounts <accounts@example.com>")
            self.assertEqual(headers["To"], "bob@example.com")
            self.assertEqual(headers["Date"], "Sat, 25 Apr 2015 22:13:20 +0000")
            self.assertEqual(headers["Message-ID"], f"<{'ab' * 16}@example.com>")
            self.assertEqual(headers["Auto-Submitted"], "auto-generated")
            self.assertEqual(headers["Content-Language"], "en")
            self.assertEqual(headers["X-Uid"], UID.hex())
            self.assertEqual(headers[CODE_HEADERS[kind]], CODE.hex())
            self.assertNotIn("X-Service-ID", headers)
        self.assertEqual(parsed(composer().compose(letter(service="sync")))["X-Service-ID"], "sync")

    def test_a_link_of_up_to_a_whole_line_stands_plain_in_it(self) -> None:
        bare = len(parsed(composer().compose(letter(resume="x")))["X-Link"]) - 1
        longest = MAX_LINE - len("X-Link: ") - bare
        content = composer().compose(letter(resume="x" * longest)).content
        self.assertIn(b"\r\nX-Link: https://content.example.com/v1/verify_email?uid=", content)
        lines = content.partition(b"\r\n\r\n")[0].split(b"\r\n")
        self.assertEqual(max(map(len, lines)), MAX_LINE)

        longer = composer().compose(letter(resume="x" * (longest + 1)))
        self.assertIn(b"\r\nX-Link: =?utf-8?", longer.content)
        self.assertTrue(parsed(longer)["X-Link"].endswith("&resume=" + "x" * (longest + 1)))

    def test_header_and_envelope_name_the_recipient_alike(self) -> None:
        for address, expected in (
            ("bob@example.com", "bob@example.com"),
            (".a..b.@example.com", '".a..b."@example.com'),
            ("bob@exämple.com", "bob@xn--exmple-cua.com"),
            ("é@exämple.com", "é@exämple.com"),
        ):
            message = composer().compose(letter(to=address))
            self.assertEqual((message.recipient, mailbox(address)), (expected, expected))
            self.assertIn(f"\r\nTo: {expected}\r\n".encode(), message.content)

    def test_only_a_local_part_outside_ascii_takes_a_message_out_of_it(self) -> None:
        for address, is_ascii in (("bob@exämple.com", True), ("é@example.com", False)):
            self.assertIs(composer().compose(letter(to=address)).content.isascii(), is_ascii)

    def test_an_address_with_a_character_that_steers_stands_in_the_envelope_only(self) -> None:
        for char in STEERING:
            message = composer().compose(letter(to=f"a{char}Bcc:eve@example.com"))
            self.assertEqual(message.recipient, f"a{char}Bcc:eve@example.com")
            self.assertEqual(parsed(message)["To"], "undisclosed-recipients:;")
            self.assertNotIn(b"eve", message.content)

    def test_an_address_too_long_for_a_line_stands_in_the_envelope_only(self) -> None:
        message = composer().compose(letter(to="é" * 244 + "@example.com"))
        self.assertIn("\r\nTo: éé", message.content.decode())
        longer = composer().compose(letter(to="\U0001f600" * 250 + "@example.com"))
        self.assertEqual(parsed(longer)["To"], "undisclosed-recipients:;")

    def test_a_subject_outside_ascii_arrives(self) -> None:
        russian = dataclasses.replace(letter(), accept_language="ru")
        message = composer().compose(russian)
        self.assertTrue(message.content.partition(b"\r\n\r\n")[0].isascii())
        self.assertEqual(parsed(message)["Subject"], "Подтвердите свой аккаунт")

    def test_the_language_is_that_of_the_request(self) -> None:
        for asked, named in (("sr-LATN", "sr"), ("pt-BR,en", "pt-BR"), ("xx", "en"), (None, "en"), ("he", "he")):
            message = parsed(composer().compose(dataclasses.replace(letter(), accept_language=asked)))
            self.assertEqual(message["Content-Language"], named)

    def test_the_envelope_sender_is_the_bare_address(self) -> None:
        for sender in ("Firefox Accounts <accounts@example.com>", "accounts@example.com"):
            self.assertEqual(composer(sender).compose(letter()).sender, "accounts@example.com")

    def test_undeliverable_mails_go_back_where_the_return_path_says(self) -> None:
        texts = default_texts()
        means = texts.wordings, texts.languages, "https://x", "A <accounts@example.com>", Clock(), bytes
        for return_path, sender in ((None, "accounts@example.com"), ("b@c.example", "b@c.example"), ("<>", "")):
            message = Composer(*means, return_path).compose(letter())
            self.assertEqual(message.sender, sender)
            self.assertEqual(parsed(message)["From"], "A <accounts@example.com>")
            self.assertTrue(parsed(message)["Message-ID"].endswith("@example.com>"))

    def test_a_sender_name_outside_ascii_arrives(self) -> None:
        message = composer("Füchse Inc <accounts@example.com>").compose(letter())
        (sender,) = parsed(message)["From"].addresses
        self.assertEqual((sender.display_name, sender.addr_spec), ("Füchse Inc", "accounts@example.com"))

    def test_a_sender_that_cannot_send_is_refused_at_once(self) -> None:
        for sender in ("", "nobody", "Name <>", "Füchse <füchse@example.com>"):
            with self.assertRaises(ValueError):
                composer(sender)

    def test_the_repr_of_a_message_shows_no_code(self) -> None:
        self.assertNotIn(CODE.hex(), repr(composer().compose(letter())))


class BodyTests(SynchronousTestCase):
    def test_both_bodies_carry_the_link(self) -> None:
        for kind in MailKind:
            message = parsed(composer().compose(letter(kind, redirect_to="https://firefox.com/<'\">")))
            self.assertEqual(message.get_content_type(), "multipart/alternative")
            text, html = message.iter_parts()
            self.assertEqual((text.get_content_type(), html.get_content_type()), ("text/plain", "text/html"))
            link = message["X-Link"]
            self.assertIn(link, text.get_content().splitlines())
            escaped = link.replace("&", "&amp;")
            self.assertEqual(html.get_content().count(f'href="{escaped}"'), 2)
            self.assertIn(f">{escaped}</a>", html.get_content())

    def test_every_english_mail_says_verify(self) -> None:
        for kind in MailKind:
            for part in parsed(composer().compose(letter(kind))).iter_parts():
                self.assertIn("Verify", part.get_content(), f"{kind}, {part.get_content_type()}")

    def test_the_html_loads_nothing_from_elsewhere(self) -> None:
        for kind in MailKind:
            _, html = parsed(composer().compose(letter(kind))).iter_parts()
            for culprit in ("<img", "<script", "<link", "url(", "src="):
                self.assertNotIn(culprit, html.get_content())

    def test_only_html_is_escaped(self) -> None:
        text, html = parsed(composer().compose(letter())).iter_parts()
        self.assertIn(f"uid={UID.hex()}&code={CODE.hex()}", text.get_content())
        self.assertNotIn(f"uid={UID.hex()}&code={CODE.hex()}", html.get_content())


class PropertyTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(letters)
    def test_every_message_parses_back_to_its_letter(self, letter: Letter) -> None:
        message = composer().compose(letter)
        headers = parsed(message)
        service = letter.options.service if letter.kind is not MailKind.RESET else None
        names = [*STANDING, CODE_HEADERS[letter.kind], *(["X-Service-ID"] if service else []), *MIME]
        self.assertEqual(headers.keys(), names)
        self.assertEqual(headers["X-Service-ID"], service)
        self.assertEqual(headers["X-Uid"], letter.uid.hex())
        self.assertEqual(headers[CODE_HEADERS[letter.kind]], letter.code.hex())
        (to,) = headers["To"].addresses
        expected = letter.to.rpartition("@")[0], mailbox(letter.to).rpartition("@")[2]
        self.assertEqual((as_utf8(to.username), as_utf8(to.domain)), expected)
        self.assert_link_carries(headers["X-Link"], letter)
        text, _ = headers.iter_parts()
        self.assertIn(headers["X-Link"], text.get_content().splitlines())

    @settings(deadline=None)
    @given(letters)
    def test_no_line_is_too_long_or_ended_by_half(self, letter: Letter) -> None:
        for line in composer().compose(letter).content.split(b"\r\n"):
            self.assertFalse(b"\r" in line or b"\n" in line, line)
            self.assertLessEqual(len(line), MAX_LINE, line)

    def assert_link_carries(self, link: str, letter: Letter) -> None:
        self.assertTrue(link.isascii() and "+" not in link and " " not in link, link)
        options = letter.options
        expected = {"service": options.service, "redirectTo": options.redirect_to, "resume": options.resume}
        expected |= {"code": letter.code.hex()}
        if letter.kind is MailKind.RESET:
            assert letter.token is not None
            expected |= {"token": letter.token.hex(), "email": letter.to}
        else:
            expected |= {"uid": letter.uid.hex()}
        given_ones = {name: value for name, value in expected.items() if value is not None}
        self.assertEqual(dict(parse_qsl(urlsplit(link).query, strict_parsing=True)), given_ones)

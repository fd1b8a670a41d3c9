"""Hawk, against signatures made by two other implementations of it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from typing import Any

import mohawk
from hypothesis import example, given
from hypothesis.strategies import dictionaries, lists, sampled_from, text
from mohawk.exc import HawkFail
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth import hawk
from fxa_auth.publicurl import parse_public_url

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # webob imports cgi
    import hawkauthlib
    import webob

logging.getLogger("mohawk").addHandler(logging.NullHandler())  # it warns of each answer without a nonce

ID = "e4" * 32
KEY = bytes(range(0x7B, 0x9B))
"""Raw bytes, as an authKey is; no text in any encoding."""
JSON = "application/json"
BODY = '{"authPW": "é"}'.encode()

URLS = (
    "http://127.0.0.1:9000/v1/session/status",
    "https://api.accounts.example.com/v1/account/keys",
    "http://api.example.com/v1/account/keys",
    "http://api.example.com:443/v1/x",
    "https://api.example.com:80/v1/x",
    "https://example.com:8443/auth/v1/session/status",
    "https://Example.COM/base/path/v1/recovery_email/status",
    "http://127.0.0.1:9000/v1/account/status?uid=00ff&keys=true",
    "http://127.0.0.1:9000/v1/x?a=%C3%A9%20b&c=d/e?f&a=&b",
)


def target_of(url: str, method: str) -> hawk.Target:
    """What the server binds a request to this URL to."""
    public = parse_public_url(url)
    resource = "/" + url.split("/", 3)[3]
    return hawk.Target(method, resource, public.host, public.port)


def mohawk_sender(url: str, method: str, payload: tuple[bytes, str] | None, **more: Any) -> mohawk.Sender:
    credentials = {"id": ID, "key": KEY, "algorithm": "sha256"}
    content = {"always_hash_content": False} if payload is None else {"content": payload[0], "content_type": payload[1]}
    return mohawk.Sender(credentials, url, method, **content, **more)


def hawkauthlib_header(url: str, method: str, params: dict[str, str]) -> str:
    request = webob.Request.blank(url, method=method)
    header: str = hawkauthlib.sign_request(request, ID, KEY, params=params)
    return header


class ForeignSignatureTests(SynchronousTestCase):
    """Requests signed by mohawk and by hawkauthlib (the one PyFxA uses)."""

    def foreign(self, method: str, url: str, hashed: bool) -> Iterator[tuple[str, str]]:
        payload_hash = {"hash": hawk.payload_hash(JSON, BODY)} if hashed else {}
        yield "mohawk", mohawk_sender(url, method, (BODY, JSON) if hashed else None).request_header
        yield "mohawk, ext", mohawk_sender(url, method, (BODY, JSON) if hashed else None, ext="a b=c,d").request_header
        yield "hawkauthlib", hawkauthlib_header(url, method, payload_hash)
        yield "hawkauthlib, ext", hawkauthlib_header(url, method, {"ext": "and more", **payload_hash})

    def test_their_signatures_hold(self) -> None:
        for url in URLS:
            for method in ("GET", "POST", "HEAD"):
                for hashed in (False, True):
                    for signer, header in self.foreign(method, url, hashed):
                        sent = hawk.parse_authorization(header)
                        message = f"{signer}: {method} {url} {header}"
                        self.assertTrue(hawk.is_mac_right(KEY, sent, target_of(url, method)), message)
                        self.assertEqual(sent.hash is not None, hashed, message)
                        self.assertTrue(not sent.hash or hawk.is_payload_right(sent.hash, JSON, BODY), message)

    def test_an_ipv6_host_is_signed_in_brackets_as_in_the_host_header(self) -> None:
        """By hawkauthlib; mohawk drops the brackets, which no Host header does."""
        for url in ("http://[::1]:9000/v1/session/status", "https://[2001:DB8::1]:443/v1/x?y=z"):
            sent = hawk.parse_authorization(hawkauthlib_header(url, "GET", {}))
            self.assertTrue(hawk.is_mac_right(KEY, sent, target_of(url, "GET")), url)

    def test_a_signature_holds_for_nothing_else(self) -> None:
        url = "https://example.com/auth/v1/x?a=b"
        for _, header in self.foreign("POST", url, True):
            sent = hawk.parse_authorization(header)
            self.assertTrue(hawk.is_mac_right(KEY, sent, hawk.Target("POST", "/auth/v1/x?a=b", "example.com", 443)))
            for target in (
                hawk.Target("GET", "/auth/v1/x?a=b", "example.com", 443),
                hawk.Target("POST", "/v1/x?a=b", "example.com", 443),
                hawk.Target("POST", "/auth/v1/x", "example.com", 443),
                hawk.Target("POST", "/auth/v1/x?a=B", "example.com", 443),
                hawk.Target("POST", "/auth/v1/x?a=b", "example.org", 443),
                hawk.Target("POST", "/auth/v1/x?a=b", "example.com", 80),
            ):
                self.assertFalse(hawk.is_mac_right(KEY, sent, target), target)
            self.assertFalse(hawk.is_mac_right(bytes(32), sent, target_of(url, "POST")))

    def test_no_attribute_can_be_changed_under_a_signature(self) -> None:
        url = URLS[0]
        sender = mohawk_sender(url, "POST", (BODY, JSON), ext="some")
        parts = hawk.parse_authorization(sender.request_header)
        for name, other in (("ts", "1"), ("nonce", "other"), ("hash", "AAAA"), ("ext", "any"), ("mac", "AAAA")):
            changed = sender.request_header.replace(f'{name}="{getattr(parts, name)}"', f'{name}="{other}"')
            self.assertNotEqual(changed, sender.request_header)
            authorization = hawk.parse_authorization(changed)
            self.assertFalse(hawk.is_mac_right(KEY, authorization, target_of(url, "POST")), name)

    def test_payload_hashes_are_theirs(self) -> None:
        for content_type, payload in (
            (JSON, BODY),
            (JSON, b""),
            ("Application/JSON; charset=utf-8", BODY),
            (" text/plain ;x=y", b"\x00\xff"),
            ("", b"{}"),
        ):
            sender = mohawk_sender(URLS[0], "POST", (payload, content_type))
            sent = hawk.parse_authorization(sender.request_header)
            assert sent.hash is not None
            self.assertTrue(hawk.is_payload_right(sent.hash, content_type, payload), content_type)
            self.assertFalse(hawk.is_payload_right(sent.hash, content_type, payload + b" "), content_type)
            self.assertFalse(hawk.is_payload_right(sent.hash, "text/html", payload), content_type)


class AnswerTests(SynchronousTestCase):
    """The Server-Authorization header, as mohawk's client checks it."""

    CONTENT_TYPE = "application/json; charset=utf-8"

    def test_a_client_accepts_the_answer(self) -> None:
        for url in URLS:
            for payload in (None, (BODY, JSON)):
                sender = mohawk_sender(url, "POST", payload, ext="kept out of the answer")
                sent = hawk.parse_authorization(sender.request_header)
                header = hawk.server_authorization(KEY, sent, target_of(url, "POST"), self.CONTENT_TYPE, b"{}")
                sender.accept_response(header, content=b"{}", content_type=self.CONTENT_TYPE)

    def test_a_client_refuses_any_other_body_or_key(self) -> None:
        sender = mohawk_sender(URLS[0], "POST", (BODY, JSON))
        sent = hawk.parse_authorization(sender.request_header)
        for key, body in ((KEY, b'{"a":1}'), (bytes(32), b"{}")):
            header = hawk.server_authorization(key, sent, target_of(URLS[0], "POST"), self.CONTENT_TYPE, body)
            with self.assertRaises(HawkFail):
                sender.accept_response(header, content=b"{}", content_type=self.CONTENT_TYPE)


GOOD = 'Hawk id="a1", ts="1353832234", nonce="j4h3g2", mac="6R4rV5iE+NPoym+WwjeHzjAGXUtLNIxmo1vpMofpLAE="'


class HeaderTests(SynchronousTestCase):
    """The grammar of the Authorization header."""

    def test_the_attributes_in_any_order_and_spacing(self) -> None:
        for header in (
            GOOD,
            GOOD.replace("Hawk", "hawk"),
            GOOD.replace("Hawk", "HAWK"),
            GOOD.replace(", ", ","),
            GOOD.replace(", ", "  ,\t"),
            GOOD.replace("Hawk ", "Hawk   ") + "  ",
            'Hawk mac="6R4rV5iE+NPoym+WwjeHzjAGXUtLNIxmo1vpMofpLAE=", nonce="j4h3g2", ts="1353832234", id="a1"',
        ):
            sent = hawk.parse_authorization(header)
            self.assertEqual((sent.id, sent.timestamp_s, sent.nonce), ("a1", 1353832234, "j4h3g2"), header)
            self.assertEqual((sent.mac[:4], sent.hash, sent.ext), ("6R4r", None, ""), header)
        more = hawk.parse_authorization(GOOD + ', hash="h=", ext="any !#$%&\'()*+,-./:;<=>?@[]^_`{|}~ sign"')
        self.assertEqual((more.hash, more.ext), ("h=", "any !#$%&'()*+,-./:;<=>?@[]^_`{|}~ sign"))

    def test_malformed_headers(self) -> None:
        for header, reason in (
            ("", "nothing"),
            ("Hawk", "no attributes"),
            ("Hawk ", "no attributes"),
            (GOOD.replace("Hawk", "Basic"), "another scheme"),
            (GOOD.replace("Hawk ", ""), "no scheme"),
            (GOOD.replace("Hawk ", "Hawk\t"), "a tab after the scheme"),
            ("Bearer 00ff", "another scheme"),
            *((GOOD.replace(f"{name}=", "ext="), f"no {name}") for name in ("id", "ts", "nonce", "mac")),
            *((GOOD + f', {name}="1"', f"{name} twice") for name in ("id", "ts", "nonce", "mac")),
            (GOOD + ', ext="1", ext="1"', "ext twice"),
            (GOOD + ', hash="1", hash="2"', "hash twice"),
            (GOOD + ', dlg="1"', "unknown attribute"),
            (GOOD + ', app="1"', "unknown attribute"),
            (GOOD + ', ID="1"', "unknown attribute"),
            (GOOD + ', é="1"', "unknown attribute"),
            (GOOD.replace("a1", ""), "empty id"),
            (GOOD.replace("j4h3g2", ""), "empty nonce"),
            (GOOD.replace("1353832234", ""), "empty ts"),
            *((GOOD.replace("1353832234", ts), "not a time") for ts in ("1.5", "-1", "+1", " 1", "0x1", "9" * 13)),
            (GOOD.replace("1353832234", "\u0661\u0662"), "digits of another script"),
            (GOOD.replace("a1", 'a"1'), "quote in a value"),
            (GOOD.replace("a1", "a\\1"), "backslash in a value"),
            (GOOD.replace("a1", "a\n1"), "line end in a value"),
            (GOOD.replace("a1", "é"), "not ASCII"),
            (GOOD.replace("a1", "\x7f"), "control character"),
            (GOOD.replace('"', "'"), "wrong quotes"),
            (GOOD.replace('"', ""), "no quotes"),
            (GOOD.replace(", ", " "), "no commas"),
            (GOOD.replace(", ", "; "), "semicolons"),
            (GOOD + ",", "comma at the end"),
            (GOOD + " x", "something at the end"),
            (GOOD + f', ext="{"x" * 4096}"', "too long"),
        ):
            try:
                hawk.parse_authorization(header)
            except hawk.MalformedHeader:
                continue
            self.fail(f"taken in spite of: {reason} ({header!r})")

    @given(text())
    @example("Hawk \ud800")
    def test_any_text_is_read_or_malformed(self, header: str) -> None:
        self.check_reading(header)

    @given(
        dictionaries(
            sampled_from(["id", "ts", "nonce", "mac", "hash", "ext", "app"]),
            text(alphabet='a1="\\,\n é', max_size=6) | sampled_from(["1353832234", "1"]),
        ),
        lists(sampled_from([",", " ", '"', "=", "Hawk", "\t", "\u2003"]), max_size=3),
    )
    def test_anything_like_a_header_is_read_or_malformed(self, attributes: dict[str, str], noise: list[str]) -> None:
        pairs = ", ".join(f'{name}="{value}"' for name, value in attributes.items())
        self.check_reading(f"Hawk {pairs}{''.join(noise)}")

    def check_reading(self, header: str) -> None:
        """Whatever is read can also be checked."""
        try:
            sent = hawk.parse_authorization(header)
        except hawk.MalformedHeader:
            return
        self.assertGreaterEqual(sent.timestamp_s, 0)
        self.assertFalse(hawk.is_mac_right(KEY, sent, hawk.Target("GET", "/", "localhost", 80)))
        hawk.is_payload_right(sent.hash or "", JSON, b"")

    def test_the_scheme_is_known_in_any_case(self) -> None:
        for header, known in (("Hawk id", True), ("HAWK x", True), ("hawk", True), ("Hawkeye x", False), ("", False)):
            self.assertEqual(hawk.is_hawk(header), known, header)

    def test_no_mac_and_no_id_shows_in_a_repr(self) -> None:
        self.assertEqual(
            repr(hawk.parse_authorization(GOOD)), "Authorization(ts='1353832234', nonce='j4h3g2', hash=None, ext='')"
        )


def sent_with(id_: str = "a1", ts: str = "100", nonce: str = "n") -> hawk.Authorization:
    return hawk.Authorization(id_, ts, nonce, "m", None, "")


class ReplayGuardTests(SynchronousTestCase):
    """The memory of strict mode."""

    def test_the_same_request_comes_once(self) -> None:
        guard = hawk.ReplayGuard()
        self.assertFalse(guard.is_replay(sent_with(), 100))
        self.assertTrue(guard.is_replay(sent_with(), 100))
        self.assertTrue(guard.is_replay(sent_with("A1"), 101), "the id in capitals is the same id")
        for other in (sent_with("a2"), sent_with(ts="101"), sent_with(nonce="m")):
            self.assertFalse(guard.is_replay(other, 101))

    def test_a_request_is_remembered_for_as_long_as_its_time_is_good(self) -> None:
        """Sent with a clock 60 s ahead, it stays within the skew for 120 s."""
        guard = hawk.ReplayGuard()
        self.assertFalse(guard.is_replay(sent_with(ts="160"), 100))
        self.assertTrue(guard.is_replay(sent_with(ts="160"), 160 + hawk.MAX_SKEW_S))
        self.assertFalse(guard.is_replay(sent_with(ts="160"), 160 + hawk.MAX_SKEW_S + 1), "no longer needed")

    def test_the_memory_is_bounded_and_forgets_the_oldest_first(self) -> None:
        self.patch(hawk, "MAX_REMEMBERED", 10)
        guard = hawk.ReplayGuard()
        for number in range(11):
            self.assertFalse(guard.is_replay(sent_with(nonce=str(number)), 100))
        self.assertEqual(len(guard._seen), 10)
        self.assertTrue(guard.is_replay(sent_with(nonce="1"), 100))
        self.assertFalse(guard.is_replay(sent_with(nonce="0"), 100))

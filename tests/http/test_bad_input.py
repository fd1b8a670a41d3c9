"""Bad bodies and parameters for every endpoint, made from the request models: always the protocol's error."""

from __future__ import annotations

import codecs
import dataclasses
import json
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

from fxa_auth.http.params import LATER_CLIENTS_SEND
from fxa_auth.http.route import NoParams, Route
from tests.http.server import EMAIL, PASSWORD, ApiCase
from tests.http.test_signing_endpoints import RS
from tests.http.wire import Reply

GOOD: dict[str, Any] = {
    "email": EMAIL,
    "authPW": PASSWORD,
    "oldAuthPW": PASSWORD,
    "wrapKb": PASSWORD,
    "preVerified": True,
    "service": "sync",
    "redirectTo": "https://firefox.com/",
    "resume": "r",
    "preVerifyToken": "aaaa.bbbb.cccc",
    "inviteCode": "abcd-efgh",
    "uid": "00" * 16,
    "code": "00" * 16,
    "publicKey": RS,
    "duration": 1000,
}
TOO_LONG = {
    "email": f"{'a' * 250}@b.org",
    "authPW": "a" * 66,
    "oldAuthPW": "a" * 66,
    "wrapKb": "a" * 66,
    "service": "a" * 17,
    "redirectTo": "https://firefox.com/" + "a" * 493,
    "resume": "a" * 2049,
    "preVerifyToken": f"{'a' * 2000}.{'b' * 40}.{'c' * 8}",
    "inviteCode": "a" * 101,
    "uid": "a" * 34,
    "code": "a" * 34,
    "duration": 86_400_001,
    "publicKey": {**RS, "n": "1" * 16_000},
    "preVerified": "yes" * 100,
}
WRONG_FORM = {
    "email": ("a", "@b.c", "a@", "a,b@c.de", "a b@c.de", "a@b..c", "a@-b.c", "a@b.c-", "a@b@c"),
    "authPW": ("ab" * 31, "a" * 63, "zz" * 32, " " + "a" * 63),
    "service": ("a-b", "é", "a b", "sync\n"),
    "redirectTo": (
        *("firefox.com", "//firefox.com/", "ftp://firefox.com/", "javascript:alert(1)", "https://", "https:///a"),
        *("https://evilfirefox.com", "https://firefox.com.evil.us", "https://x.com/.firefox.com"),
        *("http://evil.com\\@firefox.com/", "https://a@firefox.com/", "https://a:b@firefox.com/", "https://[::1]/"),
        *("https://firefox.com/ ", "https://firefox.com/\t", "https://firefox.com\n", "https://firefox.com:a/"),
        *(
            "https://firefox.com/\u2003",
            "https://firefox.com/\x85",
            "https://fire\u017fox.com/",
            "https://firefox.com.",
        ),
    ),
    "uid": ("0", "0" * 31, "xy", "0x00"),
    "code": ("00" * 15, "0" * 31, "xy" * 16),
    "duration": (0, -1, 0.5, "x", "1.0"),
    "preVerified": (1, 0, "1", "y", "t", ""),
    "preVerifyToken": ("a.b", "aa.bb.cc.dd", "aa.b b.cc", "aa.b=.cc"),
    "publicKey": ({**RS, "algorithm": "XX"}, {**RS, "n": 5}, {**RS, "e": None}, {**RS, "x": "1"}, {**RS, "n": "a\0"}),
}
TEXTS = ("", "\0", "a\0b", "\ud800", "a\udfff")
TYPES = (None, True, 0, 1.5, [], ["a"], {}, {"a": "b"})


def declared(route: Route) -> Iterator[tuple[str, bool]]:
    """Name of each parameter, and whether it must be there."""
    hints = get_type_hints(route.request, include_extras=True)
    for field in dataclasses.fields(route.request):
        yield get_args(hints[field.name])[1].name, field.default is dataclasses.MISSING


def bad_values(name: str) -> Iterator[Any]:
    good_type = {"preVerified": bool, "publicKey": dict}.get(name)
    yield from (value for value in TYPES if type(value) is not good_type)
    yield from TEXTS
    yield TOO_LONG[name]
    yield from WRONG_FORM.get(name, ())


class EveryEndpointCase(ApiCase):
    """A server with one account, and a live token of each kind in ``keys``."""

    async def setUp(self) -> None:
        await super().setUp()
        await self.api.sign_up()
        self.keys = await self.api.tokens()

    async def send(self, route: Route, body: Any, **more: Any) -> Reply:
        key = None if route.auth is None else self.keys[route.auth]
        return await self.api.post(route.path, body, key, **more)

    def posts(self) -> list[Route]:
        return [route for route in self.api.routes if route.method == "POST"]

    def with_models(self) -> list[Route]:
        return [route for route in self.posts() if route.request is not NoParams]

    async def assertServesOn(self) -> None:
        self.assertCode(await self.api.get("/__heartbeat__"), 200)


class ParameterTests(EveryEndpointCase):
    def good(self, route: Route) -> dict[str, Any]:
        return {name: GOOD[name] for name, _ in declared(route)}

    async def assertFault(self, route: Route, body: Any, errno: int, name: str) -> None:
        """108 or 107 for this parameter or a part of it."""
        reply = await self.send(route, body)
        self.assertCode(reply, 400, errno, (route.path, name, repr(body)[:300]))
        if errno == 108:
            self.assertEqual(reply.json["param"], name)
        else:
            self.assertEqual(reply.json["validation"]["source"], "payload")
            [key] = reply.json["validation"]["keys"]
            self.assertEqual(key.partition(".")[0], name)

    async def test_each_must_be_there_unless_it_may_be_left_out(self) -> None:
        for route in self.with_models():
            for name, is_required in declared(route):
                if is_required:
                    body = self.good(route)
                    del body[name]
                    await self.assertFault(route, body, 108, name)

    async def test_each_must_be_well_formed(self) -> None:
        for route in self.with_models():
            for name, _ in declared(route):
                for value in bad_values(name):
                    await self.assertFault(route, {**self.good(route), name: value}, 107, name)
        await self.assertServesOn()

    async def test_a_key_without_an_algorithm_lacks_a_parameter(self) -> None:
        [route] = (route for route in self.with_models() if route.path == "/v1/certificate/sign")
        for key in ({}, {"n": "5"}, {"x": "y"}):
            reply = await self.send(route, {"publicKey": key, "duration": 1})
            self.assertError(reply, 400, 108, param="publicKey.algorithm")

    async def test_unknown_keys_are_named_all_together(self) -> None:
        odd = ["zzz", "", "a.b", "__proto__", "\0", "\ud800", "email ", "EMAIL"]
        for route in self.with_models():
            reply = await self.send(route, {**dict.fromkeys(odd, 1), **self.good(route)})
            self.assertError(reply, 400, 107, validation={"source": "payload", "keys": odd})

    async def test_what_later_clients_send_is_ignored_but_not_its_neighbours(self) -> None:
        for route in self.with_models():
            ignored = LATER_CLIENTS_SEND | route.also_ignored
            body = {**dict.fromkeys(sorted(ignored)), "zzz": 1, **self.good(route)}
            reply = await self.send(route, body)
            self.assertError(reply, 400, 107, validation={"source": "payload", "keys": ["zzz"]})

    async def test_only_login_ignores_what_belongs_to_mails(self) -> None:
        for path, code in (("/v1/account/login", (200, 0)), ("/v1/account/destroy", (400, 107))):
            reply = await self.api.post(path, {"email": EMAIL, "authPW": PASSWORD, "service": "-", "resume": 1})
            self.assertEqual(reply.code, code, path)


class BodyTests(EveryEndpointCase):
    MALFORMED = (
        *(
            b"{",
            b"}",
            b"{}}",
            b"{} {}",
            b"{'a': 1}",
            b"{a: 1}",
            b'{"a": 1,}',
            b'{"a"}',
            b"nul",
            b"\0",
            b"{}\0",
            b"[1",
            b" ",
        ),
        *(
            b"\n\t ",
            b'{"a": "\n"}',
            b'{"a": "\\x"}',
            b'{"a": "\\u12"}',
            b"// c\n{}",
            b'{"a": 01}',
            b'{"a": +1}',
            b'{"a": .5}',
        ),
        *(b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": 1e400}', b'{"a": -1e400}', b'{"a": 1e}'),
        b'{"a": ' + b"9" * 309 + b"}",
        b'{"a": -' + b"9" * 5000 + b"}",
        b'{"a": ' + b"9" * 5000 + b"}",
        codecs.BOM_UTF8 + b"{}",
        "{}".encode("utf-16"),
        "{}".encode("utf-16-le"),
        "{}".encode("utf-32"),
        b'{"a": "\xff"}',
        b'{"a": "\xc0\x80"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\xf4\x90\x80\x80"}',
        b"[" * 16_000,
        b'{"a":' * 3000 + b"1" + b"}" * 1000,
        b'{"a":' * 2700 + b"1" + b"}" * 2700,
        b"[" * 8000 + b"]" * 8000,
    )
    NO_OBJECTS = (b"[]", b"1", b'"a"', b"null", b"true", b"1.5", b"[{}]", b"-0")

    async def test_what_is_no_json_object_is_106(self) -> None:
        for route in self.posts():
            for body in self.MALFORMED:
                self.assertCode(await self.send(route, body), 400, 106, (route.path, body[:40]))
        for route in self.with_models():
            for body in self.NO_OBJECTS:
                self.assertCode(await self.send(route, body), 400, 106, (route.path, body))
        await self.assertServesOn()

    async def test_numbers_and_nesting_that_are_just_small_enough(self) -> None:
        for body in (
            b'{"a": ' + b"9" * 308 + b"}",
            b'{"a": 1e308}',
            b'{"a": 1e-400}',
            b"[" * 50 + b"]" * 50,
            b" {} \n",
        ):
            self.assertCode(await self.api.post("/v1/get_random_bytes", body), 200, 0, body[:20])

    async def test_of_equal_keys_the_last_counts(self) -> None:
        for first, last, code in (("00" * 32, PASSWORD, (200, 0)), (PASSWORD, "00" * 32, (400, 103))):
            body = f'{{"email": "{EMAIL}", "authPW": "{first}", "authPW": "{last}"}}'.encode()
            self.assertEqual((await self.api.post("/v1/account/login", body)).code, code)

    async def test_no_body_is_an_empty_object_whatever_its_type(self) -> None:
        for route in self.with_models():
            expected = next((name for name, is_required in declared(route) if is_required), None)
            for content_type in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/json"}):
                if expected is not None:
                    self.assertError(await self.send(route, b"", headers=content_type), 400, 108, param=expected)

    async def test_types_that_are_json_and_types_that_are_not(self) -> None:
        path = "/v1/get_random_bytes"
        for content_type in (
            *("application/json", "APPLICATION/JSON", "application/json;charset=latin-1", "application/json ; a=b; c"),
            *("application/foo+json", "application/vnd.a-b.c+JSON; x=y", "application/a+b+json", ""),
        ):
            reply = await self.api.post(path, b"{}", headers={"Content-Type": content_type})
            self.assertCode(reply, 200, 0, content_type)
        for content_type in (
            *(
                "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=x",
                "multipart/form-data",
                "text/json",
            ),
            *("text/plain", "application/jsonp", "xapplication/json", "application/json, text/plain", "json", "*/*"),
            *("application/foo+jsonx", "application/foo json", "\xff", "application/+json"),
        ):
            for body in (b"{}", b"a=b", b"--x\r\n"):
                reply = await self.api.post(path, body, headers={"Content-Type": content_type})
                self.assertCode(reply, 415, 999, content_type)
        for encoding in ("gzip", "deflate", "br", "x", "gzip, identity"):
            reply = await self.api.post(path, b"{}", headers={"Content-Encoding": encoding})
            self.assertCode(reply, 415, 999, encoding)
        self.assertCode(await self.api.post(path, b"{}"), 200)

    async def test_a_get_has_no_use_for_a_body(self) -> None:
        for body in (b"{}", b"{", b"\xff", b"x" * 16_384):
            for content_type in ("application/json", "text/plain", "multipart/form-data; boundary=x"):
                headers = {"Content-Type": content_type}
                self.assertAnswer(await self.api.send("GET", "/__heartbeat__", body, headers=headers), {})


anything = st.binary(max_size=200) | st.text(max_size=50).map(lambda text: text.encode("utf-8", "replace"))
names = st.sampled_from(sorted(GOOD)) | st.text()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(GOOD)) | st.text(), inner, max_size=4)
    ),
    max_leaves=8,
)
HEADERS = ("Authorization", "Content-Type", "Host", "Cookie", "Accept-Language", "X-Forwarded-For", "Content-Encoding")


class RandomTests(EveryEndpointCase):
    """Hypothesis asks from a thread; the server answers on the reactor as always."""

    def ask(self, data: bytes) -> Reply:
        async def once() -> Reply:
            return await self.api.raw(data, is_head=data.startswith(b"HEAD"))

        reply: Reply = blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(once()))
        return reply

    async def test_no_bytes_make_the_server_fail(self) -> None:
        routes = st.sampled_from(self.api.routes)
        headers_of_any_kind = st.dictionaries(st.sampled_from(HEADERS), anything)
        printable = st.text(st.characters(codec="ascii", exclude_categories=["C", "Z"]), max_size=40)

        @settings(max_examples=300)
        @given(
            routes,
            printable | st.just("keys=true"),
            anything | json_values,
            headers_of_any_kind,
        )
        def property_holds(route: Route, query: str, body: Any, headers: dict[str, bytes]) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            lines = [f"{route.method} {route.path}?{query} HTTP/1.1".encode(), b"Content-Length: %d" % len(content)]
            lines += [name.encode() + b": " + value for name, value in headers.items() if not {*b"\r\n\0"} & {*value}]
            reply = self.ask(b"\r\n".join([*lines, b"", content]))
            assert reply.status < 500, reply

        await deferToThread(property_holds)

    async def test_no_path_makes_the_server_fail(self) -> None:
        @settings(max_examples=200)
        @given(st.sampled_from(("GET", "POST", "HEAD")), st.binary(max_size=60))
        def property_holds(method: str, path: bytes) -> None:
            target = b"/" + bytes(byte for byte in path if 32 < byte < 177)
            reply = self.ask(method.encode() + b" " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            assert reply.status < 500, reply

        await deferToThread(property_holds)

    async def test_no_authorization_makes_the_server_fail(self) -> None:
        key = next(iter(self.keys.values()))
        pieces = st.sampled_from(
            (f'id="{key.id}"', 'id="a"', 'ts="1"', 'nonce="a"', 'mac="b"', 'hash="c"', 'ext="d"', ",")
        )
        text = st.text(st.characters(codec="utf-8", exclude_categories=["C"]))

        @settings(max_examples=200)
        @given(st.lists(pieces, max_size=7).map(", ".join) | text)
        def property_holds(attributes: str) -> None:
            header = f"Hawk {attributes}".encode()
            reply = self.ask(b"GET /v1/session/status HTTP/1.1\r\nAuthorization: " + header + b"\r\n\r\n")
            assert reply.code in {(401, 109), (401, 110)}, reply

        await deferToThread(property_holds)

"""The headers that stand on every kind of answer. ``Reply.faults`` has the list; here are the kinds."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from twisted.trial.unittest import SynchronousTestCase

from tests.http.server import NOW_S, ApiCase, session
from tests.http.wire import Reply, request_bytes

KINDS = (
    (200, request_bytes("GET", "/", {})),
    (200, request_bytes("HEAD", "/", {})),
    (200, request_bytes("OPTIONS", "/v1/account/create", {})),
    (200, request_bytes("OPTIONS", "/nowhere", {})),
    (200, request_bytes("GET", "/.well-known/browserid", {})),
    (200, request_bytes("GET", "/.well-known/browserid/sign_in.html", {})),
    (302, request_bytes("GET", "/v1/verify_email?code=00&uid=00", {})),
    (400, request_bytes("POST", "/v1/account/login", {})),
    (400, b"this is no HTTP\r\n"),
    (400, b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n"),
    (401, request_bytes("GET", "/v1/session/status", {})),
    (404, request_bytes("GET", "/nowhere", {})),
    (404, request_bytes("HEAD", "/nowhere", {})),
    (404, request_bytes("FOO", "/", {})),
    (410, request_bytes("GET", "/v0/", {})),
    (411, request_bytes("POST", "/v1/account/login", {"Transfer-Encoding": "chunked"}, b"0\r\n\r\n")),
    (413, request_bytes("POST", "/v1/account/login", {"Content-Length": "99999"})),
    (415, request_bytes("POST", "/v1/account/login", {"Content-Type": "text/plain"}, b"x")),
    (429, request_bytes("POST", "/v1/password/forgot/send_code", {}, b'{"email": "a@b.c"}')),
    (503, request_bytes("GET", "/__heartbeat__", {})),
)


class KindTests(ApiCase):
    async def setUp(self) -> None:
        self.is_overloaded = False
        self.options = {"is_overloaded": lambda: self.is_overloaded}
        await super().setUp()
        self.api.customs.refused["passwordForgotSendCode"] = 8

    async def ask(self, status: int, data: bytes, origin: str | None) -> Reply:
        self.is_overloaded = status == 503
        if origin is not None:
            data = data.replace(b"\r\n", f"\r\nOrigin: {origin}\r\n".encode(), 1)
        is_head = data.startswith(b"HEAD")
        wire = await self.api.connect()
        wire.send(data)
        reply = await wire.reply(is_head)
        wire.hang_up()
        is_answered_by_origin = not (status == 400 and b"login" not in data)
        self.api.check(reply, data[:60], origin if is_answered_by_origin else None, is_head)
        self.assertEqual(reply.status, status, data[:60])
        return reply

    async def test_every_kind_of_answer_has_them(self) -> None:
        for origin in (None, "https://accounts.example.com", "null", "moz-extension://x"):
            for status, data in KINDS:
                await self.ask(status, data, origin)

    async def test_content_types_and_caching(self) -> None:
        json_type, html_type = "application/json; charset=utf-8", "text/html; charset=utf-8"
        for status, data in KINDS:
            reply = await self.ask(status, data, None)
            path = data.split(b" ")[1]
            expected = None if status == 302 else html_type if path.endswith(b".html") else json_type
            self.assertEqual(reply.header("Content-Type"), expected, path)
            cached = "public, max-age=10, must-revalidate" if path.endswith(b"/browserid") else "no-cache"
            self.assertEqual(reply.header("Cache-Control"), cached, path)
            self.assertIsNone(reply.header("Server"))

    async def test_date_and_timestamp_follow_the_clock(self) -> None:
        for seconds in (0, 0.5, 0.5, 86_400):
            self.api.clock.advance(seconds)
            reply = await self.api.get("/__lbheartbeat__")
            now_s = int(self.api.clock.seconds())
            self.assertEqual(int(reply.header("Timestamp") or 0), now_s)
            self.assertEqual(parsedate_to_datetime(reply.header("Date") or "").timestamp(), now_s)

    async def test_a_signed_answer_has_them_too(self) -> None:
        key = session(await self.api.sign_up())
        reply = await self.api.get("/v1/session/status", key, headers={"Origin": "https://x.example"})
        self.assertEqual(reply.header("Access-Control-Allow-Origin"), "https://x.example")


class FaultsTests(SynchronousTestCase):
    """The list itself would notice."""

    def test_an_answer_without_headers_has_many_faults(self) -> None:
        self.assertGreater(len(Reply(200, {}, b"{}").faults(NOW_S)), 12)

    def test_a_bad_error_body_is_a_fault(self) -> None:
        good = b'{"code":400,"errno":106,"error":"","message":"","info":""}'
        whole = len(Reply(400, {}, good).faults(NOW_S))
        for body in (
            good.replace(b'"code":400', b'"code":401'),
            good.replace(b'"info":""', b'"retryAfter":30'),
            good.replace(b"106", b"109"),
            good.replace(b"106", b"201"),
            good.replace(b'"message":""', b'"message":"Traceback"'),
        ):
            self.assertGreater(len(Reply(400, {}, body).faults(NOW_S)), whole, body)

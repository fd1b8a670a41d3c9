"""What comes over the wire before it is a request: sizes, malformed HTTP, slow and rude clients."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.ssl import CertificateOptions
from twisted.internet.threads import deferToThread

from fxa_auth.http.site import _IDLE_TIMEOUT_S, _LINGER_S, MAX_BODY
from tests.certificates import issue
from tests.http.server import EMAIL, PASSWORD, ApiCase, turn
from tests.http.wire import Reply, StubbornWire, Wire, connect, request_bytes

BYTES = "/v1/get_random_bytes"
HUGE = 4_000_000
CLOSE = b"GET /__lbheartbeat__ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def post(headers: Mapping[str, str], body: bytes = b"", target: str = BYTES) -> bytes:
    return request_bytes("POST", target, {"Content-Type": "application/json", **headers}, body)


def chunked(*chunks: bytes, more: str = "") -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return post({"Transfer-Encoding": "chunked", **({"X-More": more} if more else {})}, body)


def json_of_length(length: int) -> bytes:
    return b'{"a":"' + b"x" * (length - 8) + b'"}'


class SiteCase(ApiCase):
    async def assertServesOn(self) -> None:
        self.assertAnswer(await self.api.get("/__lbheartbeat__"), {})

    async def assertRefused(self, data: bytes, status: int, errno: int) -> None:
        """These bytes are answered so, once, and the server is none the worse."""
        wire = await self.api.connect()
        wire.send(data)
        reply = await wire.reply(is_head=data.startswith(b"HEAD"))
        self.api.check(reply, data[:80])
        self.assertCode(reply, status, errno, data[:80])
        if status in (400, 413):
            self.assertEqual(await wire.rest(), b"", data[:80])
            self.assertEqual(reply.header("Connection"), "close", data[:80])
        else:
            wire.hang_up()
        await self.assertServesOn()


class SizeTests(SiteCase):
    async def test_16384_bytes_are_a_body_and_one_more_is_too_many(self) -> None:
        exact, over = json_of_length(MAX_BODY), json_of_length(MAX_BODY + 1)
        self.assertCode(await self.api.raw(post({}, exact)), 200)
        await self.assertRefused(post({}, over), 413, 113)
        await self.assertRefused(post({"Content-Length": "99999", "Expect": "100-continue"}), 413, 113)
        await self.assertRefused(chunked(exact), 411, 112)
        await self.assertRefused(chunked(over), 413, 113)
        await self.assertRefused(chunked(over[:9000], over[9000:]), 413, 113)
        await self.assertRefused(chunked(*([b"x" * 5] * 4000)), 413, 113)

    async def test_it_is_refused_on_every_route_and_before_it_is_read(self) -> None:
        for route in self.api.routes:
            target = self.api.url.path + route.path
            for headers, code in (
                ({"Content-Length": str(MAX_BODY + 1)}, (413, 113)),
                ({"Content-Length": str(MAX_BODY + 1), "Expect": "100-continue"}, (413, 113)),
                ({"Transfer-Encoding": "chunked"}, (411, 112)),
            ):
                body = b"0\r\n\r\n" if code == (411, 112) else b""
                reply = await self.api.raw(request_bytes(route.method, target, headers, body))
                self.assertEqual(reply.code, code, (target, headers))

    async def test_lengths_that_are_absurd_or_no_lengths(self) -> None:
        for value, code in (
            ("9" * 5000, (413, 113)),
            ("0" * 5000 + "9" * 6, (413, 113)),
            ("0" * 5000 + "2", (200, 0)),
            ("-5", (400, 999)),
            ("+5", (400, 999)),
            ("5, 5", (400, 999)),
            ("5 5", (400, 999)),
            ("0x5", (400, 999)),
            ("", (400, 999)),
            ("5\u0661", (400, 999)),
            ("1_0", (400, 999)),
        ):
            reply = await self.api.raw(post({"Content-Length": value}, b"{}"))
            self.assertEqual(reply.code, code, value[:20])
            await self.assertServesOn()

    async def test_a_client_that_asks_first_is_told_to_go_on(self) -> None:
        wire = await self.api.connect()
        wire.send(post({"Expect": "100-continue", "Content-Length": "2"}))
        while b"\r\n\r\n" not in wire.buffer:
            await wire.more()
        self.assertEqual(wire.buffer, b"HTTP/1.1 100 Continue\r\n\r\n")
        wire.buffer = b""
        wire.send(b"{}")
        self.assertCode(await wire.reply(), 200)
        wire.hang_up()

    async def test_a_refused_chunked_body_is_answered_once_however_it_goes_on(self) -> None:
        for rest in (b"zz\r\n", b"\r\n" * 10, CLOSE, b"0\r\n\r\n" + CLOSE):
            data = post({"Transfer-Encoding": "chunked"}, b"%x\r\n" % 20_000 + b"x" * 20_000 + b"\r\n" + rest)
            await self.assertRefused(data, 413, 113)


class LingeringTests(SiteCase):
    """A refusal in the middle of a body must reach a client that is still sending."""

    def exchange(self, data: bytes) -> bytes:
        """What a client reads that sends everything before it reads anything, as most do. Blocks."""
        with socket.create_connection(("127.0.0.1", self.api.port)) as connection:
            connection.settimeout(30)
            connection.sendall(data)
            received = b""
            while more := connection.recv(65536):
                received += more
            return received

    async def test_who_sends_all_before_reading_reads_the_refusal(self) -> None:
        body = b"x" * HUGE
        for data in (
            post({}, body),
            post({}, body[:60_000]),
            post({"Content-Length": "9" * 100}, body),
            chunked(body),
            chunked(*([body[:10_000]] * 100)),
            post({}, body, "/nowhere"),
        ):
            received = await deferToThread(self.exchange, data)
            status = b"404" if b"/nowhere" in data else b"413"
            self.assertTrue(received.startswith(b"HTTP/1.1 " + status), (data[:80], received[:80]))
            self.assertEqual(received.count(b"HTTP/1.1"), 1, received)
            await self.assertServesOn()

    async def test_who_never_stops_sending_is_cut_off(self) -> None:
        for head in (post({"Content-Length": str(10**9)}), post({"Transfer-Encoding": "chunked"}, b"ffffff\r\n")):
            wire = await connect(self.api.port, StubbornWire)
            wire.send(head + b"x" * 20_000)
            self.assertCode(await wire.reply(), 413, 113)
            self.api.clock.advance(_LINGER_S - 1)
            for _ in range(5):
                wire.send(b"x" * 1000)
                await turn()
            self.assertFalse(wire.is_closed)
            self.api.clock.advance(1)
            while not wire.is_closed:
                wire.send(b"x" * 1000)
                await turn()
            await self.all_gone()
            self.assertEqual(self.api.clock.getDelayedCalls(), [])

    async def only_connection(self) -> Any:
        while len(self.api.factory.protocols) != 1:
            await turn()
        return next(iter(self.api.factory.protocols))

    async def test_who_is_silent_for_a_minute_is_cut_off(self) -> None:
        for data in (
            b"",
            b"GET / HT",
            post({"Content-Length": "5"}, b"{"),
            CLOSE.replace(b"Connection: close\r\n", b""),
        ):
            wire = await self.api.connect()
            wire.send(data)
            if data.endswith(b"\r\n\r\n"):
                await wire.reply()
            await self.only_connection()
            while not wire.is_closed:
                self.api.clock.advance(_IDLE_TIMEOUT_S / 4)
                await turn()
            self.assertEqual(wire.buffer, b"")

    async def test_over_tls_the_refusal_arrives_too(self) -> None:
        api = await self.serve(tls=issue("127.0.0.1", "127.0.0.1").options())
        tcp = TCP4ClientEndpoint(reactor, "127.0.0.1", api.port)
        wire: Wire = await connectProtocol(wrapClientTLS(CertificateOptions(), tcp), Wire())
        wire.send(post({}, b"x" * 500_000))
        self.assertCode(await wire.reply(), 413, 113)
        self.assertFalse(wire.is_closed)
        api.clock.advance(_LINGER_S)
        self.assertEqual(await wire.rest(), b"")

    async def test_over_tls_the_client_may_leave_first(self) -> None:
        api = await self.serve(tls=issue("127.0.0.1", "127.0.0.1").options())
        for _ in range(3):
            tcp = TCP4ClientEndpoint(reactor, "127.0.0.1", api.port)
            wire: Wire = await connectProtocol(wrapClientTLS(CertificateOptions(), tcp), Wire())
            wire.send(post({"Content-Length": "20000"}))
            self.assertCode(await wire.reply(), 413, 113)
            wire.hang_up()
        await self.all_gone()


class MalformedTests(SiteCase):
    """Bytes that are no request, or hardly one: 400 or 404 in the protocol's form, and the connection ends."""

    async def test_what_is_no_http_is_400(self) -> None:
        get = b"GET / HTTP/1.1\r\n"
        for data in (
            b"GET /\r\n\r\n",
            b"GET\r\n\r\n",
            b"hello\r\n",
            b"GET / HTTP/2.0\r\n\r\n",
            b"GET / HTTP/1.1 \r\n\r\n",
            b"GET  / HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GE(T / HTTP/1.1\r\n\r\n",
            b"GET /\x00 HTTP/1.1\r\n\r\n",
            b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\na b: c\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n",
            b"GET / HTTP/1.1\r\nX-\xff: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2 + b"\r\n",
            b"\x80" * 20_000,
            b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
            get + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
            get + b"X-Y: 1\r\n" * 600 + b"\r\n",
            get + b"X: 1\r\n" + b" folded\r\n" * 2500 + b"\r\n",
            get + b"Transfer-Encoding: gzip\r\n\r\n",
            get + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
            get + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
            get + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            get + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
            get + b"Content-Length: 2\r\nContent-Length: 99999999\r\n\r\n{}",
            get + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            get + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
            get + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}garbage\r\n",
            get + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 5000 + b"\r\n",
        ):
            await self.assertRefused(data, 400, 999)

    async def test_what_a_client_may_call_a_target(self) -> None:
        for method, target, code in (
            *((method, "/v1/session/status", (404, 999)) for method in ("FOO", "PUT", "PATCH", "DELETE", "get", "Get")),
            ("POST", "/__heartbeat__", (404, 999)),
            ("post", BYTES, (404, 999)),
            ("HEAD", BYTES, (404, 999)),
            ("CONNECT", "example.com:443", (404, 999)),
            ("TRACE", "/", (404, 999)),
            ("GET", "*", (404, 999)),
            ("GET", "http://api.example.com/", (200, 0)),
            ("GET", "HTTPS://api.example.com", (200, 0)),
            ("GET", "http:///v1/session/status", (401, 109)),
            ("GET", "http://a//v1/session/status", (404, 999)),
            ("GET", "?", (404, 999)),
            ("GET", "#", (404, 999)),
            ("GET", "//", (404, 999)),
            ("GET", "//v1/session/status", (404, 999)),
            ("GET", "/%2Fv1/session/status", (404, 999)),
            ("GET", "v1/session/status", (404, 999)),
            ("GET", "/v1/session%2Fstatus", (404, 999)),
            ("GET", "/v1%2fsession/status", (404, 999)),
            ("GET", "/%76%31/session/status", (401, 109)),
            ("GET", "/..", (404, 999)),
            ("GET", "/./", (404, 999)),
            ("GET", "/%00", (404, 999)),
            ("GET", "/v1/%00/x", (404, 999)),
            ("GET", "/%ff", (404, 999)),
            ("GET", "/%", (404, 999)),
            ("GET", "/%zz", (404, 999)),
            ("GET", "/\x80\x81", (404, 999)),
            ("GET", "/v1/%ed%a0%80", (404, 999)),
            ("GET", "/v1/verify_email?%ff=%00&\x80", (400, 108)),
            ("GET", "/v0/\x80%ff", (410, 116)),
            ("GET", "/?" + "&" * 10_000, (200, 0)),
        ):
            data = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1")
            self.assertEqual((await self.api.raw(data, method == "HEAD")).status, code[0], (method, target[:50]))
            if method != "HEAD":
                self.assertEqual((await self.api.raw(data)).code, code, (method, target[:50]))
            await self.assertServesOn()

    async def test_headers_may_hold_anything(self) -> None:
        for name in ("Host", "Origin", "Cookie", "User-Agent", "Accept-Language", "X-Forwarded-For", "Authorization"):
            for value in (
                b"",
                b"\xff\xfe",
                b"\x01\x7f",
                b"a" * 10_000,
                b"[::1",
                b":" * 50,
                b'"\\',
                b"%00" * 9,
                b"\xed\xa0\x80",
            ):
                line = name.encode() + b": " + value
                wire = await self.api.connect()
                wire.send(b"GET /v1/session/status HTTP/1.1\r\nConnection: close\r\n" + line + b"\r\n\r\n")
                self.assertCode(await wire.reply(), 401, 109, line[:60])
                self.assertEqual(await wire.rest(), b"")
        await self.assertServesOn()

    async def test_older_http(self) -> None:
        for data in (
            b"GET / HTTP/1.0\r\n\r\n",
            b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            b"\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n",
            b"GET / HTTP/1.1\nConnection: close\n\n".replace(b"\n", b"\r\n"),
        ):
            wire = await self.api.connect()
            wire.send(data)
            self.assertCode(await wire.reply(), 200)
            self.assertEqual(await wire.rest(), b"")


class StoppingTests(SiteCase):
    async def test_an_idle_connection_is_closed_at_once(self) -> None:
        wire = await self.api.connect()
        wire.send(request_bytes("GET", "/__lbheartbeat__", {}))
        self.assertCode(await wire.reply(), 200)
        self.api.site.begin_to_stop()
        self.assertEqual(await wire.rest(), b"")

    async def test_a_busy_one_after_its_answer(self) -> None:
        wire = await self.api.connect()
        wire.send(post({"Content-Length": "2"}, b"{", "/v1/get_random_bytes"))
        while not any(channel.requests for channel in self.api.site.channels):
            await turn()
        self.api.site.begin_to_stop()
        wire.send(b"}" + CLOSE)
        reply = await wire.reply()
        self.assertEqual((reply.status, reply.header("Connection")), (200, "close"))
        self.assertEqual(await wire.rest(), b"")


class ConnectionTests(SiteCase):
    async def test_requests_on_one_connection_are_answered_in_their_order(self) -> None:
        """Also those that were sent before the earlier ones were answered, and after errors."""
        await self.api.sign_up()
        login = request_bytes(
            "POST", "/v1/account/login", {}, b'{"email":"%s","authPW":"%s"}' % (EMAIL.encode(), PASSWORD.encode())
        )
        script: list[tuple[bytes, int]] = [
            (login, 200),
            (request_bytes("GET", "/__heartbeat__", {}), 200),
            (request_bytes("GET", "/nowhere", {}), 404),
            (request_bytes("OPTIONS", "/nowhere", {}), 200),
            (post({}, b"{"), 400),
            (request_bytes("HEAD", "/", {}), 200),
            (chunked(b"{}"), 411),
            (post({}, b"{}"), 200),
            (login, 200),
        ]
        wire = await self.api.connect()
        wire.send(b"".join(data for data, _ in script))
        for data, status in script:
            reply: Reply = await wire.reply(is_head=data.startswith(b"HEAD"))
            self.assertEqual(reply.status, status, data)
        self.assertFalse(wire.is_closed)
        for data, status in script:
            wire.send(data)
            self.assertEqual((await wire.reply(is_head=data.startswith(b"HEAD"))).status, status, data)
        wire.hang_up()

    async def test_a_body_in_single_bytes_is_still_a_body(self) -> None:
        wire = await self.api.connect()
        for byte in post({}, b'{"a": 1}'):
            wire.send(bytes([byte]))
            await turn()
        self.assertCode(await wire.reply(), 200)
        wire.hang_up()

    async def test_no_connection_leaves_anything_behind(self) -> None:
        for data in (CLOSE, post({}, b"{}"), post({"Content-Length": "99999"}), b"nonsense\r\n", b""):
            wire = await self.api.connect()
            wire.send(data)
            if data:
                await wire.reply()
            wire.hang_up()
        await self.all_gone()
        self.assertEqual(self.api.clock.getDelayedCalls(), [])

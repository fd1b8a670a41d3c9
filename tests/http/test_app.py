"""The pipeline around the endpoints: what is routed where, and what happens when something breaks or a client goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from fxa_auth.http.route import Answer, Call, Route, json_answer
from fxa_auth.records import TokenKind
from fxa_auth.store.database import DatabaseUnavailable
from tests.http.server import EMAIL, PASSWORD, VERSION, Api, ApiCase, session, turn
from tests.http.wire import Wire, request_bytes

LOGIN = {"email": EMAIL, "authPW": PASSWORD}


class RoutingTests(ApiCase):
    async def test_paths_that_are_nearly_right(self) -> None:
        for route in self.api.routes:
            path = route.path
            near = [path.upper(), path + "x", "/" + path, path.replace("/v1/", "/v2/")]
            if path != "/":
                near += [path + "/", path[:-1], path[1:], path.replace("/v1", "/v1/")]
            for other in set(near) - {route.path for route in self.api.routes}:
                wire = await self.api.connect()
                wire.send(request_bytes(route.method, other, {}))
                self.assertError(await wire.reply(), 404, 999)
                wire.hang_up()

    async def test_a_path_answers_its_own_method_only(self) -> None:
        for route in self.api.routes:
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "FOO"} - {route.method}:
                self.assertCode(await self.api.send(method, route.path), 404, 999, (method, route.path))

    async def test_every_get_answers_head_too_signed_as_head(self) -> None:
        await self.api.sign_up()
        keys = await self.api.tokens()
        queries = {"/v1/account/status": "?uid=" + "00" * 16, "/v1/verify_email": "?code=00&uid=00"}
        for route in self.api.routes:
            if route.method != "GET":
                continue
            path, key = route.path + queries.get(route.path, ""), keys.get(route.auth) if route.auth else None
            head = await self.api.send("HEAD", path, b"", key)
            get = await self.api.send("GET", path, b"", key)
            if route.auth is TokenKind.KEY_FETCH:
                self.assertEqual((head.status, get.status), (200, 401), "HEAD is no free look at the keys")
                continue
            self.assertEqual((head.status, head.body), (get.status, b""), path)
            unlike = {"server-authorization", "connection"}
            for name in (set(head.headers) | set(get.headers)) - unlike:
                self.assertEqual(head.headers.get(name), get.headers.get(name), (path, name))
        self.assertEqual((await self.api.send("HEAD", "/nowhere")).status, 404)

    async def test_the_old_version_is_gone_for_every_method(self) -> None:
        for path in ("/v0", "/v0/", "/v0/account/create", "/v0//x/", "/v0?keys=true"):
            for method in ("GET", "POST", "PUT", "DELETE", "FOO"):
                self.assertError(await self.api.send(method, path), 410, 116)
        for path in ("/v00", "/V0", "/v0x", "/x/v0"):
            self.assertError(await self.api.send("GET", path), 404, 999)

    async def test_options_are_answered_everywhere_with_nothing(self) -> None:
        for path in ("/v1/account/create", "/nowhere", "*", "/v0/x", "/v1/account/keys?x=%ff"):
            for body in (b"", b"{"):
                headers = {"Origin": "https://x.example", "Authorization": "Hawk nonsense"}
                reply = await self.api.send("OPTIONS", path, body, headers=headers)
                self.assertEqual((reply.status, reply.body), (200, b""), path)
        self.assertEqual(self.log.lines("request.summary"), [])

    async def test_what_the_server_says_of_itself(self) -> None:
        self.assertAnswer(await self.api.get("/"), {"version": VERSION.version, "commit": VERSION.commit})
        whole = {name: getattr(VERSION, name) for name in ("version", "commit", "source", "build")}
        self.assertAnswer(await self.api.get("/__version__"), whole)

    async def test_random_bytes_are_32_and_never_the_same(self) -> None:
        seen = set()
        for body in (b"", b"{}", b"[1]", b'"x"', b"null", b'{"x": 1}'):
            data = self.assertMembers(await self.api.post("/v1/get_random_bytes", body), "data")["data"]
            self.assertEqual(len(bytes.fromhex(data)), 32)
            seen.add(data)
        self.assertEqual(len(seen), 6)


class BasePathTests(ApiCase):
    options: Mapping[str, Any] = {"public_url": "http://example.com:8123/some/path/"}

    async def test_everything_but_the_well_known_moves(self) -> None:
        for route in self.api.routes:
            inside = await self.api.send(route.method, "/some/path" + route.path)
            outside = await self.api.send(route.method, route.path)
            here, elsewhere = (inside, outside) if route.moves else (outside, inside)
            self.assertNotEqual(here.status, 404, route.path)
            self.assertCode(elsewhere, 404, 999, route.path)
            self.assertEqual(route.moves, not route.path.startswith("/.well-known/"))
        self.assertCode(await self.api.get("/v0/x"), 410, 116)
        self.assertCode(await self.api.send("GET", "/v0/x"), 404, 999)

    async def test_signatures_are_over_the_public_url_and_the_whole_target(self) -> None:
        created = await self.api.sign_up()
        for path in ("/v1/session/status", "/v1/session/status?a=b&c=%20d"):
            for host in ("example.com:8123", "evil.example:1", ""):
                reply = await self.api.get(path, session(created), headers={"Host": host})
                self.assertAnswer(reply, {"uid": created["uid"]})


class StoreDownTests(ApiCase):
    """Before the store is open, which is how it looks when it is gone."""

    async def setUp(self) -> None:
        await super().setUp()
        self.down = Api()
        await self.down.listen()
        self.addCleanup(lambda: Deferred.fromCoroutine(self._stop()))

    async def _stop(self) -> None:
        await self.down.open_store()
        await self.down.stop()

    async def test_what_needs_it_is_503_and_the_rest_goes_on(self) -> None:
        created = await self.api.sign_up()
        failed = 0
        for method, path, body, key, code in (
            ("GET", "/__heartbeat__", b"", None, (503, 201)),
            ("GET", "/__lbheartbeat__", b"", None, (200, 0)),
            ("GET", "/__version__", b"", None, (200, 0)),
            ("GET", "/", b"", None, (200, 0)),
            ("POST", "/v1/get_random_bytes", b"", None, (200, 0)),
            ("POST", "/v1/account/create", LOGIN, None, (503, 201)),
            ("POST", "/v1/account/login", LOGIN, None, (503, 201)),
            ("POST", "/v1/account/login", {}, None, (400, 108)),
            ("GET", "/v1/session/status", b"", session(created), (503, 201)),
            ("GET", "/v1/session/status", b"", None, (401, 109)),
            ("GET", "/.well-known/browserid", b"", None, (503, 201)),
            ("GET", "/nowhere", b"", None, (404, 999)),
        ):
            reply = await self.down.send(method, path, body, key)
            self.assertEqual(reply.code, code, path)
            failed += reply.status == 503
        summaries = self.log.lines("request.summary")
        self.assertEqual([line["level"] for line in summaries if line["code"] == 503], [50] * failed)
        self.assertEqual(len(self.flushLoggedErrors(DatabaseUnavailable)), failed - 1)
        self.assertEqual([line["reason"] for line in summaries if "reason" in line], ["there is no signing key yet"])

    async def test_the_heartbeat_beats_with_an_open_store(self) -> None:
        self.assertAnswer(await self.api.get("/__heartbeat__"), {})


class SheddingTests(ApiCase):
    async def setUp(self) -> None:
        self.is_overloaded = False
        self.options = {"is_overloaded": lambda: self.is_overloaded}
        await super().setUp()

    async def test_an_overloaded_server_refuses_all_but_the_balancers_question(self) -> None:
        await self.api.sign_up()
        self.is_overloaded = True
        for path, code in (
            ("/__lbheartbeat__", (200, 0)),
            ("/__heartbeat__", (503, 201)),
            ("/v1/session/status", (503, 201)),
            ("/nowhere", (404, 999)),
        ):
            self.assertEqual((await self.api.get(path)).code, code, path)
        self.assertCode(await self.api.post("/v1/account/login", LOGIN), 503, 201)
        self.assertEqual((await self.api.send("OPTIONS", "/")).status, 200)
        self.is_overloaded = False
        self.assertCode(await self.api.post("/v1/account/login", LOGIN), 200)
        told = [line for line in self.log.lines("request.summary") if line["code"] == 503]
        self.assertEqual([line["level"] for line in told], [50] * 3)
        self.assertEqual({line["reason"] for line in told}, {"the event loop lags"})
        self.assertNotIn("err", told[0], "where it was raised would be of use to nobody, many times a second")


class Workshop:
    """Routes whose work a test holds up, ends or breaks."""

    def __init__(self) -> None:
        self.begun: Deferred[None] = Deferred()
        self.go_on: Deferred[None] = Deferred()
        self.done = 0

    def table(self) -> list[Route]:
        return [
            Route("POST", "/slow", self.slow),
            Route("GET", "/slow", self.slow),
            Route("GET", "/broken", self.broken),
            Route("GET", "/unprintable", self.unprintable),
        ]

    async def slow(self, call: Call[Any]) -> Answer:
        self.begun.callback(None)
        await self.go_on
        self.done += 1
        call.note(seen=call.client.ip)
        return json_answer({"done": self.done})

    async def broken(self, call: Call[Any]) -> Answer:
        raise RuntimeError("secret detail")

    async def unprintable(self, call: Call[Any]) -> Answer:
        return json_answer({"no JSON": object()})  # type: ignore[dict-item]


class WorkshopCase(ApiCase):
    async def setUp(self) -> None:
        self.shop = Workshop()
        self.options = {"more_routes": self.shop.table(), "development": False}
        await super().setUp()
        self.addCleanup(lambda: self.shop.go_on.called or self.shop.go_on.callback(None))

    async def start_slow_work(self, data: bytes = request_bytes("GET", "/slow", {})) -> Wire:
        wire = await self.api.connect()
        wire.send(data)
        await self.shop.begun
        await turn()
        return wire

    async def hang_up(self, wire: Wire) -> None:
        wire.hang_up()
        await self.all_gone()


class BrokenTests(WorkshopCase):
    async def test_a_bug_is_a_500_that_gives_nothing_away_and_is_logged_with_its_trace(self) -> None:
        for path, cause in (("/broken", RuntimeError), ("/unprintable", TypeError)):
            reply = await self.api.get(path)
            self.assertError(reply, 500, 999)
            self.assertNotIn(b"secret", reply.body)
            self.assertEqual(len(self.flushLoggedErrors(cause)), 1)
            line = self.log.lines("request.summary")[-1]
            self.assertEqual((line["level"], line["code"], line["errno"]), (50, 500, 999))
            self.assertEqual(line["err"]["name"], cause.__name__)
            self.assertIn("test_app.py", line["err"]["stack"])


class HangUpTests(WorkshopCase):
    async def assertWorkGoesOn(self, data: bytes) -> None:
        await self.hang_up(await self.start_slow_work(data))
        self.assertEqual(self.shop.done, 0)
        self.shop.go_on.callback(None)
        await self.api.application.drain()
        [line] = self.log.lines("request.summary")
        self.assertEqual((self.shop.done, line["code"], line["level"]), (1, 200, 30))
        self.assertEqual((line["remoteAddressChain"], line["seen"]), (["127.0.0.1"], "127.0.0.1"))

    async def test_the_work_of_a_get_goes_on_and_is_logged_like_any_other(self) -> None:
        await self.assertWorkGoesOn(request_bytes("GET", "/slow", {}))

    async def test_so_does_that_of_a_post(self) -> None:
        await self.assertWorkGoesOn(request_bytes("POST", "/slow", {}, b"{}"))

    async def test_a_client_may_go_at_any_moment(self) -> None:
        """Requests cut off after ever more reactor turns: each is done or was never heard, and nothing breaks."""
        for turns in range(15):
            created = await self.api.sign_up(f"{turns}@example.org")
            body = b'{"email": "n%d@example.org", "authPW": "%s"}' % (turns, PASSWORD.encode())
            for path, data, key in (
                ("/v1/account/create", body, None),
                ("/v1/session/destroy", b"{}", session(created)),
            ):
                headers = {} if key is None else {"Authorization": self.api.signer("POST", path, key).request_header}
                wire = await self.api.connect()
                wire.send(request_bytes("POST", path, headers, data))
                for _ in range(turns):
                    await turn()
                await self.hang_up(wire)
        await self.api.application.drain()
        self.assertEqual({line["code"] for line in self.log.lines("request.summary")}, {200})

    async def test_draining_waits_for_what_has_begun(self) -> None:
        wire = await self.start_slow_work()
        drained = Deferred.fromCoroutine(self.api.application.drain())
        await turn()
        self.assertNoResult(drained)
        self.shop.go_on.callback(None)
        await drained
        self.assertAnswer(await wire.reply(), {"done": 1})
        wire.hang_up()

    async def test_there_is_nothing_to_drain_when_nothing_runs(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.api.application.drain()))

    async def test_draining_outlasts_a_client_that_left(self) -> None:
        await self.hang_up(await self.start_slow_work())
        drained = Deferred.fromCoroutine(self.api.application.drain())
        self.assertNoResult(drained)
        self.shop.go_on.callback(None)
        await drained
        self.assertEqual(self.shop.done, 1)

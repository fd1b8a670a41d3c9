"""Hawk as the pipeline uses it: which token opens what, what a signature must cover, and how answers are signed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mohawk.exc import HawkFail

from fxa_auth.records import TokenKind
from tests.http.server import EMAIL, NOW_S, PASSWORD, ApiCase, Key, session

STATUS = "/v1/session/status"
DAY_S = 86_400


class TokenTests(ApiCase):
    async def test_each_route_takes_its_own_kind_of_token_only(self) -> None:
        await self.api.sign_up()
        keys = await self.api.tokens()
        signed = [route for route in self.api.routes if route.auth is not None]
        self.assertEqual({route.auth for route in signed}, set(TokenKind))
        for route in signed:
            for kind, key in keys.items():
                reply = await self.api.send(route.method, route.path, b"{" if route.method == "POST" else b"", key)
                if kind is not route.auth:
                    self.assertError(reply, 401, 110)
                elif route.method == "POST":
                    self.assertCode(reply, 400, 106, route.path)

    async def test_a_token_of_one_kind_is_none_of_another_with_the_same_data(self) -> None:
        created = await self.api.sign_up()
        for kind in set(TokenKind) - {TokenKind.SESSION}:
            self.assertError(await self.api.get(STATUS, Key(kind, created["sessionToken"])), 401, 110)

    async def test_without_a_good_header_every_such_route_is_109(self) -> None:
        for route in self.api.routes:
            if route.auth is None:
                continue
            for header in (None, "", "Basic abc", "Hawk", "Bearer " + "a" * 64):
                headers = {} if header is None else {"Authorization": header}
                reply = await self.api.send(route.method, route.path, b"", headers=headers)
                self.assertError(reply, 401, 109)

    async def test_routes_without_auth_do_not_look_at_the_header(self) -> None:
        await self.api.sign_up()
        body = {"email": EMAIL, "authPW": PASSWORD}
        for header in ("Hawk", "Hawk id=", "Basic", "\xff", 'Hawk id="a", ts="1", nonce="b", mac="c"'):
            reply = await self.api.post("/v1/account/login", body, headers={"Authorization": header})
            self.assertCode(reply, 200, 0, header)
            self.assertIsNone(reply.header("Server-Authorization"))


class HeaderTests(ApiCase):
    async def test_bad_headers_of_every_kind(self) -> None:
        key = session(await self.api.sign_up())
        good = self.api.signer("GET", STATUS, key).request_header
        self.assertCode(await self.api.get(STATUS, headers={"Authorization": good}), 200)
        parts = dict(part.split("=", 1) for part in good.removeprefix("Hawk ").split(", "))
        malformed = [
            *(f"{scheme} {good[5:]}" for scheme in ("Hawkk", "Basic", "Bearer", "")),
            *(good.replace(f"{name}=", f"{other}=") for name in parts for other in ("x", name.upper(), "")),
            *(", ".join([good, f"{name}={value}"]) for name, value in parts.items()),
            *("Hawk " + ", ".join(f"{n}={v}" for n, v in parts.items() if n != name) for name in parts),
            *(good.replace(value, '""') for value in parts.values()),
            *(good.replace(value, value.strip('"')) for value in parts.values()),
            *(
                f'{good}, app="x"',
                f'{good}, dlg="x"',
                f"{good},",
                f"{good} x",
                good.replace('"', "'"),
                f'{good}, ext="{"x" * 5000}"',
            ),
            *(good.replace(parts["ts"], f'"{ts}"') for ts in ("x", "-1", "1.5", "1e3", "9" * 5000, " 1")),
            *(good.replace(parts["nonce"], value) for value in ('"a\\"b"', '"\t"', '"é"')),
        ]
        for header in malformed:
            reply = await self.api.get(STATUS, headers={"Authorization": header})
            self.assertError(reply, 401, 109)
            self.assertEqual(reply.json["message"], "Invalid request signature", header[:100])

    async def test_an_id_that_is_no_token_is_110(self) -> None:
        key = session(await self.api.sign_up())
        good = self.api.signer("GET", STATUS, key).request_header
        for token_id in ("x", "zz" * 32, key.id[:-2], key.id + "00", "00" * 32, key.id[:-1] + " "):
            reply = await self.api.get(STATUS, headers={"Authorization": good.replace(key.id, token_id)})
            self.assertError(reply, 401, 110)

    async def test_scheme_and_id_may_be_in_any_case(self) -> None:
        created = await self.api.sign_up()
        key = session(created)
        good = self.api.signer("GET", STATUS, key).request_header
        for header in (
            good,
            good.replace("Hawk", "hAWK"),
            good.replace(key.id, key.id.upper()),
            good.replace(", ", ","),
        ):
            reply = await self.api.get(STATUS, headers={"Authorization": header})
            self.assertAnswer(reply, {"uid": created["uid"]})

    async def test_a_signature_holds_for_its_own_request_only(self) -> None:
        key = session(await self.api.sign_up())
        for method, path in (
            ("POST", STATUS),
            ("GET", STATUS + "?a=c"),
            ("GET", "/v1/account/keys"),
        ):
            header = self.api.signer(method, path, key).request_header
            reply = await self.api.get(STATUS, headers={"Authorization": header})
            self.assertError(reply, 401, 109)
            self.assertEqual(reply.json["message"], "Bad mac")
        good = self.api.signer("GET", STATUS, key).request_header
        for name in ("ts", "nonce", "mac"):
            changed = good.replace(f'{name}="', f'{name}="1')
            self.assertError(await self.api.get(STATUS, headers={"Authorization": changed}), 401, 109)


class PayloadTests(ApiCase):
    """Routes that demand a signed body, and those that do not look at its hash."""

    async def attempt(
        self, path: str, key: Key, signed: tuple[bytes, str] | None, body: bytes, content_type: str
    ) -> Any:
        header = self.api.signer("POST", path, key, signed).request_header
        return await self.api.post(path, body, headers={"Authorization": header, "Content-Type": content_type})

    async def test_where_it_is_demanded_body_and_type_must_be_those_signed(self) -> None:
        await self.api.sign_up()
        keys = await self.api.tokens()
        body, json_type = b'{"a": 1}', "application/json"
        for route in self.api.routes:
            if route.auth is None or route.method != "POST":
                continue
            for signed, message in (
                (None, "Missing payload authentication"),
                ((b'{"a": 2}', json_type), "Payload is invalid"),
                ((b"", json_type), "Payload is invalid"),
                ((body, "application/x+json"), "Payload is invalid"),
                ((body, json_type), None),
                ((body, "APPLICATION/json; charset=x"), None),
            ):
                if route.path == "/v1/session/destroy":
                    continue
                reply = await self.attempt(route.path, keys[route.auth], signed, body, json_type)
                if route.payload and message:
                    self.assertError(reply, 401, 109)
                    self.assertEqual(reply.json["message"], message, route.path)
                    self.assertIsNotNone(reply.header("Server-Authorization"))
                else:
                    self.assertEqual(reply.status, 400, route.path)
        self.assertEqual(
            {route.path for route in self.api.routes if route.payload}, {"/v1/account/reset", "/v1/certificate/sign"}
        )


class AnswerTests(ApiCase):
    """``Api.send`` has mohawk check each Server-Authorization; here: that there is one, and that it binds."""

    async def test_answers_after_authentication_are_signed_errors_too(self) -> None:
        created = await self.api.sign_up(verified=False)
        key = session(created)
        fetch = Key(TokenKind.KEY_FETCH, created["keyFetchToken"])
        for reply in (
            await self.api.get(STATUS, key),
            await self.api.get("/v1/account/status", key),
            await self.api.get("/v1/account/keys", fetch),
            await self.api.post("/v1/recovery_email/resend_code", {"x": 1}, key),
            await self.api.post("/v1/recovery_email/resend_code", b"{", key),
            await self.api.post("/v1/session/destroy", None, key),
        ):
            self.assertIsNotNone(reply.header("Server-Authorization"), reply)

    async def test_answers_to_nobody_are_not(self) -> None:
        created = await self.api.sign_up()
        for reply in (
            await self.api.get(STATUS),
            await self.api.get(STATUS, Key(TokenKind.SESSION, "00" * 32)),
            await self.api.get("/nowhere", session(created)),
            await self.api.get("/", session(created)),
            await self.api.post("/v1/session/destroy", b" " * 16_385, session(created)),
        ):
            self.assertIsNone(reply.header("Server-Authorization"), reply)

    async def test_the_signature_is_over_the_very_answer(self) -> None:
        key = session(await self.api.sign_up())
        sender = self.api.signer("GET", STATUS, key)
        reply = await self.api.get(STATUS, headers={"Authorization": sender.request_header})
        proof, skew = reply.header("Server-Authorization"), 2**40
        sender.accept_response(proof, reply.body, reply.header("Content-Type"), timestamp_skew_in_seconds=skew)
        for body, content_type in ((reply.body + b" ", reply.header("Content-Type")), (reply.body, "text/html")):
            with self.assertRaises(HawkFail):
                sender.accept_response(proof, body, content_type, timestamp_skew_in_seconds=skew)


class CompatTests(ApiCase):
    async def test_clocks_may_be_wrong_by_years_and_requests_may_come_again(self) -> None:
        key = session(await self.api.sign_up())
        for offset_s in (0, DAY_S, -DAY_S, -19 * 365 * DAY_S, 19 * 365 * DAY_S):
            for _ in range(2):
                reply = await self.api.get(STATUS, key, ts=NOW_S + offset_s, nonce="again")
                self.assertCode(reply, 200, 0, offset_s)


class StrictTests(ApiCase):
    options: Mapping[str, Any] = {"strict": True}

    async def setUp(self) -> None:
        await super().setUp()
        self.key = session(await self.api.sign_up())
        self.api.clock.advance(1000)

    async def test_a_minute_is_the_most_that_clocks_may_differ(self) -> None:
        now_s = int(self.api.clock.seconds())
        for offset_s in (0, 60, -60):
            self.assertCode(await self.api.get(STATUS, self.key, ts=now_s + offset_s), 200, 0, offset_s)
        for offset_s in (61, -61, DAY_S, -DAY_S, -19 * 365 * DAY_S):
            self.assertError(await self.api.get(STATUS, self.key, ts=now_s + offset_s), 401, 111, serverTime=now_s)

    async def test_what_was_signed_before_the_process_started_is_refused(self) -> None:
        fresh = await self.serve(strict=True)
        key = session(await fresh.sign_up())
        self.assertError(await fresh.get(STATUS, key, ts=NOW_S - 1), 401, 111, serverTime=int(NOW_S))
        self.assertCode(await fresh.get(STATUS, key, ts=NOW_S), 200)

    async def test_a_request_is_good_once(self) -> None:
        other = session(await self.api.sign_up("other@example.org"))
        now_s = self.api.clock.seconds()
        for key, ts, nonce, code in (
            (self.key, now_s, "a", (200, 0)),
            (self.key, now_s, "a", (401, 115)),
            (self.key, now_s, "b", (200, 0)),
            (self.key, now_s + 1, "a", (200, 0)),
            (other, now_s, "a", (200, 0)),
            (self.key, now_s, "a", (401, 115)),
        ):
            self.assertEqual((await self.api.get(STATUS, key, ts=ts, nonce=nonce)).code, code)

    async def test_a_wrong_mac_uses_no_nonce_up(self) -> None:
        header = self.api.signer("GET", STATUS, self.key, nonce="n").request_header
        forged = header.replace('mac="', 'mac="0')
        for sent, code in ((forged, (401, 109)), (header, (200, 0)), (header, (401, 115)), (forged, (401, 109))):
            self.assertEqual((await self.api.get(STATUS, headers={"Authorization": sent})).code, code)

    async def test_a_hash_that_was_sent_must_be_right_on_every_route(self) -> None:
        path = "/v1/recovery_email/resend_code"
        for signed, body, code in (
            (None, b"{}", (200, 0)),
            ((b"{}", ""), b"{}", (200, 0)),
            ((b"{ }", ""), b"{}", (401, 109)),
            ((b"{ }", ""), b"", (200, 0)),
        ):
            header = self.api.signer("POST", path, self.key, signed).request_header
            reply = await self.api.post(path, body, headers={"Authorization": header})
            self.assertEqual(reply.code, code, (signed, body))

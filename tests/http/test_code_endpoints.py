"""Mailed codes over HTTP: verifying an address, unlocking an account, and the links that lead elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fxa_auth.records import TokenKind
from tests.http.server import CONTENT_SERVER, EMAIL, PASSWORD, ApiCase, Key, session
from tests.http.wire import request_bytes

NOBODY = "00" * 16
OPTIONS = {"service": "sync", "redirectTo": "https://a.firefox.com/b?c#d", "resume": "x y"}


class RecoveryEmailTests(ApiCase):
    async def verify(self, uid: str, code: str, **more: object) -> Any:
        return await self.api.post("/v1/recovery_email/verify_code", {"uid": uid, "code": code, **more})

    async def test_the_code_verifies_the_address_once(self) -> None:
        created = await self.api.sign_up(verified=False)
        fetch = Key(TokenKind.KEY_FETCH, created["keyFetchToken"])
        [letter] = await self.api.letters()
        path = "/v1/recovery_email/status"
        self.assertAnswer(await self.api.get(path, session(created)), {"email": EMAIL, "verified": False})
        self.assertError(await self.verify(created["uid"], NOBODY), 400, 105)
        for _ in range(2):
            self.assertAnswer(await self.verify(created["uid"].upper(), letter.code.hex().upper(), service="sync"), {})
        self.assertAnswer(await self.verify(created["uid"], NOBODY), {})
        self.assertAnswer(await self.api.get(path, session(created)), {"email": EMAIL, "verified": True})
        event = {"email": EMAIL, "uid": created["uid"], "locale": None}
        self.assertEqual((await self.api.events())[1:], [("verified", event)])
        self.assertCode(await self.api.get("/v1/account/keys", fetch), 200)

    async def test_an_unknown_uid_is_102_also_a_short_one(self) -> None:
        await self.api.sign_up(verified=False)
        for uid in (NOBODY, "00"):
            self.assertError(await self.verify(uid, NOBODY), 400, 102)

    async def test_the_same_code_is_mailed_again(self) -> None:
        key = session(await self.api.sign_up(verified=False))
        body = {**OPTIONS, "email": "someone@else.example"}
        headers = {"Accept-Language": "fy"}
        self.assertAnswer(await self.api.post("/v1/recovery_email/resend_code", body, key, headers=headers), {})
        first, second = await self.api.letters()
        self.assertEqual((second.kind, second.to, second.code), (first.kind, EMAIL, first.code))
        self.assertEqual([*vars(second.options).values()], [*OPTIONS.values()])
        self.assertEqual(second.accept_language, "fy")
        self.assertEqual(self.api.customs.marks[-1], ("recoveryEmailResendCode", EMAIL.lower(), "127.0.0.1"))

    async def test_a_refused_resend_mails_nothing(self) -> None:
        key = session(await self.api.sign_up(verified=False))
        self.api.customs.refused["recoveryEmailResendCode"] = 3
        reply = await self.api.post("/v1/recovery_email/resend_code", {}, key)
        self.assertError(reply, 429, 114, retryAfter=3)
        self.assertEqual(len(await self.api.letters()), 1)

    async def test_a_verified_account_is_mailed_nothing_and_the_policy_not_asked(self) -> None:
        key = session(await self.api.sign_up())
        self.api.customs.marks.clear()
        self.assertAnswer(await self.api.post("/v1/recovery_email/resend_code", {}, key), {})
        self.assertEqual((len(await self.api.letters()), self.api.customs.marks), (1, []))


class BlackoutTests(ApiCase):
    options: Mapping[str, Any] = {"blackout_ms": 600_000}

    async def test_no_second_mail_within_the_blackout(self) -> None:
        key = session(await self.api.sign_up(verified=False))
        for seconds, mails in ((0, 1), (599.75, 1), (0.25, 2)):
            self.api.clock.advance(seconds)
            self.assertAnswer(await self.api.post("/v1/recovery_email/resend_code", {}, key), {})
            self.assertEqual(len(await self.api.letters()), mails, seconds)


class UnlockTests(ApiCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.uid = (await self.api.sign_up())["uid"]

    async def lock(self) -> str:
        await self.api.post("/v1/account/lock", {"email": EMAIL, "authPW": PASSWORD})
        return ((await self.api.account()).unlock_code or b"").hex()

    async def verify(self, code: str, uid: str = "") -> Any:
        return await self.api.post("/v1/account/unlock/verify_code", {"uid": uid or self.uid, "code": code})

    async def test_the_code_is_mailed(self) -> None:
        code = await self.lock()
        reply = await self.api.post("/v1/account/unlock/resend_code", {"email": EMAIL.lower(), **OPTIONS})
        self.assertAnswer(reply, {})
        letter = (await self.api.letters())[-1]
        self.assertEqual((letter.kind.value, letter.to, letter.code.hex()), ("unlock", EMAIL, code))
        self.assertEqual([*vars(letter.options).values()], [*OPTIONS.values()])

    async def test_the_policy_then_the_account_then_its_lock(self) -> None:
        nobody = {"email": "nobody@example.org"}
        path = "/v1/account/unlock/resend_code"
        self.assertError(await self.api.post(path, {"email": EMAIL.upper()}), 400, 122, email=EMAIL.upper())
        self.assertError(await self.api.post(path, nobody), 400, 102, **nobody)
        self.api.customs.refused["accountUnlockResendCode"] = 4
        self.assertError(await self.api.post(path, nobody), 429, 114, retryAfter=4)

    async def test_the_right_code_unlocks_and_clears_the_failed_logins(self) -> None:
        code = await self.lock()
        self.assertError(await self.verify(NOBODY), 400, 105)
        self.assertError(await self.verify(code, NOBODY), 400, 102)
        self.assertAnswer(await self.verify(code), {})
        self.assertEqual(self.api.customs.marks[-1], ("unlocked", EMAIL.lower()))
        account = await self.api.account()
        self.assertEqual((account.locked_at_ms, account.unlock_code), (None, None))
        self.assertAnswer(await self.verify(NOBODY), {})


class LinkTests(ApiCase):
    """GETs that only lead to the content server."""

    HEX = "0f" * 16
    OWN: Mapping[str, Mapping[str, str]] = {
        "/v1/verify_email": {"code": HEX, "uid": HEX},
        "/v1/complete_unlock_account": {"code": HEX, "uid": HEX},
        "/v1/complete_reset_password": {"email": "a%2Bb%40c.de", "code": HEX, "token": HEX + HEX},
    }
    """Path, and the parameters that must be there."""

    async def test_the_query_goes_along_as_it_is(self) -> None:
        for path, params in self.OWN.items():
            own = "&".join(f"{name}={value}" for name, value in params.items())
            reversed_own = "&".join(f"{name}={value}" for name, value in reversed(params.items()))
            for query in (
                own,
                reversed_own,
                own + "&service=sync&redirectTo=https%3A%2F%2Ffirefox.com%2Fa&resume=a+b%26",
                own + "&utm_source=x&&=&%C3%A9",
                own.replace(self.HEX, "00"),
            ):
                for method in ("GET", "HEAD"):
                    reply = await self.api.send(method, f"{path}?{query}")
                    self.assertEqual((reply.status, reply.body), (302, b""), query)
                    self.assertEqual(reply.header("Location"), f"{CONTENT_SERVER}{path}?{query}")
                    self.assertEqual(reply.header("Content-Type"), None)

    async def test_a_byte_that_no_url_may_hold_is_encoded_on_its_way(self) -> None:
        target = f"/v1/verify_email?code={self.HEX}&uid={self.HEX}&utm=\udc85%20"
        reply = await self.api.raw(request_bytes("GET", target, {}))
        self.assertEqual(reply.status, 302)
        self.assertTrue(reply.header("Location").endswith("&utm=%85%20"), reply.header("Location"))

    async def test_a_missing_parameter_is_108_in_the_order_of_the_table(self) -> None:
        for path, params in self.OWN.items():
            names = list(params)
            for kept in range(len(names)):
                query = "&".join(f"{name}={params[name]}" for name in names[:kept])
                self.assertError(await self.api.get(f"{path}?{query}"), 400, 108, param=names[kept])

    async def test_a_bad_parameter_is_107_of_the_query(self) -> None:
        bad = {
            "code": ("", "0", "0" * 34, "xy", "00%00", "00&code=00"),
            "uid": ("", "0", "0" * 34, "xy"),
            "token": ("", "000", "0" * 66),
            "email": ("", "nobody", "a@b@c", "%ff%40example.org", "a%00%40example.org"),
            "service": ("", "a-b", "a" * 17),
            "redirectTo": ("", "https://evilfirefox.com", "javascript:x", "https://firefox.com/%0d%0a"),
            "resume": ("", "a" * 2049, "%00", "%ed%a0%80"),
        }
        for path, params in self.OWN.items():
            for name in [*params, "service", "redirectTo", "resume"]:
                for value in bad[name]:
                    query = "&".join(f"{key}={text}" for key, text in {**params, name: value}.items())
                    reply = await self.api.get(f"{path}?{query}")
                    self.assertError(reply, 400, 107, validation={"source": "query", "keys": [name]})

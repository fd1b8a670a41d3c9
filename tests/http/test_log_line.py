"""The line that each request leaves in the log, and what must never stand there."""

from __future__ import annotations

from typing import Any

from fxa_auth.records import TokenKind
from tests.http.server import EMAIL, PASSWORD, ApiCase, Key, session

STANDING = {"code", "errno", "rid", "method", "path", "lang", "agent", "remoteAddressChain", "t"}
BUNYAN = {"name", "hostname", "pid", "level", "time", "msg", "v", "op"}
# trial's own observer adds these to every event that passes it.
TRIAL = {"message", "time_", "system", "format", "isError", "log_legacy"}
LOGIN = {"email": EMAIL, "authPW": PASSWORD}


class SummaryTests(ApiCase):
    async def summary(self) -> dict[str, Any]:
        """The fields of the latest request's line, without those that every line has."""
        line = self.log.lines("request.summary")[-1]
        self.assertEqual((line["level"], line["msg"]), (30, "request.summary"))
        return {name: value for name, value in line.items() if name not in BUNYAN | TRIAL}

    async def test_every_line_says_what_was_asked_by_whom_and_what_came_of_it(self) -> None:
        headers = {"Accept-Language": "de", "User-Agent": "agent " + "x" * 300, "X-Forwarded-For": "1.1.1.1"}
        await self.api.get("/v1/session/status?secret=1", headers=headers)
        fields = await self.summary()
        rid = fields.pop("rid")
        self.assertRegex(rid, "^[0-9a-f]{16}$")
        self.assertEqual(
            fields,
            {
                "code": 401,
                "errno": 109,
                "method": "GET",
                "path": "/v1/session/status",
                "lang": "de",
                "agent": ("agent " + "x" * 300)[:255],
                "remoteAddressChain": ["1.1.1.1", "127.0.0.1"],
                "t": 0,
            },
        )
        await self.api.get("/")
        again = await self.summary()
        self.assertNotEqual(again["rid"], rid)
        self.assertEqual((again["code"], again["errno"], again["lang"], again["agent"]), (200, 0, None, ""))

    async def test_what_more_is_known_is_told(self) -> None:
        options = {"service": "sync", "redirectTo": "https://firefox.com/", "resume": "r"}
        body = {**LOGIN, **options}
        told = {"email": EMAIL, "service": "sync", "redirectTo": "https://firefox.com/"}
        created = (await self.api.post("/v1/account/create?keys=true", body)).json
        first = {"uid": created["uid"], "keys": True, "accountRecreated": False}
        self.assertEqual(self.extras(await self.summary()), {**told, **first})
        self.api.clock.advance(1)
        created = (await self.api.post("/v1/account/create", body)).json
        second = {"uid": created["uid"], "accountRecreated": True}
        self.assertEqual(self.extras(await self.summary()), {**told, **second})
        await self.api.post("/v1/account/login", LOGIN)
        self.assertEqual(self.extras(await self.summary()), {"email": EMAIL, "uid": created["uid"]})
        await self.api.get("/v1/session/status", session(created))
        self.assertEqual(self.extras(await self.summary()), {"uid": created["uid"]})
        await self.api.post("/v1/recovery_email/verify_code", {"uid": created["uid"], "code": "00" * 16})
        fields = await self.summary()
        self.assertEqual((self.extras(fields), fields["errno"]), ({"uid": created["uid"]}, 105))

    def extras(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if name not in STANDING}

    async def test_the_time_from_first_byte_to_answer_is_told_in_ms(self) -> None:
        wire = await self.api.connect()
        wire.send(b"POST /v1/get_random_bytes HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        while b"100" not in wire.buffer:
            await wire.more()
        wire.buffer = b""
        self.api.clock.advance(0.125)
        wire.send(b"{}")
        await wire.reply()
        wire.hang_up()
        self.assertEqual((await self.summary())["t"], 125)

    async def test_every_request_but_options_leaves_one_line(self) -> None:
        for method, path, body in (
            ("GET", "/", b""),
            ("GET", "/nowhere", b""),
            ("GET", "/v0/x", b""),
            ("HEAD", "/", b""),
            ("POST", "/v1/account/login", b"{"),
            ("POST", "/v1/account/login", b"x" * 20_000),
        ):
            before = len(self.log.lines("request.summary"))
            reply = await self.api.send(method, path, body)
            lines = self.log.lines("request.summary")[before:]
            self.assertEqual([line["code"] for line in lines], [reply.status], (method, path))
            await self.api.send("OPTIONS", path)
            self.assertEqual(len(self.log.lines("request.summary")), before + 1)

    async def test_bytes_that_are_no_request_leave_a_line_too(self) -> None:
        await self.api.raw(b"nonsense\r\n")
        self.assertEqual([line["remoteAddressChain"] for line in self.log.lines("request.malformed")], [["127.0.0.1"]])


class SecretTests(ApiCase):
    async def test_nothing_of_an_accounts_life_is_in_the_log(self) -> None:
        """The whole log, at its most talkative, after every endpoint was used rightly and wrongly."""
        secrets = {PASSWORD}
        created = await self.api.sign_up(verified=False, resume="resume-secret")
        verify = {"uid": created["uid"], "code": (await self.api.letters())[0].code.hex()}
        await self.api.get(f"/v1/verify_email?uid={verify['uid']}&code={verify['code']}&resume=resume-secret")
        await self.api.post("/v1/recovery_email/verify_code", {**verify, "code": "5e" * 16})
        await self.api.post("/v1/recovery_email/verify_code", verify)
        keys = await self.api.tokens()
        keys[TokenKind.KEY_FETCH] = Key(TokenKind.KEY_FETCH, created["keyFetchToken"])
        await self.api.post("/v1/account/lock", LOGIN)
        await self.api.post("/v1/account/unlock/resend_code", {"email": EMAIL})
        secrets |= {letter.code.hex() for letter in await self.api.letters()} | {"5e" * 16, "resume-secret"}
        for route in self.api.routes:
            body = {"email": EMAIL, "authPW": PASSWORD, "wrapKb": "7e" * 32, "code": "5e" * 16}
            for content in ({name: body[name] for name in body if name != "email"}, body, {**body, "email": 1}):
                key = keys.get(route.auth) if route.auth else None
                reply = await self.api.send(route.method, route.path + "?authPW=" + PASSWORD, content, key)
                self.assertLess(reply.status, 500)
        for key in keys.values():
            secrets |= {key.data, key.id, key.credentials["key"].hex()}
        account = await self.api.store.accounts.by_email(EMAIL.lower())
        if account is not None:
            secrets |= {account.ka.hex(), account.email_code.hex(), account.verifier.verify_hash.hex()}
        self.assertGreater(len(secrets), 20)
        self.assertGreater(len(self.log.lines("request.summary")), 90)
        text = self.log.text.lower()
        self.assertEqual([secret for secret in sorted(secrets) if secret.lower() in text], [])

"""The order of checks: of two faults in one request the earlier one is answered, and no refusal costs a token."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from fxa_auth.http.site import MAX_BODY
from fxa_auth.records import TokenKind
from tests.http.server import EMAIL, PASSWORD, ApiCase, Key
from tests.http.wire import Reply

STAGES: Mapping[str, tuple[int, int]] = {
    "path": (404, 999),
    "size": (413, 113),
    "length": (411, 112),
    "token": (401, 110),
    "type": (415, 999),
    "json": (400, 106),
    "payload": (401, 109),
    "parameter": (400, 108),
    "policy": (429, 114),
    "account": (400, 102),
}
"""What may be wrong with a request, in the order of the checks, and how it is answered."""


def unknown(kind: TokenKind) -> Key:
    return Key(kind, "00" * 32)


class FaultyCase(ApiCase):
    async def send_with(self, faults: set[str], path: str, body: bytes, key: Key | None) -> Reply:
        """A request that would be good but for these faults. ``account`` is up to the one who chooses the body."""
        headers = {"Content-Type": "text/plain" if "type" in faults else "application/json"}
        if "parameter" in faults:
            body = b"{}"
        if "json" in faults:
            body = b"{" + body
        if "size" in faults:
            body += b" " * MAX_BODY
        if "token" in faults and key is not None:
            key = unknown(key.kind)
        if "path" in faults:
            path += "/"
        signature = None
        if key is not None:
            content = None if "payload" in faults else (body, headers["Content-Type"])
            signature = self.api.signer("POST", path, key, content).request_header
        if "length" in faults:
            headers["Transfer-Encoding"] = "chunked"
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        self.api.customs.refused = {}
        if "policy" in faults:
            self.api.customs.refused = {"passwordForgotResendCode": 1, "accountLogin": 1}
        if signature is not None:
            headers["Authorization"] = signature
        return await self.api.send("POST", path, body, headers=headers)


class OrderTests(FaultyCase):
    async def test_the_earlier_of_two_faults_is_answered(self) -> None:
        await self.api.sign_up()
        keys = await self.api.tokens()
        password, nobody = b'{"authPW": "%s"}' % PASSWORD.encode(), b'{"email": "nobody@example.org"'
        for path, body, kind, absent in (
            ("/v1/account/reset", password, TokenKind.ACCOUNT_RESET, {"policy", "account"}),
            ("/v1/password/forgot/resend_code", nobody + b"}", TokenKind.PASSWORD_FORGOT, {"payload", "account"}),
            ("/v1/account/login", nobody + b"," + password[1:], None, {"token", "payload"}),
        ):
            key = None if kind is None else keys[kind]
            stages = [stage for stage in STAGES if stage not in absent]
            for earlier, later in combinations(stages, 2):
                reply = await self.send_with({earlier, later}, path, body, key)
                self.assertEqual(reply.code, STAGES[earlier], (path, earlier, later))
            if "account" not in absent:
                self.assertCode(await self.send_with(set(), path, body, key), *STAGES["account"])

    async def test_the_first_faulty_parameter_in_the_order_of_the_table_is_named(self) -> None:
        bad_both = {"authPW": "x", "email": "x", "zzz": 1}
        for body, errno, named in (
            (bad_both, 107, "email"),
            ({"authPW": "x", "zzz": 1}, 108, "email"),
            ({"email": EMAIL, "zzz": 1}, 108, "authPW"),
            ({"email": EMAIL, "authPW": "x", "zzz": 1, "service": "-"}, 107, "authPW"),
            ({"email": EMAIL, "authPW": PASSWORD, "zzz": 1, "service": "-"}, 107, "service"),
        ):
            reply = await self.api.post("/v1/account/create", body)
            extras = {"param": named} if errno == 108 else {"validation": {"source": "payload", "keys": [named]}}
            self.assertError(reply, 400, errno, **extras)


class RefusalTests(FaultyCase):
    async def test_a_refused_request_costs_neither_token_nor_try(self) -> None:
        await self.api.sign_up()
        keys = await self.api.tokens()
        code = (await self.api.letters())[-1].code.hex().encode()
        password, wrap_kb = b'"authPW": "%s"' % PASSWORD.encode(), b'"wrapKb": "%s"' % PASSWORD.encode()
        for path, body, kind in (
            ("/v1/password/forgot/verify_code", b'{"code": "%s"}' % code, TokenKind.PASSWORD_FORGOT),
            ("/v1/password/forgot/resend_code", b'{"email": "a@b.c"}', TokenKind.PASSWORD_FORGOT),
            ("/v1/session/destroy", b"{}", TokenKind.SESSION),
            ("/v1/account/reset", b"{%s}" % password, TokenKind.ACCOUNT_RESET),
            ("/v1/password/change/finish", b"{%s, %s}" % (password, wrap_kb), TokenKind.PASSWORD_CHANGE),
        ):
            if kind is TokenKind.PASSWORD_CHANGE:  # the reset before has ended all tokens
                keys = await self.api.tokens()
            absent = {"account", "token"}
            absent |= set() if path == "/v1/account/reset" else {"payload"}
            absent |= set() if path.endswith("resend_code") else {"policy"}
            absent |= {"parameter"} if path == "/v1/session/destroy" else set()
            if path.endswith("verify_code"):
                status = await self.api.get("/v1/password/forgot/status", keys[kind])
            for stage in STAGES:
                if stage not in absent:
                    reply = await self.send_with({stage}, path, body, keys[kind])
                    self.assertEqual(reply.code, STAGES[stage], (path, stage))
            if path.endswith("verify_code"):
                again = await self.api.get("/v1/password/forgot/status", keys[kind])
                self.assertEqual((again.json["tries"], again.body), (3, status.body))
                continue
            self.assertCode(await self.send_with(set(), path, body, keys[kind]), 200, 0, path)

    async def test_neither_does_a_refused_get_of_the_keys(self) -> None:
        created = await self.api.sign_up(verified=False)
        key = Key(TokenKind.KEY_FETCH, created["keyFetchToken"])
        path = "/v1/account/keys"
        signature = {"Authorization": self.api.signer("GET", path, key).request_header}
        for headers, code in (
            ({"Content-Length": str(MAX_BODY + 1)}, (413, 113)),
            ({"Transfer-Encoding": "chunked"}, (411, 112)),
            ({}, (400, 104)),
        ):
            body = b"0\r\n\r\n" if "Transfer-Encoding" in headers else b""
            self.assertEqual((await self.api.send("GET", path, body, headers={**headers, **signature})).code, code)
        await self.api.store.change(self.api.store.accounts.verify_email(bytes.fromhex(created["uid"])))
        self.assertCode(await self.api.get(path, key), 200)

    async def test_nor_does_a_code_that_is_none(self) -> None:
        await self.api.sign_up()
        key = await self.api.forgot()
        for code in ("", "00" * 15, "zz" * 16, None, 5):
            self.assertCode(await self.api.post("/v1/password/forgot/verify_code", {"code": code}, key), 400, 107)
        self.assertEqual((await self.api.get("/v1/password/forgot/status", key)).json["tries"], 3)

"""Where the abuse policy is asked: every endpoint that does so, with which action, and before anything is looked up."""

from __future__ import annotations

from typing import Any

from tests.http.server import EMAIL, PASSWORD, ApiCase, Key, session

NOBODY = "Nobody@Example.org"
IP = "198.51.100.7"

BY_ADDRESS = (
    ("/v1/account/create", {"authPW": PASSWORD}, "accountCreate", None),
    ("/v1/account/login", {"authPW": PASSWORD}, "accountLogin", 102),
    ("/v1/account/destroy", {"authPW": PASSWORD}, "accountDestroy", 102),
    ("/v1/account/lock", {"authPW": PASSWORD}, "accountLock", 102),
    ("/v1/account/unlock/resend_code", {}, "accountUnlockResendCode", 102),
    ("/v1/password/change/start", {"oldAuthPW": PASSWORD}, "passwordChange", 102),
    ("/v1/password/forgot/send_code", {}, "passwordForgotSendCode", 102),
)
"""Path, what the body holds beside an address, action, and what an unknown address is answered with."""


class MarkTests(ApiCase):
    async def post(self, path: str, body: Any, key: Key | None = None) -> Any:
        """The answer to a request of the client at IP, and what it had the policy asked before."""
        self.api.customs.marks.clear()
        reply = await self.api.post(path, body, key, headers={"X-Forwarded-For": IP})
        return reply, list(self.api.customs.marks)

    async def test_the_policy_is_asked_before_the_address_is_looked_up(self) -> None:
        for path, more, action, errno in BY_ADDRESS:
            mark = (action, NOBODY.lower(), IP)
            self.api.customs.refused = {action: 77}
            reply, marks = await self.post(path, {"email": NOBODY, **more})
            self.assertError(reply, 429, 114, retryAfter=77)
            self.assertEqual((reply.header("Retry-After"), marks), ("77", [mark]), path)
            self.api.customs.refused = {}
            if errno is not None:
                reply, marks = await self.post(path, {"email": NOBODY, **more})
                self.assertError(reply, 400, errno, email=NOBODY)
                self.assertEqual(marks, [mark], path)

    async def test_with_a_token_the_policy_is_asked_about_its_account(self) -> None:
        sessions = session(await self.api.sign_up(verified=False))
        for path, key, body, action in (
            ("/v1/recovery_email/resend_code", sessions, {}, "recoveryEmailResendCode"),
            ("/v1/password/forgot/resend_code", await self.api.forgot(), {"email": NOBODY}, "passwordForgotResendCode"),
        ):
            self.api.customs.refused = {action: 78}
            mails = len(await self.api.letters())
            reply, marks = await self.post(path, body, key)
            self.assertError(reply, 429, 114, retryAfter=78)
            self.assertEqual(marks, [(action, EMAIL.lower(), IP)], path)
            self.assertEqual(len(await self.api.letters()), mails)
            self.api.customs.refused = {}
            reply, marks = await self.post(path, body, key)
            self.assertEqual((reply.status, marks), (200, [(action, EMAIL.lower(), IP)]))
            self.assertEqual(len(await self.api.letters()), mails + 1)

    async def test_no_other_endpoint_asks(self) -> None:
        marked = {path for path, *_ in BY_ADDRESS}
        marked |= {"/v1/recovery_email/resend_code", "/v1/password/forgot/resend_code"}
        await self.api.sign_up()
        keys = await self.api.tokens()
        code, others = "00" * 16, []
        bodies: dict[str, Any] = {
            "/v1/account/reset": {"authPW": PASSWORD},
            "/v1/account/unlock/verify_code": {"uid": code, "code": code},
            "/v1/recovery_email/verify_code": {"uid": code, "code": code},
            "/v1/password/change/finish": {"authPW": PASSWORD, "wrapKb": PASSWORD},
            "/v1/password/forgot/verify_code": {"code": code},
        }
        for route in self.api.routes:
            if route.method == "POST" and route.path not in marked:
                key = None if route.auth is None else keys[route.auth]
                _, marks = await self.post(route.path, bodies.get(route.path, {}), key)
                others += [(route.path, mark[0]) for mark in marks if mark[0] not in ("password reset", "unlocked")]
        self.assertEqual(others, [])

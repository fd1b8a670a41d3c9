"""Routes of mailed codes: /recovery_email/…, /account/unlock/…, and the links that lead to the content server."""

from __future__ import annotations

from string import punctuation
from typing import Any
from urllib.parse import quote

from fxa_auth.http.models import (
    CodeLink,
    ResendEmailCode,
    ResetLink,
    SendCode,
    VerifyEmailCode,
    VerifyUnlockCode,
    link_options,
)
from fxa_auth.http.route import Answer, Call, Handler, NoParams, Route, json_answer
from fxa_auth.records import TokenKind
from fxa_auth.verification import Verification

_AS_SENT = punctuation
"""Only bytes that no URL may hold are percent-encoded when a query is handed on."""


class CodeRoutes:
    """``content_server_url`` is where the pages behind mailed links are, without a slash at its end."""

    def __init__(self, verification: Verification, content_server_url: str) -> None:
        self._verification = verification
        self._content_server_url = content_server_url

    def table(self) -> list[Route]:
        session = TokenKind.SESSION
        return [
            Route("GET", "/v1/recovery_email/status", self.recovery_email_status, auth=session),
            Route("POST", "/v1/recovery_email/resend_code", self.recovery_email_resend_code, ResendEmailCode, session),
            Route("POST", "/v1/recovery_email/verify_code", self.recovery_email_verify_code, VerifyEmailCode),
            Route("POST", "/v1/account/unlock/resend_code", self.account_unlock_resend_code, SendCode),
            Route("POST", "/v1/account/unlock/verify_code", self.account_unlock_verify_code, VerifyUnlockCode),
            Route("GET", "/v1/verify_email", self._redirect("/v1/verify_email"), CodeLink),
            Route("GET", "/v1/complete_reset_password", self._redirect("/v1/complete_reset_password"), ResetLink),
            Route("GET", "/v1/complete_unlock_account", self._redirect("/v1/complete_unlock_account"), CodeLink),
        ]

    async def recovery_email_status(self, call: Call[NoParams]) -> Answer:
        return json_answer({"email": call.token.email, "verified": call.token.email_verified})

    async def recovery_email_resend_code(self, call: Call[ResendEmailCode]) -> Answer:
        await self._verification.resend_email_code(call.token, call.client, link_options(call.params))
        return json_answer({})

    async def recovery_email_verify_code(self, call: Call[VerifyEmailCode]) -> Answer:
        call.note(uid=call.params.uid.hex())
        await self._verification.verify_email_code(call.params.uid, call.params.code)
        return json_answer({})

    async def account_unlock_resend_code(self, call: Call[SendCode]) -> Answer:
        params = call.params
        uid = await self._verification.resend_unlock_code(params.email, call.client, link_options(params))
        call.note(uid=uid.hex())
        return json_answer({})

    async def account_unlock_verify_code(self, call: Call[VerifyUnlockCode]) -> Answer:
        call.note(uid=call.params.uid.hex())
        await self._verification.verify_unlock_code(call.params.uid, call.params.code)
        return json_answer({})

    def _redirect(self, path: str) -> Handler:
        async def redirect(call: Call[Any]) -> Answer:
            query = quote(call.query, safe=_AS_SENT, encoding="latin-1")
            location = f"{self._content_server_url}{path}?{query}"
            return Answer(302, b"", None, {"Location": location})

        return redirect

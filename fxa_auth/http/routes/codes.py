"""Routes of mailed codes: /recovery_email/… and /account/unlock/…."""

from __future__ import annotations

from fxa_auth.http.models import (
    ResendEmailCode,
    SendCode,
    VerifyEmailCode,
    VerifyUnlockCode,
    link_options,
)
from fxa_auth.http.route import Answer, Call, NoParams, Route, json_answer
from fxa_auth.records import TokenKind
from fxa_auth.verification import Verification


class CodeRoutes:
    def __init__(self, verification: Verification) -> None:
        self._verification = verification

    def table(self) -> list[Route]:
        session = TokenKind.SESSION
        return [
            Route("GET", "/v1/recovery_email/status", self.recovery_email_status, auth=session),
            Route("POST", "/v1/recovery_email/resend_code", self.recovery_email_resend_code, ResendEmailCode, session),
            Route("POST", "/v1/recovery_email/verify_code", self.recovery_email_verify_code, VerifyEmailCode),
            Route("POST", "/v1/account/unlock/resend_code", self.account_unlock_resend_code, SendCode),
            Route("POST", "/v1/account/unlock/verify_code", self.account_unlock_verify_code, VerifyUnlockCode),
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

"""Routes of passwords: /password/…, /account/reset."""

from __future__ import annotations

from fxa_auth.credentials import PASS_CODE_LENGTH, Credentials, ForgotStatus
from fxa_auth.http.models import (
    NewPassword,
    PasswordChangeFinish,
    PasswordChangeStart,
    SendCode,
    VerifyForgotCode,
    link_options,
)
from fxa_auth.http.route import Answer, Call, NoParams, Route, json_answer
from fxa_auth.records import TokenKind


class PasswordRoutes:
    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def table(self) -> list[Route]:
        forgot, change, reset = TokenKind.PASSWORD_FORGOT, TokenKind.PASSWORD_CHANGE, TokenKind.ACCOUNT_RESET
        return [
            Route("POST", "/v1/password/change/start", self.password_change_start, PasswordChangeStart),
            Route("POST", "/v1/password/change/finish", self.password_change_finish, PasswordChangeFinish, change),
            Route("POST", "/v1/password/forgot/send_code", self.password_forgot_send_code, SendCode),
            Route("POST", "/v1/password/forgot/resend_code", self.password_forgot_resend_code, SendCode, forgot),
            Route(
                "POST", "/v1/password/forgot/verify_code", self.password_forgot_verify_code, VerifyForgotCode, forgot
            ),
            Route("GET", "/v1/password/forgot/status", self.password_forgot_status, auth=forgot),
            Route("POST", "/v1/account/reset", self.account_reset, NewPassword, reset, payload=True),
        ]

    async def password_change_start(self, call: Call[PasswordChangeStart]) -> Answer:
        change = await self._credentials.start_change(call.params.email, call.params.old_auth_pw, call.client)
        call.note(uid=change.uid.hex())
        return json_answer(
            {
                "keyFetchToken": change.key_fetch_token.data.hex(),
                "passwordChangeToken": change.password_change_token.data.hex(),
                "verified": change.verified,
            }
        )

    async def password_change_finish(self, call: Call[PasswordChangeFinish]) -> Answer:
        await self._credentials.finish_change(call.token, call.params.auth_pw, call.params.wrap_kb, call.client)
        return json_answer({})

    async def password_forgot_send_code(self, call: Call[SendCode]) -> Answer:
        params = call.params
        uid, token, status = await self._credentials.send_forgot_code(params.email, call.client, link_options(params))
        call.note(uid=uid.hex())
        return json_answer(_forgot_answer(token.data, status))

    async def password_forgot_resend_code(self, call: Call[SendCode]) -> Answer:
        status = await self._credentials.resend_forgot_code(call.token, call.client, link_options(call.params))
        assert call.token.data is not None, "a passwordForgotToken is stored with its data"
        return json_answer(_forgot_answer(call.token.data, status))

    async def password_forgot_verify_code(self, call: Call[VerifyForgotCode]) -> Answer:
        reset_token = await self._credentials.verify_forgot_code(call.token, call.params.code)
        return json_answer({"accountResetToken": reset_token.data.hex()})

    async def password_forgot_status(self, call: Call[NoParams]) -> Answer:
        status = self._credentials.forgot_status(call.token)
        return json_answer({"tries": status.tries, "ttl": status.ttl_s})

    async def account_reset(self, call: Call[NewPassword]) -> Answer:
        await self._credentials.reset(call.token, call.params.auth_pw, call.client)
        return json_answer({})


def _forgot_answer(token_data: bytes, status: ForgotStatus) -> dict[str, object]:
    return {
        "passwordForgotToken": token_data.hex(),
        "ttl": status.ttl_s,
        "codeLength": PASS_CODE_LENGTH,
        "tries": status.tries,
    }

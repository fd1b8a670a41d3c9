"""Routes of accounts and sessions: /account/… (but for passwords and unlocking) and /session/…"""

from __future__ import annotations

from typing import Any

from fxa_auth.accounts import Accounts, SignIn
from fxa_auth.http.models import AccountCreate, AccountStatus, EmailAndPassword, link_options
from fxa_auth.http.route import Answer, Call, NoParams, Route, json_answer
from fxa_auth.records import TokenKind
from fxa_auth.sessions import Sessions

_LOGIN_IGNORES = frozenset(("service", "redirectTo", "resume"))


class AccountRoutes:
    """``lock`` is there in development only."""

    def __init__(self, accounts: Accounts, sessions: Sessions, development: bool) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._development = development

    def table(self) -> list[Route]:
        session = TokenKind.SESSION
        routes = [
            Route("POST", "/v1/account/create", self.account_create, AccountCreate),
            Route("POST", "/v1/account/login", self.account_login, EmailAndPassword, also_ignored=_LOGIN_IGNORES),
            Route("GET", "/v1/account/status", self.account_status, AccountStatus, optional_auth=session),
            Route("GET", "/v1/account/devices", self.account_devices, auth=session),
            Route("GET", "/v1/account/keys", self.account_keys, auth=TokenKind.KEY_FETCH),
            Route("POST", "/v1/account/destroy", self.account_destroy, EmailAndPassword),
            Route("GET", "/v1/session/status", self.session_status, auth=session),
            Route("POST", "/v1/session/destroy", self.session_destroy, auth=session),
        ]
        if self._development:
            routes.append(Route("POST", "/v1/account/lock", self.account_lock, EmailAndPassword))
        return routes

    async def account_create(self, call: Call[AccountCreate]) -> Answer:
        params = call.params
        sign_in = await self._accounts.create(
            params.email,
            params.auth_pw,
            call.client,
            link_options(params),
            pre_verified=params.pre_verified,
            pre_verify_token=params.pre_verify_token,
            invite_code=params.invite_code,
            with_keys=call.wants_keys,
        )
        call.note(uid=sign_in.uid.hex(), accountRecreated=sign_in.replaced)
        return json_answer({**_tokens_of(sign_in), "authAt": sign_in.auth_at_s})

    async def account_login(self, call: Call[EmailAndPassword]) -> Answer:
        params = call.params
        sign_in = await self._accounts.login(params.email, params.auth_pw, call.client, with_keys=call.wants_keys)
        call.note(uid=sign_in.uid.hex())
        return json_answer({**_tokens_of(sign_in), "verified": sign_in.verified, "authAt": sign_in.auth_at_s})

    async def account_status(self, call: Call[Any]) -> Answer:
        if call.optional_token is not None:
            return json_answer({"exists": True, "locale": call.optional_token.locale})
        return json_answer({"exists": await self._accounts.exists(call.params.uid)})

    async def account_devices(self, call: Call[NoParams]) -> Answer:
        sessions = await self._sessions.count(call.token)
        return json_answer({"devices": [str(number) for number in range(sessions)]})

    async def account_keys(self, call: Call[NoParams]) -> Answer:
        return json_answer({"bundle": (await self._accounts.fetch_keys(call.token)).hex()})

    async def account_destroy(self, call: Call[EmailAndPassword]) -> Answer:
        uid = await self._accounts.destroy(call.params.email, call.params.auth_pw, call.client)
        call.note(uid=uid.hex())
        return json_answer({})

    async def account_lock(self, call: Call[EmailAndPassword]) -> Answer:
        await self._accounts.lock(call.params.email, call.params.auth_pw, call.client)
        return json_answer({})

    async def session_status(self, call: Call[NoParams]) -> Answer:
        return json_answer({"uid": call.token.uid.hex()})

    async def session_destroy(self, call: Call[NoParams]) -> Answer:
        await self._sessions.destroy(call.token)
        return json_answer({})


def _tokens_of(sign_in: SignIn) -> dict[str, str]:
    tokens = {"uid": sign_in.uid.hex(), "sessionToken": sign_in.session_token.data.hex()}
    if sign_in.key_fetch_token is not None:
        tokens["keyFetchToken"] = sign_in.key_fetch_token.data.hex()
    return tokens

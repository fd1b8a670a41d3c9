"""The route table against the API document: every endpoint, who may call it, and its parameters in their order."""

from __future__ import annotations

import dataclasses
from typing import get_args, get_type_hints

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.http.route import Route
from fxa_auth.records import TokenKind
from tests.http.server import Api

TABLE = """
POST /v1/account/create - email authPW [preVerified] [service] [redirectTo] [resume] [preVerifyToken] [inviteCode]
POST /v1/account/login - email authPW
GET /v1/account/status (sessionToken) uid
GET /v1/account/devices sessionToken
GET /v1/account/keys keyFetchToken
POST /v1/account/reset accountResetToken+payload authPW
POST /v1/account/destroy - email authPW
POST /v1/account/lock - email authPW
POST /v1/account/unlock/resend_code - email [service] [redirectTo] [resume]
POST /v1/account/unlock/verify_code - uid code
GET /v1/session/status sessionToken
POST /v1/session/destroy sessionToken
GET /v1/recovery_email/status sessionToken
POST /v1/recovery_email/resend_code sessionToken [service] [redirectTo] [resume] [email]
POST /v1/recovery_email/verify_code - uid code [service]
POST /v1/certificate/sign sessionToken+payload publicKey duration
POST /v1/password/change/start - email oldAuthPW
POST /v1/password/change/finish passwordChangeToken authPW wrapKb
POST /v1/password/forgot/send_code - email [service] [redirectTo] [resume]
POST /v1/password/forgot/resend_code passwordForgotToken email [service] [redirectTo] [resume]
POST /v1/password/forgot/verify_code passwordForgotToken code
GET /v1/password/forgot/status passwordForgotToken
POST /v1/get_random_bytes -
GET /v1/verify_email - code uid [service] [redirectTo] [resume]
GET /v1/complete_reset_password - email code token [service] [redirectTo] [resume]
GET /v1/complete_unlock_account - code uid [service] [redirectTo] [resume]
GET / -
GET /__heartbeat__ -
GET /__lbheartbeat__ -
GET /__version__ -
GET /.well-known/browserid -
GET /.well-known/public-keys -
GET /.well-known/browserid/sign_in.html -
GET /.well-known/browserid/provision.html -
"""
"""Method, path, token (optional in parentheses), parameters (optional in brackets)."""


def row(route: Route) -> str:
    hints = get_type_hints(route.request, include_extras=True)
    params = []
    for field in dataclasses.fields(route.request):
        name = get_args(hints[field.name])[1].name
        params.append(name if field.default is dataclasses.MISSING else f"[{name}]")
    token = _name(route.auth) if route.optional_auth is None else f"({_name(route.optional_auth)})"
    return " ".join([route.method, route.path, token + ("+payload" if route.payload else ""), *params])


def _name(kind: TokenKind | None) -> str:
    return "-" if kind is None else kind.value


class TableTests(SynchronousTestCase):
    maxDiff = None

    def test_the_routes_are_those_of_the_document(self) -> None:
        self.assertEqual(sorted(map(row, Api().routes)), sorted(TABLE.split("\n")[1:-1]))

    def test_production_lacks_one(self) -> None:
        lacking = {row(route) for route in Api().routes} - {row(route) for route in Api(development=False).routes}
        self.assertEqual(lacking, {"POST /v1/account/lock - email authPW"})

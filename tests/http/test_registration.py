"""The rules of registration over HTTP: how a refusal is answered, and where an invite's code goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fxa_auth.invitecodes import code_hash
from tests.http.server import EMAIL, PASSWORD, ApiCase
from tests.store.contract import an_invite

CREATE = {"email": EMAIL, "authPW": PASSWORD}
CODE = "abcd-2345-efgh-6723-ijkl-mnop"


class ClosedTests(ApiCase):
    options: Mapping[str, Any] = {"registration": ("closed",), "development": False}

    async def test_a_refusal_is_403_and_says_which_rule_it_was(self) -> None:
        reply = await self.api.post("/v1/account/create", CREATE)
        self.assertError(reply, 403, 999)
        self.assertEqual(reply.json["error"], "Forbidden")
        self.assertEqual(reply.json["message"], "Registration refused: closed (no accounts are made here)")
        [summary] = self.log.lines("request.summary")
        self.assertEqual((summary["code"], summary["errno"]), (403, 999))

    async def test_parameters_and_the_abuse_policy_come_first(self) -> None:
        self.assertError(await self.api.post("/v1/account/create", {"email": EMAIL}), 400, 108, param="authPW")
        self.api.customs.refused["accountCreate"] = 5
        self.assertError(await self.api.post("/v1/account/create", CREATE), 429, 114, retryAfter=5)


class InviteTests(ApiCase):
    options: Mapping[str, Any] = {"registration": ("invite",)}

    async def setUp(self) -> None:
        await super().setUp()
        invite = an_invite(normalized_email=None)
        await self.api.store.change(self.api.store.invites.add(invite, code_hash(CODE)))

    async def test_a_code_lets_in_once_and_never_stands_in_the_log(self) -> None:
        for email, code, outcome in (
            (EMAIL, "2345-abcd", (403, 999)),
            (EMAIL, CODE.upper(), (200, 0)),
            ("other@example.org", CODE, (403, 999)),
        ):
            reply = await self.api.post("/v1/account/create", {"email": email, "authPW": PASSWORD, "inviteCode": code})
            self.assertCode(reply, *outcome, why=email)
        self.assertNotIn(CODE.partition("-")[0], self.log.text.lower())
        self.assertIn("invite.used", self.log.text)

    async def test_elsewhere_a_code_is_ignored(self) -> None:
        self.assertCode(await self.api.post("/v1/account/create", {**CREATE, "inviteCode": CODE}), 200)
        for code in (CODE, None, 5):
            self.assertCode(await self.api.post("/v1/account/login", {**CREATE, "inviteCode": code}), 200)


class OpenTests(ApiCase):
    async def test_a_code_that_nobody_asked_for_does_no_harm(self) -> None:
        self.assertCode(await self.api.post("/v1/account/create", {**CREATE, "inviteCode": "x"}), 200)

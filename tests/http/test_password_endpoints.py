"""Changing, forgetting and resetting a password over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fxa_auth import onepw
from fxa_auth.records import TokenKind
from tests.http.server import EMAIL, PASSWORD, ApiCase, Key, session

NEW = "cd" * 32
WRAP_KB = "17" * 32
FORGOT_S = 60 * 60


class ChangeTests(ApiCase):
    async def start(self) -> dict[str, Any]:
        reply = await self.api.post("/v1/password/change/start", {"email": EMAIL, "oldAuthPW": PASSWORD})
        return self.assertMembers(reply, "keyFetchToken passwordChangeToken verified")

    async def finish(self, start: Mapping[str, Any], **more: Any) -> Any:
        key = Key(TokenKind.PASSWORD_CHANGE, start["passwordChangeToken"])
        return await self.api.post("/v1/password/change/finish", {"authPW": NEW, "wrapKb": WRAP_KB}, key, **more)

    async def test_the_new_password_opens_the_keys_that_the_client_wrapped(self) -> None:
        await self.api.sign_up()
        before = await self.api.account()
        start = await self.start()
        self.api.clock.advance(5)
        self.assertAnswer(await self.finish(start), {})
        account = await self.api.account()
        self.assertEqual(account.ka, before.ka)
        self.assertEqual(account.verifier_set_at_ms, before.verifier_set_at_ms + 5000)
        self.assertNotEqual(account.verifier.auth_salt, before.verifier.auth_salt)
        stretched = onepw.stretch_version_0(bytes.fromhex(NEW), account.verifier.auth_salt)
        self.assertEqual(onepw.swap_wrap(account.verifier.wrap_wrap_kb, stretched, 0).hex(), WRAP_KB)
        for auth_pw, status, errno in ((NEW, 200, 0), (PASSWORD, 400, 103)):
            reply = await self.api.post("/v1/account/login", {"email": EMAIL, "authPW": auth_pw})
            self.assertCode(reply, status, errno)

    async def test_the_old_keys_can_be_fetched_in_between(self) -> None:
        for verified in (False, True):
            email = f"{verified}@example.org"
            await self.api.sign_up(email, verified)
            reply = await self.api.post("/v1/password/change/start", {"email": email, "oldAuthPW": PASSWORD})
            self.assertEqual(reply.json["verified"], verified)
            keys = await self.api.get("/v1/account/keys", Key(TokenKind.KEY_FETCH, reply.json["keyFetchToken"]))
            self.assertEqual(keys.status, 200 if verified else 400)

    async def test_every_token_of_the_account_ends(self) -> None:
        await self.api.sign_up()
        keys = await self.api.tokens()
        other = session(await self.api.sign_up("other@example.org"))
        self.assertAnswer(await self.finish(await self.start()), {})
        for key, path in (
            (keys[TokenKind.SESSION], "/v1/session/status"),
            (keys[TokenKind.KEY_FETCH], "/v1/account/keys"),
            (keys[TokenKind.PASSWORD_FORGOT], "/v1/password/forgot/status"),
        ):
            self.assertError(await self.api.get(path, key), 401, 110)
        self.assertError(
            await self.api.post("/v1/account/reset", {"authPW": NEW}, keys[TokenKind.ACCOUNT_RESET]), 401, 110
        )
        self.assertCode(await self.api.get("/v1/session/status", other), 200)

    async def test_a_token_is_good_once_and_only_the_newest(self) -> None:
        await self.api.sign_up()
        older, newer = await self.start(), await self.start()
        for start, status, errno in ((older, 401, 110), (newer, 200, 0), (newer, 401, 110)):
            self.assertCode(await self.finish(start), status, errno)

    async def test_a_lock_stays(self) -> None:
        await self.api.sign_up()
        start = await self.start()
        await self.api.post("/v1/account/lock", {"email": EMAIL, "authPW": PASSWORD})
        self.assertAnswer(await self.finish(start), {})
        self.assertIsNotNone((await self.api.account()).locked_at_ms)

    async def test_the_body_need_not_be_signed(self) -> None:
        await self.api.sign_up()
        self.assertAnswer(await self.finish(await self.start(), hashed=False), {})


class ForgotTests(ApiCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.api.sign_up(verified=False)

    async def code(self) -> str:
        return (await self.api.letters())[-1].code.hex()

    async def verify(self, key: Key, code: str) -> Any:
        return await self.api.post("/v1/password/forgot/verify_code", {"code": code}, key)

    async def test_a_code_and_a_link_are_mailed(self) -> None:
        options = {"service": "sync", "redirectTo": "https://firefox.com/", "resume": "r"}
        headers = {"Accept-Language": "es"}
        reply = await self.api.post(
            "/v1/password/forgot/send_code", {"email": EMAIL.upper(), **options}, headers=headers
        )
        answer = self.assertMembers(reply, "passwordForgotToken ttl codeLength tries")
        self.assertEqual((answer["ttl"], answer["codeLength"], answer["tries"]), (FORGOT_S, 16, 3))
        letter = (await self.api.letters())[-1]
        self.assertEqual((letter.kind.value, letter.to, letter.accept_language), ("reset", EMAIL, "es"))
        self.assertEqual((letter.token or b"").hex(), answer["passwordForgotToken"])
        self.assertEqual([*vars(letter.options).values()], [*options.values()])
        self.assertEqual(self.api.customs.marks[-1], ("passwordForgotSendCode", EMAIL.lower(), "127.0.0.1"))

    async def test_the_policy_comes_before_the_account(self) -> None:
        nobody = {"email": "nobody@example.org"}
        self.assertError(await self.api.post("/v1/password/forgot/send_code", nobody), 400, 102, **nobody)
        self.api.customs.refused = {"passwordForgotSendCode": 5, "passwordForgotResendCode": 6}
        self.assertError(await self.api.post("/v1/password/forgot/send_code", nobody), 429, 114, retryAfter=5)

    async def test_a_resent_mail_is_the_same_and_goes_to_the_accounts_own_address(self) -> None:
        key = await self.api.forgot()
        await self.verify(key, "00" * 16)
        self.api.clock.advance(60.5)
        body = {"email": "someone@else.example", "service": "x"}
        reply = await self.api.post("/v1/password/forgot/resend_code", body, key)
        self.assertAnswer(reply, {"passwordForgotToken": key.data, "ttl": FORGOT_S - 60, "codeLength": 16, "tries": 2})
        first, second = (await self.api.letters())[-2:]
        self.assertEqual((second.to, second.code, second.token), (EMAIL, first.code, first.token))
        self.assertEqual(second.options.service, "x")
        self.assertEqual(self.api.customs.marks[-1], ("passwordForgotResendCode", EMAIL.lower(), "127.0.0.1"))
        self.api.customs.refused = {"passwordForgotResendCode": 6}
        reply = await self.api.post("/v1/password/forgot/resend_code", body, key)
        self.assertError(reply, 429, 114, retryAfter=6)

    async def test_the_status_tells_tries_and_time_left(self) -> None:
        key = await self.api.forgot()
        self.assertAnswer(await self.api.get("/v1/password/forgot/status", key), {"tries": 3, "ttl": FORGOT_S})
        self.api.clock.advance(0.25)
        self.assertAnswer(await self.api.get("/v1/password/forgot/status", key), {"tries": 3, "ttl": FORGOT_S})
        self.api.clock.advance(1)
        await self.verify(key, "00" * 16)
        self.assertAnswer(await self.api.get("/v1/password/forgot/status", key), {"tries": 2, "ttl": FORGOT_S - 1})

    async def test_three_wrong_codes_end_the_token(self) -> None:
        key = await self.api.forgot()
        code = await self.code()
        for tries in (2, 1, 0):
            self.assertError(await self.verify(key, "00" * 16), 400, 105, tries=tries, ttl=FORGOT_S)
        self.assertError(await self.verify(key, code), 401, 110)

    async def test_the_right_code_verifies_without_an_event_and_unlocks_with_one(self) -> None:
        await self.api.post("/v1/account/lock", {"email": EMAIL, "authPW": PASSWORD})
        key = await self.api.forgot()
        code = await self.code()
        await self.verify(key, "00" * 16)
        self.assertMembers(await self.verify(key, code.upper()), "accountResetToken")
        account = await self.api.account()
        self.assertEqual((account.email_verified, account.locked_at_ms, account.unlock_code), (True, None, None))
        self.assertEqual((await self.api.kinds())[-2:], ["lock", "unlock"])
        self.assertError(await self.verify(key, code), 401, 110)

    async def test_a_newer_token_voids_the_older(self) -> None:
        older = await self.api.forgot()
        newer = await self.api.forgot()
        self.assertError(await self.api.get("/v1/password/forgot/status", older), 401, 110)
        self.assertCode(await self.api.get("/v1/password/forgot/status", newer), 200)


class ResetTests(ApiCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.api.sign_up()
        self.keys = await self.api.tokens()

    async def reset(self, **more: Any) -> Any:
        key = self.keys[TokenKind.ACCOUNT_RESET]
        return await self.api.post("/v1/account/reset", {"authPW": NEW}, key, **more)

    async def test_ka_stays_and_the_wrapped_key_is_new(self) -> None:
        before = await self.api.account()
        self.api.clock.advance(3)
        self.assertAnswer(await self.reset(), {})
        account = await self.api.account()
        self.assertEqual(account.ka, before.ka)
        self.assertNotEqual(account.verifier.auth_salt, before.verifier.auth_salt)
        self.assertNotEqual(account.verifier.wrap_wrap_kb, before.verifier.wrap_wrap_kb)
        self.assertEqual(account.verifier_set_at_ms, before.verifier_set_at_ms + 3000)
        self.assertEqual(self.api.customs.marks[-1], ("password reset", EMAIL.lower()))
        self.assertCode(await self.api.post("/v1/account/login", {"email": EMAIL, "authPW": NEW}), 200)

    async def test_every_token_and_the_lock_end(self) -> None:
        await self.api.post("/v1/account/lock", {"email": EMAIL, "authPW": PASSWORD})
        self.assertAnswer(await self.reset(), {})
        account = await self.api.account()
        self.assertEqual((account.locked_at_ms, account.unlock_code), (None, None))
        rows = await self.api.database.query("SELECT count(*) AS rows FROM tokens", {})
        self.assertEqual(rows[0]["rows"], 0)
        self.assertError(await self.reset(), 401, 110)

    async def test_the_body_must_be_signed(self) -> None:
        self.assertError(await self.reset(hashed=False), 401, 109)
        self.assertAnswer(await self.reset(), {})

    async def test_a_waiting_key_fetch_token_becomes_good_by_verifying(self) -> None:
        """The mailed code of a forgotten password shows that the address is the user's, too."""
        created = await self.api.sign_up("new@example.org", verified=False)
        fetch = Key(TokenKind.KEY_FETCH, created["keyFetchToken"])
        self.assertCode(await self.api.get("/v1/account/keys", fetch), 400, 104)
        forgot = await self.api.forgot("new@example.org")
        code = (await self.api.letters())[-1].code.hex()
        await self.api.post("/v1/password/forgot/verify_code", {"code": code}, forgot)
        self.assertCode(await self.api.get("/v1/account/keys", fetch), 200)


class ExpiredTests(ApiCase):
    options: Mapping[str, Any] = {"lifetimes_ms": {kind: -1 for kind in list(TokenKind)[2:]}}

    async def test_a_negative_lifetime_is_over_at_once(self) -> None:
        await self.api.sign_up()
        reply = await self.api.post("/v1/password/forgot/send_code", {"email": EMAIL})
        self.assertEqual(reply.json["ttl"], 0)
        key = Key(TokenKind.PASSWORD_FORGOT, reply.json["passwordForgotToken"])
        self.assertError(await self.api.get("/v1/password/forgot/status", key), 401, 110)

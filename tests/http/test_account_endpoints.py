"""Accounts and sessions over HTTP: what each endpoint answers, refuses and leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.web.client import Agent

from fxa_auth import onepw, tokens
from fxa_auth.preverify import PreVerifyTokens
from fxa_auth.records import TokenKind
from tests import loopback
from tests.http.server import EMAIL, LIFETIMES_MS, NOW_S, PASSWORD, ApiCase, Key, session
from tests.test_preverify import KEY, jwk, signed

WRONG = "00" * 32
LOGIN = {"email": EMAIL, "authPW": PASSWORD}
CHECKS_PASSWORD = (
    ("/v1/account/login", "authPW", "accountLogin"),
    ("/v1/account/destroy", "authPW", "accountDestroy"),
    ("/v1/account/lock", "authPW", "accountLock"),
    ("/v1/password/change/start", "oldAuthPW", "passwordChange"),
)
"""Path, name of the password, name of the action."""


class CreateTests(ApiCase):
    async def test_a_new_account_is_answered_with_a_session(self) -> None:
        reply = await self.api.post("/v1/account/create", LOGIN)
        answer = self.assertMembers(reply, "uid sessionToken authAt")
        account = await self.api.account()
        self.assertEqual((answer["uid"], answer["authAt"]), (account.uid.hex(), int(NOW_S)))
        self.assertEqual((account.uid[6] >> 4, account.uid[8] >> 6), (4, 2), "not a v4 UUID")
        self.assertEqual((account.email, account.email_verified, account.locked_at_ms), (EMAIL, False, None))
        self.assertAnswer(await self.api.get("/v1/session/status", session(answer)), {"uid": answer["uid"]})

    async def test_its_code_is_mailed_in_the_language_of_the_request(self) -> None:
        options = {"service": "sync", "redirectTo": "https://x.firefox.com/a", "resume": "r s"}
        await self.api.post("/v1/account/create", {**LOGIN, **options}, headers={"Accept-Language": "pt-BR"})
        account, [letter] = await self.api.account(), await self.api.letters()
        self.assertEqual((letter.kind.value, letter.to, letter.code), ("verify", EMAIL, account.email_code))
        self.assertEqual([*vars(letter.options).values()], [*options.values()])
        self.assertEqual((letter.accept_language, account.locale), ("pt-BR", "pt-BR"))
        told = {"email": EMAIL, "uid": account.uid.hex(), "locale": "pt-BR", "service": "sync"}
        self.assertEqual(await self.api.events(), [("created", told)])

    async def test_keys_are_given_exactly_for_keys_true(self) -> None:
        for number, (query, is_given) in enumerate(
            (
                ("?keys=true", True),
                ("?x=1&keys=true", True),
                *((query, False) for query in ("", "?keys=True", "?keys=1", "?keys", "?keys=true&keys=true")),
            )
        ):
            body = {"email": f"{number}@example.org", "authPW": PASSWORD}
            for path, more in (("/v1/account/create", " authAt"), ("/v1/account/login", " verified authAt")):
                given = " keyFetchToken" if is_given else ""
                self.assertMembers(await self.api.post(path + query, body), f"uid sessionToken{given}{more}", query)

    async def test_the_words_that_stand_for_preverified(self) -> None:
        words = {True: (True, "true", "yes", "on", "TRUE"), False: (False, "false", "no", "off")}
        cases = [(word, verified) for verified, some in words.items() for word in some]
        for number, (word, verified) in enumerate(cases):
            email = f"{number}@example.org"
            body = {"email": email, "authPW": PASSWORD, "preVerified": word}
            self.assertCode(await self.api.post("/v1/account/create", body), 200)
            self.assertEqual((await self.api.account(email)).email_verified, verified, word)

    async def test_a_preverified_account_causes_events_and_no_mail(self) -> None:
        await self.api.post("/v1/account/create", {**LOGIN, "preVerified": True}, headers={"Accept-Language": "de"})
        uid = (await self.api.account()).uid.hex()
        self.assertEqual(await self.api.letters(), [])
        told = {"email": EMAIL, "uid": uid, "locale": "de"}
        events = [("created", {**told, "service": None}), ("verified", told)]
        self.assertEqual(await self.api.events(), events)

    async def test_a_verified_account_stays_in_any_case_of_its_address(self) -> None:
        old = await self.api.sign_up()
        for email in (EMAIL, EMAIL.upper()):
            reply = await self.api.post("/v1/account/create", {**LOGIN, "email": email})
            self.assertError(reply, 400, 101, email=email)
        self.assertAnswer(await self.api.get("/v1/session/status", session(old)), {"uid": old["uid"]})

    async def test_an_unverified_account_gives_way_with_its_tokens_and_mail(self) -> None:
        old = await self.api.sign_up(verified=False)
        self.api.clock.advance(1)
        new = await self.api.sign_up(verified=False)
        self.assertNotEqual(old["uid"], new["uid"])
        self.assertError(await self.api.get("/v1/session/status", session(old)), 401, 110)
        self.assertEqual([letter.uid.hex() for letter in await self.api.letters()], [new["uid"]])
        self.assertEqual(await self.api.kinds(), ["created", "created"])

    async def test_an_unverified_account_made_after_the_request_came_in_stays(self) -> None:
        old = await self.api.sign_up(verified=False)
        self.assertError(await self.api.post("/v1/account/create", LOGIN), 400, 101, email=EMAIL)
        self.assertAnswer(await self.api.get("/v1/session/status", session(old)), {"uid": old["uid"]})

    async def test_the_policy_is_asked_before_the_account_is_looked_up(self) -> None:
        await self.api.sign_up()
        self.api.customs.marks.clear()
        self.api.customs.refused["accountCreate"] = 77
        self.assertError(await self.api.post("/v1/account/create", LOGIN), 429, 114, retryAfter=77)
        self.assertEqual(self.api.customs.marks, [("accountCreate", EMAIL.lower(), "127.0.0.1")])

    async def test_a_policy_that_names_no_time_means_30_seconds(self) -> None:
        for wait in (None, 0):
            self.api.customs.refused["accountCreate"] = wait
            self.assertError(await self.api.post("/v1/account/create", LOGIN), 429, 114, retryAfter=30)


class ProductionTests(ApiCase):
    options: Mapping[str, Any] = {"development": False, "verifier_version": 1}

    async def test_preverified_is_unknown(self) -> None:
        reply = await self.api.post("/v1/account/create", {**LOGIN, "preVerified": True})
        self.assertError(reply, 400, 107, validation={"source": "payload", "keys": ["preVerified"]})

    async def test_there_is_no_way_to_lock_an_account(self) -> None:
        self.assertError(await self.api.post("/v1/account/lock", LOGIN), 404, 999)

    async def test_scrypt_lets_in_the_right_password_only(self) -> None:
        await self.api.sign_up()
        self.assertEqual((await self.api.account()).verifier.version, 1)
        self.assertCode(await self.api.post("/v1/account/login", LOGIN), 200)
        self.assertError(await self.api.post("/v1/account/login", {**LOGIN, "authPW": WRONG}), 400, 103, email=EMAIL)


class PreVerifyTokenTests(ApiCase):
    """A token from a JWK set that a real HTTP server hands out."""

    async def setUp(self) -> None:
        self.jwks = loopback.Loopback(loopback.says({"keys": [jwk(KEY)]}))
        self.addCleanup(lambda: self.jwks.stop())
        jku = f"{self.jwks.url}/keys"
        clock = Clock()
        clock.advance(NOW_S)
        vouching = PreVerifyTokens(clock, HTTPClient(Agent(reactor)), [jku], "api.example.com")
        self.options = {"pre_verification": vouching}
        self.header = {"alg": "RS256", "jku": jku, "kid": "key-1"}
        self.claims = {"exp": int(NOW_S) + 60, "aud": "api.example.com", "sub": EMAIL}
        await super().setUp()

    async def create(self, **claims: object) -> Any:
        token = signed(self.header, {**self.claims, **claims})
        return await self.api.post("/v1/account/create", {**LOGIN, "preVerifyToken": token})

    async def test_a_good_one_verifies_the_account(self) -> None:
        self.assertMembers(await self.create(), "uid sessionToken authAt")
        self.assertTrue((await self.api.account()).email_verified)
        self.assertEqual((await self.api.kinds(), await self.api.letters()), (["created", "verified"], []))

    async def test_a_bad_one_names_its_culprit_and_leaves_the_old_account(self) -> None:
        old = await self.api.sign_up(verified=False)
        self.api.clock.advance(1)
        self.assertError(await self.create(sub="other@example.org"), 400, 105, sub="other@example.org")
        self.assertAnswer(await self.api.get("/v1/session/status", session(old)), {"uid": old["uid"]})

    async def test_keys_that_cannot_be_had_are_503(self) -> None:
        self.jwks.answer = loopback.says({}, 500)
        self.assertError(await self.create(), 503, 201, retryAfter=30)
        self.assertEqual(self.log.lines("request.summary")[-1]["reason"], "a trusted JWK set cannot be fetched")


class PasswordCheckTests(ApiCase):
    """What all endpoints have in common that ask for an address and its password."""

    async def test_the_policy_then_the_account_then_its_lock_then_the_password(self) -> None:
        account = None
        for state, expected in (
            ("refused", (429, 114, {"retryAfter": 9})),
            ("unknown", (400, 102, {"email": EMAIL})),
            ("locked", (400, 121, {})),
            ("open", (400, 103, {"email": EMAIL})),
        ):
            if state == "locked":
                account = await self.api.sign_up()
                self.assertCode(await self.api.post("/v1/account/lock", LOGIN), 200)
            if state == "open":
                await self.api.store.change(self.api.store.accounts.unlock(bytes.fromhex(account["uid"])))
            for path, name, action in CHECKS_PASSWORD:
                if (state, path) == ("locked", "/v1/account/lock"):
                    continue
                self.api.customs.marks.clear()
                self.api.customs.refused = {action: 9} if state == "refused" else {}
                status, errno, extras = expected
                self.assertError(await self.api.post(path, {"email": EMAIL, name: WRONG}), status, errno, **extras)
                told = [(action, EMAIL.lower(), "127.0.0.1")]
                if state == "open":
                    told.append(("failed login", EMAIL.lower(), "127.0.0.1"))
                self.assertEqual(self.api.customs.marks, told, (state, path))

    async def test_a_wrong_password_with_another_case_of_the_address_is_120(self) -> None:
        await self.api.sign_up()
        for path, name, _ in CHECKS_PASSWORD:
            reply = await self.api.post(path, {"email": EMAIL.lower(), name: WRONG})
            self.assertError(reply, 400, 120, email=EMAIL)

    async def test_the_right_password_is_good_with_any_case_of_the_address(self) -> None:
        await self.api.sign_up()
        login, destroy, _, change = CHECKS_PASSWORD
        for path, name, _ in (login, change, destroy):
            self.assertCode(await self.api.post(path, {"email": EMAIL.upper(), name: PASSWORD}), 200, 0, path)

    async def test_the_policy_may_have_the_account_locked_also_unverified(self) -> None:
        self.api.customs.locks_out = True
        for path, name, _ in CHECKS_PASSWORD:
            email = f"{name}{path.count('c')}{path[-3:]}@example.org"
            await self.api.sign_up(email, verified=False)
            mails = len(await self.api.letters())
            self.assertError(await self.api.post(path, {"email": email, name: WRONG}), 400, 103, email=email)
            account = await self.api.account(email)
            self.assertIsNotNone(account.locked_at_ms, path)
            self.assertIsNotNone(account.unlock_code, path)
            self.assertEqual(len(await self.api.letters()), mails)


class NoLockoutTests(ApiCase):
    options: Mapping[str, Any] = {"lockout": False}

    async def test_without_lockout_the_policys_word_locks_nothing(self) -> None:
        await self.api.sign_up()
        self.api.customs.locks_out = True
        self.assertCode(await self.api.post("/v1/account/login", {**LOGIN, "authPW": WRONG}), 400, 103)
        self.assertIsNone((await self.api.account()).locked_at_ms)


class LoginTests(ApiCase):
    async def test_the_answer_tells_whether_the_address_is_verified(self) -> None:
        created = await self.api.sign_up(verified=False)
        for verified in (False, True):
            self.api.clock.advance(10)
            answer = self.assertMembers(
                await self.api.post("/v1/account/login", LOGIN), "uid sessionToken verified authAt"
            )
            self.assertEqual(
                (answer["uid"], answer["verified"], answer["authAt"]),
                (created["uid"], verified, int(self.api.clock.seconds())),
            )
            await self.api.store.change(self.api.store.accounts.verify_email(bytes.fromhex(created["uid"])))

    async def test_keys_of_later_clients_are_ignored(self) -> None:
        await self.api.sign_up()
        more = {"service": 7, "redirectTo": None, "resume": [], "reason": "signin", "metricsContext": {"a": [1]}}
        self.assertCode(await self.api.post("/v1/account/login", {**LOGIN, **more}), 200)


class StatusTests(ApiCase):
    async def test_by_uid_it_tells_only_whether_there_is_such_an_account(self) -> None:
        uid = (await self.api.sign_up())["uid"]
        for asked, exists in ((uid, True), (uid.upper(), True), ("00" * 16, False)):
            self.assertAnswer(await self.api.get(f"/v1/account/status?uid={asked}"), {"exists": exists})

    async def test_a_session_learns_the_locale_whatever_uid_it_names(self) -> None:
        mute = await self.api.sign_up("mute@example.org")
        reply = await self.api.post("/v1/account/create", LOGIN, headers={"Accept-Language": "fr, en;q=0.5"})
        for query in ("", "?uid=nonsense", "?uid=" + "00" * 16):
            for key, locale in ((session(reply.json), "fr, en;q=0.5"), (session(mute), None)):
                self.assertAnswer(
                    await self.api.get("/v1/account/status" + query, key), {"exists": True, "locale": locale}
                )

    async def test_neither_session_nor_uid_is_108(self) -> None:
        for headers in ({}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer Hawk"}, {"Authorization": ""}):
            reply = await self.api.get("/v1/account/status", headers=headers)
            self.assertError(reply, 400, 108, param="uid")

    async def test_a_bad_uid_is_107_of_the_query(self) -> None:
        for uid in ("", "00" * 15, "00" * 17, "0" * 31, "zz" * 16, "%00" * 32, "%ff" * 32):
            reply = await self.api.get(f"/v1/account/status?uid={uid}")
            self.assertError(reply, 400, 107, validation={"source": "query", "keys": ["uid"]})

    async def test_a_bad_hawk_header_fails_also_with_a_uid(self) -> None:
        for header in ("Hawk", "hawk id", 'HAWK id="a"'):
            reply = await self.api.get(f"/v1/account/status?uid={'00' * 16}", headers={"Authorization": header})
            self.assertCode(reply, 401, 109, header)


class SessionTests(ApiCase):
    async def test_devices_are_as_many_as_sessions(self) -> None:
        key = session(await self.api.sign_up())
        await self.api.sign_up("other@example.org")
        for count in (1, 2, 3):
            self.assertAnswer(
                await self.api.get("/v1/account/devices", key), {"devices": [str(number) for number in range(count)]}
            )
            await self.api.post("/v1/account/login?keys=true", LOGIN)

    async def test_a_destroyed_session_is_gone_and_no_other(self) -> None:
        first = session(await self.api.sign_up())
        second = session((await self.api.post("/v1/account/login", LOGIN)).json)
        self.assertAnswer(await self.api.post("/v1/session/destroy", None, first), {})
        self.assertError(await self.api.get("/v1/session/status", first), 401, 110)
        self.assertError(await self.api.post("/v1/session/destroy", None, first), 401, 110)
        self.assertCode(await self.api.get("/v1/session/status", second), 200)


class KeysTests(ApiCase):
    async def bundle(self, token: str) -> tuple[bytes, bytes]:
        """kA and wrapKb as a client takes them out of the answer."""
        reply = await self.api.get("/v1/account/keys", Key(TokenKind.KEY_FETCH, token))
        sealed = bytes.fromhex(self.assertMembers(reply, "bundle")["bundle"])
        bundle_key = tokens.derive(TokenKind.KEY_FETCH, bytes.fromhex(token)).bundle_key
        mac_and_pad = onepw.hkdf(bundle_key, "account/keys", 96)
        self.assertEqual(len(sealed), 96)
        plain = onepw.xor(sealed[:64], mac_and_pad[32:])
        self.assertEqual(onepw.key_bundle(bundle_key, plain[:32], plain[32:]), sealed, "another mac")
        return plain[:32], plain[32:]

    async def test_keys_are_the_same_at_every_login(self) -> None:
        created = await self.api.sign_up()
        login = (await self.api.post("/v1/account/login?keys=true", LOGIN)).json
        first, second = await self.bundle(created["keyFetchToken"]), await self.bundle(login["keyFetchToken"])
        self.assertEqual((first, first[0]), (second, (await self.api.account()).ka))

    async def test_a_token_is_good_once(self) -> None:
        token = (await self.api.sign_up())["keyFetchToken"]
        await self.bundle(token)
        self.assertError(await self.api.get("/v1/account/keys", Key(TokenKind.KEY_FETCH, token)), 401, 110)

    async def test_a_token_waits_until_the_address_is_verified(self) -> None:
        created = await self.api.sign_up(verified=False)
        key = Key(TokenKind.KEY_FETCH, created["keyFetchToken"])
        for _ in range(2):
            self.assertError(await self.api.get("/v1/account/keys", key), 400, 104)
        await self.api.store.change(self.api.store.accounts.verify_email(bytes.fromhex(created["uid"])))
        await self.bundle(created["keyFetchToken"])


class DestroyTests(ApiCase):
    async def test_all_of_the_account_goes_and_an_event_tells(self) -> None:
        created = await self.api.sign_up()
        self.assertAnswer(await self.api.post("/v1/account/destroy", LOGIN), {})
        event = ("delete", {"uid": f"{created['uid']}@api.example.com"})
        self.assertEqual((await self.api.events())[-1], event)
        self.assertError(await self.api.get("/v1/session/status", session(created)), 401, 110)
        self.assertError(await self.api.post("/v1/account/login", LOGIN), 400, 102, email=EMAIL)
        self.assertEqual(await self.api.letters(), [])


class LockTests(ApiCase):
    async def test_a_locked_account_keeps_its_sessions_but_lets_nobody_in(self) -> None:
        created = await self.api.sign_up()
        mails = len(await self.api.letters())
        self.assertAnswer(await self.api.post("/v1/account/lock", LOGIN), {})
        code = (await self.api.account()).unlock_code
        self.assertAnswer(await self.api.post("/v1/account/lock", {**LOGIN, "authPW": WRONG}), {})
        self.assertEqual((await self.api.account()).unlock_code, code)
        self.assertEqual(len(await self.api.letters()), mails)
        self.assertError(await self.api.post("/v1/account/login", LOGIN), 400, 121)
        self.assertCode(await self.api.get("/v1/session/status", session(created)), 200)
        keys = Key(TokenKind.KEY_FETCH, created["keyFetchToken"])
        self.assertCode(await self.api.get("/v1/account/keys", keys), 200)


class LifetimeTests(ApiCase):
    async def test_tokens_of_limited_kinds_end_on_the_millisecond(self) -> None:
        await self.api.sign_up()
        keys = await self.api.tokens()
        # A failed check (107) shows that the token was taken; nothing is consumed by it.
        probes = {
            TokenKind.ACCOUNT_RESET: "/v1/account/reset",
            TokenKind.PASSWORD_CHANGE: "/v1/password/change/finish",
            TokenKind.PASSWORD_FORGOT: "/v1/password/forgot/verify_code",
        }
        start_s = self.api.clock.seconds()
        for kind, path in sorted(probes.items(), key=lambda probe: LIFETIMES_MS[probe[0]]):
            end_s = start_s + LIFETIMES_MS[kind] / 1000
            for at_s, code in ((end_s - 0.25, (400, 108)), (end_s, (401, 110))):
                self.api.clock.advance(max(0, at_s - self.api.clock.seconds()))
                self.assertEqual((await self.api.post(path, {}, keys[kind])).code, code, (kind, at_s))
            self.api.clock.rightNow = start_s
        self.api.clock.advance(10 * 365 * 86_400)
        self.assertCode(await self.api.get("/v1/session/status", keys[TokenKind.SESSION]), 200)
        self.assertCode(await self.api.get("/v1/account/keys", keys[TokenKind.KEY_FETCH]), 200)

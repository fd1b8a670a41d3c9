"""Signing a client's key: what the certificate says, in which order faults come, and the language learnt on the way."""

from __future__ import annotations

import base64
import json
from typing import Any

from fxa_auth.certificates import SigningKey, check_members
from fxa_auth.records import Client, Token
from tests.domain import DOMAIN, EMAIL, START_S, DomainTestCase
from tests.test_certificates import D, E, N

HOUR_MS = 3_600_000
CLIENT_KEY = check_members({"algorithm": "RS", "n": str(2**2047 + 1), "e": "65537"})
TOO_SHORT = check_members({"algorithm": "RS", "n": str(2**100 + 1), "e": "65537"})
INCOMPLETE = check_members({"algorithm": "RS", "e": "65537"})


def payload_of(certificate: str) -> dict[str, Any]:
    payload = certificate.split(".")[1]
    read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return read


class SigningTests(DomainTestCase):
    """With a key that guards nothing."""

    async def setUp(self) -> None:
        await super().setUp()
        self.signing.key = SigningKey.from_numbers(N, E, D)

    async def session(self, *, verified: bool = True, language: str | None = None) -> Token:
        made = await self.create(verified=verified, client=self.client(language))
        return await self.live(made.session_token)

    async def sign(self, session: Token, key: dict[str, str] = CLIENT_KEY, client: Client | None = None) -> str:
        return await self.signing.sign(session, key, HOUR_MS, client or self.client())

    async def test_the_certificate_speaks_of_account_and_session(self) -> None:
        await self.create()
        self.clock.advance(100.5)
        signed_in = await self.login()
        self.clock.advance(100)
        claims = payload_of(await self.sign(await self.live(signed_in.session_token)))
        account = await self.account()
        self.assertEqual(claims["fxa-generation"], START_S * 1000)
        self.assertEqual(claims["fxa-lastAuthAt"], START_S + 100, "when the session began")
        self.assertEqual(claims["fxa-verifiedEmail"], EMAIL)
        self.assertEqual((claims["iss"], claims["principal"]), (DOMAIN, {"email": f"{account.uid.hex()}@{DOMAIN}"}))
        self.assertEqual((claims["iat"], claims["exp"]), (self.now_ms - 10_000, self.now_ms + HOUR_MS))

    async def test_an_unverified_account_comes_before_a_faulty_key(self) -> None:
        unverified = await self.session(verified=False)
        for key in (CLIENT_KEY, INCOMPLETE, TOO_SHORT):
            await self.assertRefused(104, self.sign(unverified, key))

    async def test_faulty_keys_are_refused(self) -> None:
        session = await self.session()
        self.assertEqual((await self.assertRefused(108, self.sign(session, INCOMPLETE))).extras, {"param": "n"})
        await self.assertRefused(107, self.sign(session, TOO_SHORT))

    async def test_a_locale_is_learnt_from_the_first_certificate_only(self) -> None:
        session = await self.session()
        for language, locale in ((None, None), ("fr,en;q=0.5", "fr,en;q=0.5"), ("de", "fr,en;q=0.5")):
            await self.sign(session, client=self.client(language))
            self.assertEqual((await self.account()).locale, locale)

    async def test_a_known_locale_stays(self) -> None:
        await self.sign(await self.session(language="pl"), client=self.client("fr"))
        self.assertEqual((await self.account()).locale, "pl")

    async def test_a_refused_certificate_teaches_no_locale(self) -> None:
        await self.assertRefused(107, self.sign(await self.session(), TOO_SHORT, self.client("fr")))
        self.assertIsNone((await self.account()).locale)

    async def test_a_locked_account_goes_on_signing(self) -> None:
        session = await self.session()
        await self.lock()
        self.assertEqual(payload_of(await self.sign(session))["fxa-verifiedEmail"], EMAIL)

    async def test_before_the_key_is_found_the_server_is_not_available(self) -> None:
        session = await self.session()
        self.signing.key = None
        await self.assertRefused(201, self.sign(session))

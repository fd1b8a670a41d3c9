"""Certificates over HTTP, and the documents by which others check one. What a key may be: tests.test_certificates."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from tests.http.server import EMAIL, NOW_S, PAGE, ApiCase, session, signing_key

PATH = "/v1/certificate/sign"
DAY_MS = 86_400_000
RS = {"algorithm": "RS", "n": str(signing_key().public_numbers().n), "e": "65537"}
DS = {"algorithm": "DS", "y": "0AB", "p": f"{2**1023 + 1:x}", "q": "0f", "g": "2"}


def parts(certificate: str) -> tuple[bytes, bytes, bytes]:
    head, payload, signature = (urlsafe_b64decode(part + "==") for part in certificate.split("."))
    return head, payload, signature


class SignTests(ApiCase):
    async def sign(self, key: Any, public_key: object = RS, duration: object = DAY_MS, **more: Any) -> Any:
        return await self.api.post(PATH, {"publicKey": public_key, "duration": duration}, key, **more)

    async def test_a_certificate_says_who_holds_the_key(self) -> None:
        created = await self.api.sign_up()
        key = session(created)
        self.api.clock.advance(7)
        reply = await self.sign(key)
        certificate = self.assertMembers(reply, "cert")["cert"]
        head, payload, signature = parts(certificate)
        created_ms, now_ms = int(NOW_S * 1000), int(NOW_S * 1000) + 7000
        statement = {
            "fxa-generation": created_ms,
            "fxa-lastAuthAt": created_ms // 1000,
            "fxa-verifiedEmail": EMAIL,
            "public-key": RS,
            "principal": {"email": f"{created['uid']}@api.example.com"},
            "iat": now_ms - 10_000,
            "exp": now_ms + DAY_MS,
            "iss": "api.example.com",
        }
        self.assertEqual(
            (json.loads(head), list(json.loads(payload).items())), ({"alg": "RS256"}, list(statement.items()))
        )
        document = (await self.api.get("/.well-known/browserid")).json["public-key"]
        public = RSAPublicNumbers(int(document["e"]), int(document["n"])).public_key()
        public.verify(signature, certificate.rpartition(".")[0].encode(), padding.PKCS1v15(), hashes.SHA256())

    async def test_keys_come_out_in_their_normal_form(self) -> None:
        key = session(await self.api.sign_up())
        for sent, kept in (
            ({**DS, "version": "2012.08.15"}, {**DS, "y": "ab", "q": "f"}),
            ({**RS, "n": "00" + RS["n"], "p": "zz"}, RS),
        ):
            reply = await self.sign(key, sent)
            self.assertEqual(json.loads(parts(reply.json["cert"])[1])["public-key"], kept)

    async def test_parameters_then_the_account_then_the_key(self) -> None:
        unverified = session(await self.api.sign_up("new@example.org", verified=False))
        verified = session(await self.api.sign_up())
        without_n = {name: value for name, value in RS.items() if name != "n"}
        for key, public_key, code in (
            (unverified, {**RS, "x": "1"}, (400, 107)),
            (unverified, without_n, (400, 104)),
            (unverified, {**RS, "n": "5"}, (400, 104)),
            (verified, without_n, (400, 108)),
            (verified, {**RS, "n": "5"}, (400, 107)),
            (verified, {**RS, "n": "9" * 10_000}, (400, 107)),
        ):
            self.assertEqual((await self.sign(key, public_key)).code, code)

    async def test_a_duration_may_be_a_string_of_digits(self) -> None:
        key = session(await self.api.sign_up())
        for duration in (1, DAY_MS, "1", str(DAY_MS), 5.0, "0005"):
            self.assertCode(await self.sign(key, duration=duration), 200, 0, duration)
        for duration in (0, -1, DAY_MS + 1, 1.5, "0", "1.5", "1e3", " 1", "+1", "-1", "\u0661", True, "9" * 5000):
            reply = await self.sign(key, duration=duration)
            self.assertError(reply, 400, 107, validation={"source": "payload", "keys": ["duration"]})

    async def test_the_first_certificate_teaches_the_account_its_language(self) -> None:
        key = session(await self.api.sign_up())
        for language, locale in ((None, None), ("x" * 256, None), ("nl", "nl"), ("de", "nl")):
            await self.sign(key, headers={} if language is None else {"Accept-Language": language})
            reply = await self.api.get("/v1/account/status", key)
            self.assertAnswer(reply, {"exists": True, "locale": locale}, language)

    async def test_the_body_must_be_signed(self) -> None:
        key = session(await self.api.sign_up())
        self.assertError(await self.sign(key, hashed=False), 401, 109)


class DocumentTests(ApiCase):
    async def test_the_support_document(self) -> None:
        reply = await self.api.get("/.well-known/browserid")
        self.assertMembers(reply, "public-key authentication provisioning")
        numbers = signing_key().public_numbers()
        self.assertEqual(reply.json["public-key"], {"algorithm": "RS", "n": str(numbers.n), "e": str(numbers.e)})
        self.assertEqual(reply.header("Cache-Control"), "public, max-age=10, must-revalidate")

    async def test_the_key_set(self) -> None:
        reply = await self.api.get("/.well-known/public-keys")
        [key] = self.assertMembers(reply, "keys")["keys"]
        self.assertEqual(
            {name: key[name] for name in ("kid", "use", "kty")}, {"kid": "dev-1", "use": "sig", "kty": "RSA"}
        )
        modulus = int.from_bytes(urlsafe_b64decode(key["n"] + "=="), "big")
        self.assertEqual(modulus, signing_key().public_numbers().n)

    async def test_the_two_pages_are_where_the_document_says(self) -> None:
        document = (await self.api.get("/.well-known/browserid")).json
        for name in ("authentication", "provisioning"):
            reply = await self.api.get(document[name])
            self.assertEqual((reply.status, reply.body), (200, PAGE))
            self.assertEqual(reply.header("Content-Type"), "text/html; charset=utf-8")


class BasePathTests(ApiCase):
    options: Mapping[str, Any] = {"public_url": "http://example.com:8123/some/path/"}

    async def test_a_certificate_names_host_and_port(self) -> None:
        created = await self.api.sign_up()
        reply = await self.api.post(PATH, {"publicKey": RS, "duration": 1}, session(created))
        statement = json.loads(parts(reply.json["cert"])[1])
        self.assertEqual(
            (statement["iss"], statement["principal"]["email"]),
            ("example.com:8123", f"{created['uid']}@example.com:8123"),
        )

    async def test_the_documents_stay_at_the_root(self) -> None:
        for path in ("/.well-known/browserid", "/.well-known/public-keys", "/.well-known/browserid/sign_in.html"):
            self.assertEqual((await self.api.send("GET", path)).status, 200, path)
            self.assertCode(await self.api.get(path), 404, 999)

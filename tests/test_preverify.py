"""preVerifyTokens made without a JOSE library, and JWK sets served well and badly."""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given
from hypothesis import strategies as st
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent

from fxa_auth.certificates import SigningKey
from fxa_auth.errors import ApiError
from fxa_auth.preverify import MAX_SET_BYTES, PreVerifyTokens, _usable_keys, looks_like_token
from tests import loopback
from tests.certificates import issue

AUDIENCE = "api.accounts.example.com"
EMAIL = "someone@example.org"
NOW_S = 1_430_000_000.5
KEY = rsa.generate_private_key(65537, 2048)
STRANGER = rsa.generate_private_key(65537, 2048)
CLAIMS: dict[str, Any] = {"exp": int(NOW_S) + 60, "aud": AUDIENCE, "sub": EMAIL}
# RFC 7515 appendix A.2: the key and the signed text of its RS256 example.
RFC_N = (
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pC"
    "gNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg6"
    "65xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRW"
    "yuXpoQ"
)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def jwk(key: rsa.RSAPrivateKey, kid: Any = "key-1", **changes: Any) -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    n, e = (base64url(number.to_bytes(-(-number.bit_length() // 8), "big")) for number in (numbers.n, numbers.e))
    members = {"kid": kid, "use": "sig", "kty": "RSA", "n": n, "e": e, **changes}
    return {name: value for name, value in members.items() if value is not None}


def signed(header: Any, payload: Any, key: rsa.RSAPrivateKey = KEY) -> str:
    """A JWS made without any JOSE library. Bytes stand for themselves, everything else is made JSON."""
    parts = (part if isinstance(part, bytes) else json.dumps(part).encode("utf-8") for part in (header, payload))
    text = ".".join(base64url(part) for part in parts)
    return f"{text}.{base64url(key.sign(text.encode('ascii'), padding.PKCS1v15(), hashes.SHA256()))}"


class ShapeTests(SynchronousTestCase):
    def test_three_parts_of_base64url_look_like_a_token(self) -> None:
        for text in ("aa.bb.cc", "aaa.aaaa.-_09", f"{'a' * 1000}.{'a' * 1000}.{'a' * 46}"):
            self.assertTrue(looks_like_token(text), text[:40])

    def test_nothing_else_does(self) -> None:
        for text in (
            *("", "aa", "aa.bb", "aa.bb.cc.dd", ".bb.cc", "aa..cc", "aa.bb.", "aa.bb.cc\n", " aa.bb.cc", "aa=.bb.cc"),
            *("a+.bb.cc", "a/.bb.cc", "aé.bb.cc", "a\u0661.bb.cc", "aa.b\0.cc", "a.bb.cc", "aa.bbbbb.cc"),
            f"{'a' * 1000}.{'a' * 1000}.{'a' * 47}",
        ):
            self.assertFalse(looks_like_token(text), repr(text[:40]))


class TokenCase(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW_S)
        self.server = loopback.Loopback(loopback.says({"keys": [jwk(KEY)]}))
        self.addCleanup(self.server.stop)
        self.jku = f"{self.server.url}/.well-known/public-keys"
        self.header = {"alg": "RS256", "jku": self.jku, "kid": "key-1"}
        self.tokens = PreVerifyTokens(self.clock, HTTPClient(Agent(reactor)), [self.jku], AUDIENCE)
        self.reasons: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: dict[str, Any]) -> None:
        if event.get("log_format") == "preverify.unfetchable":
            self.assertEqual(event["jku"], self.jku)
            self.reasons.append(event["reason"])

    def token(self, key: rsa.RSAPrivateKey = KEY, **changes: Any) -> str:
        """A good token, but for ``changes`` in its header."""
        return signed({**self.header, **changes}, CLAIMS, key)

    async def refusal(self, token: str, email: str = EMAIL) -> ApiError:
        with self.assertRaises(ApiError) as caught:
            await self.tokens.verify(token, email)
        json.dumps(caught.exception.body(), allow_nan=False, ensure_ascii=False).encode("utf-8")
        return caught.exception

    async def assert_culprit(self, token: str, name: str, value: object, message: str = "") -> None:
        error = await self.refusal(token)
        self.assertEqual((error.status, error.errno, error.extras), (400, 105, {name: value}), message)

    async def assert_unfetchable(self, token: str, message: str = "") -> None:
        error = await self.refusal(token)
        self.assertEqual((error.status, error.errno), (503, 201), message)


class VerifyTests(TokenCase):
    async def test_a_good_token_passes(self) -> None:
        await self.tokens.verify(self.token(), EMAIL)
        self.assertEqual(self.server.heard, [(b"GET", b"/.well-known/public-keys", b"")])

    async def test_the_set_this_server_itself_shows_will_do(self) -> None:
        own = SigningKey(KEY)
        self.server.answer = loopback.says({"keys": [own.jwk()]})
        await self.tokens.verify(self.token(kid="dev-1"), EMAIL)

    async def test_the_signature_of_a_changed_token_is_invalid(self) -> None:
        header, payload, signature = self.token().split(".")
        other = base64url(json.dumps({**CLAIMS, "sub": "other@example.org"}).encode())
        for token in (
            f"{header}.{other}.{signature}",
            f"{header}.{payload}.{base64url(bytes(256))}",
            f"{header}.{payload}.AAAA",
            self.token(key=STRANGER),
        ):
            await self.assert_culprit(token, "sig", "invalid")

    async def test_any_algorithm_but_rs256_is_an_invalid_signature(self) -> None:
        for alg in ("none", "None", "HS256", "RS384", "PS256", "ES256", "rs256", "", None, 1, ["RS256"], {}):
            await self.assert_culprit(self.token(alg=alg), "sig", "invalid", repr(alg))
        no_alg = {name: value for name, value in self.header.items() if name != "alg"}
        await self.assert_culprit(signed(no_alg, CLAIMS), "sig", "invalid")
        self.assertEqual(self.server.heard, [])

    async def test_the_public_key_is_no_hmac_secret(self) -> None:
        public = KEY.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        text = ".".join(base64url(json.dumps(part).encode()) for part in ({**self.header, "alg": "HS256"}, CLAIMS))
        mac = hmac.HMAC(public, hashes.SHA256())
        mac.update(text.encode())
        await self.assert_culprit(f"{text}.{base64url(mac.finalize())}", "sig", "invalid")

    async def test_critical_and_unencoded_headers_are_not_understood(self) -> None:
        for extra in ({"crit": ["exp"], "exp": 1}, {"crit": ["b64"], "b64": False}, {"b64": False}, {"crit": "b64"}):
            await self.assert_culprit(self.token(**extra), "sig", "invalid", repr(extra))

    async def test_a_jku_that_is_not_trusted_is_never_asked(self) -> None:
        for jku in (f"{self.jku}/", f"{self.jku}?", self.server.url, self.jku.upper(), "", "file:///etc/passwd"):
            await self.assert_culprit(self.token(jku=jku), "jku", jku)
        for jku in (None, [self.jku], {}):
            await self.assert_culprit(self.token(jku=jku), "jku", None, repr(jku))
        self.assertEqual(self.server.heard, [])

    async def test_an_unknown_kid_is_the_culprit(self) -> None:
        for kid in ("key-2", "", "é", 5):
            await self.assert_culprit(self.token(kid=kid), "kid", kid)
        for kid in (None, ["key-1"], "\ud800"):
            await self.assert_culprit(self.token(kid=kid), "kid", None, repr(kid))

    async def test_exp_must_be_a_number_of_seconds_in_the_future(self) -> None:
        bad = ["", "1430000060", [9e9], {}, None, True, int(NOW_S), NOW_S, 0, -1, 2**53 + 2, 10**400]
        for exp in bad:
            error = await self.refusal(signed(self.header, {**CLAIMS, "exp": exp}))
            shown = exp if isinstance(exp, str | int | float) and exp not in (True, 2**53 + 2, 10**400) else None
            self.assertEqual((error.errno, error.extras), (105, {"exp": shown}), repr(exp)[:40])
        raw = json.dumps(CLAIMS).replace(str(CLAIMS["exp"]), "1e400").encode()
        await self.assert_culprit(signed(self.header, raw), "exp", None)
        missing = {name: value for name, value in CLAIMS.items() if name != "exp"}
        await self.assert_culprit(signed(self.header, missing), "exp", None)
        for exp in (int(NOW_S) + 1, NOW_S + 0.25):
            await self.tokens.verify(signed(self.header, {**CLAIMS, "exp": exp}), EMAIL)

    async def test_aud_and_sub_must_be_this_server_and_this_email(self) -> None:
        for claim in ("aud", "sub"):
            for value in ("other.example.org", CLAIMS[claim].upper(), "", 7):
                await self.assert_culprit(signed(self.header, {**CLAIMS, claim: value}), claim, value, claim)
            for value in (None, [CLAIMS[claim]], {}, True, "\udfff"):
                await self.assert_culprit(signed(self.header, {**CLAIMS, claim: value}), claim, None, repr(value))

    async def test_the_first_fault_is_the_one_reported(self) -> None:
        faulty: dict[str, Any] = {"exp": 1, "aud": "x", "sub": "y"}
        header: dict[str, Any] = {"alg": "none", "jku": "http://elsewhere", "kid": "other"}
        await self.assert_culprit(signed(header, faulty, STRANGER), "sig", "invalid")
        header["alg"] = "RS256"
        await self.assert_culprit(signed(header, faulty, STRANGER), "jku", "http://elsewhere")
        header["jku"] = self.jku
        await self.assert_culprit(signed(header, faulty, STRANGER), "kid", "other")
        header["kid"] = "key-1"
        await self.assert_culprit(signed(header, faulty, STRANGER), "sig", "invalid")
        await self.assert_culprit(signed(header, faulty), "exp", 1)
        faulty["exp"] = CLAIMS["exp"]
        await self.assert_culprit(signed(header, faulty), "aud", "x")
        faulty["aud"] = AUDIENCE
        await self.assert_culprit(signed(header, faulty), "sub", "y")

    async def test_what_has_not_the_shape_of_a_token_is_a_bad_parameter(self) -> None:
        for token in ("", "a.b", "aa.bb.cc=", "x" * 3000):
            error = await self.refusal(token)
            self.assertEqual(error.errno, 107)
            self.assertEqual(error.extras["validation"], {"source": "payload", "keys": ["preVerifyToken"]})

    async def test_parts_that_are_no_json_objects_make_the_token_the_culprit(self) -> None:
        for part in (
            *(b"\xff", b"{", b"[]", b"null", b'"x"', b"1", b'{"a": NaN}', b'{"a": Infinity}', b"\xef\xbb\xbf{}"),
            *(b"[" * 500, b'{"a": ' + b"9" * 500 + b"}}", "{}".encode("utf-16")),
        ):
            for token in (signed(part, CLAIMS), signed(self.header, part)):
                await self.assert_culprit(token, "token", token, repr(part[:20]))
        deep = f"{base64url(b'[' * 1400)}.e30.AAAA"
        await self.assert_culprit(deep, "token", deep)

    async def test_any_header_and_payload_give_an_error_of_the_protocol(self) -> None:
        await self.tokens.verify(self.token(), EMAIL)
        json_value = st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=6,
        )
        header_names = st.sampled_from(["alg", "jku", "kid", "crit", "b64", "typ", "cty", "jwk", "x5u", "zip"])
        changes = st.dictionaries(header_names, json_value, max_size=3)
        claims = st.dictionaries(st.sampled_from(["exp", "aud", "sub", "nbf", "iat"]), json_value)

        @given(changes, claims, st.binary(max_size=60) | st.none(), st.binary(max_size=60) | st.none())
        def check(changes: dict[str, Any], claims: dict[str, Any], raw_header: bytes | None, raw: bytes | None) -> None:
            header = raw_header if raw_header is not None else {**self.header, **changes}
            token = signed(header, raw if raw is not None else claims)
            error = self.successResultOf(Deferred.fromCoroutine(self.refusal(token)))
            self.assertIn(error.errno, (105, 107))

        check()


class FetchTests(TokenCase):
    async def test_a_set_is_kept_for_an_hour(self) -> None:
        token = signed(self.header, {**CLAIMS, "exp": NOW_S + 10_000})
        await self.tokens.verify(token, EMAIL)
        self.clock.advance(3599)
        await self.tokens.verify(token, EMAIL)
        self.assertEqual(len(self.server.heard), 1)
        self.clock.advance(1)
        self.server.answer = loopback.says({"keys": []})
        await self.assert_culprit(token, "kid", "key-1")
        self.assertEqual(len(self.server.heard), 2)

    async def test_a_kept_set_does_not_outlive_its_hour_when_it_cannot_be_had_again(self) -> None:
        await self.tokens.verify(self.token(), EMAIL)
        self.clock.advance(3600)
        self.server.answer = loopback.says({}, 500)
        await self.assert_unfetchable(self.token())

    async def test_a_new_kid_has_the_set_fetched_again(self) -> None:
        await self.tokens.verify(self.token(), EMAIL)
        self.clock.advance(60)
        self.server.answer = loopback.says({"keys": [jwk(STRANGER, "key-2")]})
        token = signed({**self.header, "kid": "key-2"}, {**CLAIMS, "exp": NOW_S + 999}, STRANGER)
        await self.tokens.verify(token, EMAIL)
        self.assertEqual(len(self.server.heard), 2)
        await self.assert_culprit(self.token(), "kid", "key-1")

    async def test_unknown_kids_have_a_set_fetched_once_a_minute_at_most(self) -> None:
        for kid in ("a", "b", "c"):
            await self.assert_culprit(self.token(kid=kid), "kid", kid)
        self.assertEqual(len(self.server.heard), 1)
        self.clock.advance(59.9)
        await self.assert_culprit(self.token(kid="d"), "kid", "d")
        self.assertEqual(len(self.server.heard), 1)
        self.clock.advance(0.2)
        for kid in ("e", "f"):
            await self.assert_culprit(self.token(kid=kid), "kid", kid)
        self.assertEqual(len(self.server.heard), 2)

    async def test_failing_fetches_for_unknown_kids_are_as_rare(self) -> None:
        await self.tokens.verify(self.token(), EMAIL)
        self.clock.advance(60)
        self.server.answer = loopback.says({}, 500)
        await self.assert_unfetchable(self.token(kid="a"))
        await self.assert_culprit(self.token(kid="b"), "kid", "b")
        self.assertEqual(len(self.server.heard), 2)

    async def test_all_who_need_a_set_share_one_fetch(self) -> None:
        verifications = [Deferred.fromCoroutine(self.tokens.verify(self.token(), EMAIL)) for _ in range(5)]
        await gatherResults(verifications)
        self.assertEqual(len(self.server.heard), 1)

    async def test_one_who_gives_up_leaves_the_fetch_to_the_others(self) -> None:
        first, second = (Deferred.fromCoroutine(self.tokens.verify(self.token(), EMAIL)) for _ in range(2))
        first.cancel()
        with self.assertRaises(CancelledError):
            await first
        await second
        self.assertEqual(len(self.server.heard), 1)

    async def test_what_is_no_jwk_set_is_unfetchable(self) -> None:
        for body in (b"", b"\xff{}", b"[" * 60_000, b"[]", b"null", b"{}", b'{"keys": {}}', b'{"keys": null}'):
            self.server.answer = loopback.says(body)
            await self.assert_unfetchable(self.token(), repr(body[:20]))
        self.assertEqual({reason.split(":")[0] for reason in self.reasons}, {"_BadSet"})

    async def test_other_statuses_and_redirects_are_unfetchable(self) -> None:
        for status in (201, 204, 401, 404, 500, 503):
            self.server.answer = loopback.says({"keys": [jwk(KEY)]}, status)
            await self.assert_unfetchable(self.token(), str(status))
        self.server.answer = loopback.redirects(f"{self.server.url}/elsewhere")
        await self.assert_unfetchable(self.token())
        self.assertEqual(len(self.server.heard), 7)

    async def test_a_set_of_64_kib_is_the_limit(self) -> None:
        whole = json.dumps({"keys": [jwk(KEY)]}).encode().ljust(MAX_SET_BYTES)
        self.server.answer = loopback.says(whole + b" ")
        await self.assert_unfetchable(self.token())
        self.server.answer = loopback.says(whole)
        await self.tokens.verify(self.token(), EMAIL)

    async def test_a_server_that_dies_or_is_not_there_is_unfetchable(self) -> None:
        self.server.answer = loopback.dies_in_the_body
        await self.assert_unfetchable(self.token())
        await self.server.refuse_connections()
        await self.assert_unfetchable(self.token())
        self.assertIn("ConnectionRefusedError", self.reasons[-1])

    async def test_a_certificate_nobody_vouches_for_is_unfetchable(self) -> None:
        server = loopback.Loopback(loopback.says({"keys": [jwk(KEY)]}), issue("127.0.0.1", "127.0.0.1").options())
        self.addCleanup(server.stop)
        self.jku = server.url
        self.tokens = PreVerifyTokens(self.clock, HTTPClient(Agent(reactor)), [self.jku], AUDIENCE)
        await self.assert_unfetchable(self.token(jku=self.jku))
        self.assertIn("certificate verify failed", self.reasons[0])
        self.assertEqual(server.heard, [])

    async def test_after_five_seconds_a_set_is_unfetchable_and_the_next_try_is_new(self) -> None:
        self.server.answer = loopback.hangs_in_the_body
        verification = Deferred.fromCoroutine(self.refusal(self.token()))
        gone = loopback.ended(await self.server.requests.get())
        self.clock.advance(4.9)
        self.assertNoResult(verification)
        self.clock.advance(0.2)
        self.assertEqual((await verification).errno, 201)
        await gone
        self.server.answer = loopback.says({"keys": [jwk(KEY)]})
        await self.tokens.verify(self.token(), EMAIL)

    async def test_stopping_ends_the_fetches_that_are_running(self) -> None:
        self.server.answer = loopback.hangs
        verification = Deferred.fromCoroutine(self.refusal(self.token()))
        gone = loopback.ended(await self.server.requests.get())
        await self.tokens.stop()
        self.assertEqual((await verification).errno, 201)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        await gone

    async def test_stopping_an_idle_verifier_does_nothing(self) -> None:
        await self.tokens.stop()


class UsableKeysTests(SynchronousTestCase):
    def kids(self, *entries: object) -> list[str]:
        return list(_usable_keys(json.dumps({"keys": entries}).encode("utf-8")))

    def test_rs256_signature_keys_are_usable(self) -> None:
        whole = jwk(KEY, "a", alg="RS256", d="AQAB", x5c=["x"])
        self.assertEqual(self.kids(whole, jwk(KEY, "b", use=None)), ["a", "b"])

    def test_a_key_made_elsewhere_is_read_right(self) -> None:
        body = json.dumps({"keys": [{"kty": "RSA", "kid": "rfc", "n": RFC_N, "e": "AQAB"}]}).encode()
        numbers = _usable_keys(body)["rfc"].public_numbers()
        self.assertEqual(numbers.e, 65537)
        self.assertEqual(numbers.n >> 2016, 0xA1F8160A)
        self.assertEqual(numbers.n.bit_length(), 2048)

    def test_other_keys_are_left_out(self) -> None:
        small = jwk(rsa.generate_private_key(65537, 1024), "small")
        unusable: list[object] = [
            *(None, 5, "x", [], {}, small),
            *(jwk(KEY, kid) for kid in (None, 5, ["x"])),
            *(jwk(KEY, kty=kty) for kty in (None, "EC", "oct", 5)),
            *(jwk(KEY, use="enc"), jwk(KEY, alg="RS512"), jwk(KEY, alg="HS256"), jwk(KEY, use=["sig"])),
            *(jwk(KEY, n=n) for n in (None, "", "é", "!", 5, "AQAB", "A" * 40_000)),
            *(jwk(KEY, e=e) for e in (None, "", "é", "!", 5, "AA", "Ag", "A" * 40_000)),
        ]
        for entry in unusable:
            self.assertEqual(self.kids(entry, jwk(KEY, "good")), ["good"], repr(entry)[:200])

    def test_of_two_keys_with_one_kid_the_first_counts(self) -> None:
        keys = _usable_keys(json.dumps({"keys": [jwk(KEY), jwk(STRANGER)]}).encode())
        self.assertEqual(keys["key-1"].public_numbers(), KEY.public_key().public_numbers())

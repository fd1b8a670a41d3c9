"""The certificates, proved with PyBrowserID and by hand, and every key a client must not have."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import browserid.jwt
from browserid.supportdoc import SupportDocumentManager
from browserid.tests.support import get_keypair
from browserid.utils import bundle_certs_and_assertion
from browserid.verifiers.local import LocalVerifier
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth import certificates
from fxa_auth.certificates import SigningKey, check_members, normalize
from fxa_auth.errors import ApiError

# A key made for these tests; it guards nothing.
N = int(
    "23472450200285242093735906136852000031406840508064312786779937902869047054091526473371776527384056128145568382"
    "81365440830399076393282601890028799191420157954658123949303832131382358001912335316198067852097843689262640738"
    "32130337641840043921731567922867604650649594151984469327371442172976647688736529515127215729016894763858852824"
    "20299966300753584129707701495414973869472453058821655339449555131329499984411972749871650631245790328894348924"
    "14905070753206458099344731812286577599345766630592210600116243404316780142052831377883311467789832545030147853"
    "6590148456680506911293753294119427577638288522944925390779515474251"
)
E = 65537
D = int(
    "30039495461665879726068337527392098050061867970126708406331427922307569231682924877040729281536356539508010589"
    "41566326461147121446237210213995106350755697654437514347381445213340088933197098325753997950284115132345382060"
    "61979491818447628504355686053315687114550580816417195840008340255800339236029504680432242124598931699110460558"
    "36190054694149859766131185552393070400539617568303258486607291987563683593889756724221329957273514557683249006"
    "65739639280353494780874847271499194385683247762015076816794004031361286204145895118702184757086126577447903278"
    "43769404987033269018932596489311724712207717022776682516727164545"
)

KEY = SigningKey.from_numbers(N, E, D)
UID = bytes.fromhex("00112233445566778899aabbccddeeff")
NOW_MS = 1_430_000_000_123
ISSUER = "api.accounts.example.com:8443"
RS_MEMBERS = {"algorithm": "RS", "n": str(2**2047 + 1), "e": "65537"}
DS_MEMBERS = {"algorithm": "DS", "y": "1f", "p": hex(2**1023 + 1)[2:], "q": "e21e", "g": "c52a"}
# SHA-256 in a PKCS #1 DigestInfo, RFC 8017 section 9.2.
DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def certificate(**changes: Any) -> str:
    arguments: dict[str, Any] = {
        "key": KEY,
        "issuer": ISSUER,
        "client_key": {"algorithm": "RS", "n": "123", "e": "3"},
        "email": "andré@example.org",
        "generation_ms": 1_420_000_000_456,
        "last_auth_at_s": 1_425_000_000,
        "uid": UID,
        "now_ms": NOW_MS,
        "duration_ms": 3_600_000,
    }
    return certificates.sign(**(arguments | changes))


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


class SigningKeyTests(SynchronousTestCase):
    def test_a_generated_key_has_2048_bits_and_the_usual_exponent(self) -> None:
        numbers = SigningKey.generate().public_numbers()
        self.assertEqual(numbers.n.bit_length(), 2048)
        self.assertEqual(numbers.e, 65537)

    def test_a_key_comes_back_from_its_numbers(self) -> None:
        self.assertEqual(KEY.public_numbers(), rsa.RSAPublicNumbers(E, N))
        self.assertEqual(KEY.secret_exponent(), D)

    def test_a_key_of_another_size_is_refused(self) -> None:
        small = rsa.generate_private_key(65537, 1024)
        numbers = small.private_numbers()
        self.assertRaises(ValueError, SigningKey, small)
        n, e = numbers.public_numbers.n, numbers.public_numbers.e
        error = self.assertRaises(ValueError, SigningKey.from_numbers, n, e, numbers.d)
        self.assertIn("1024 bits", str(error))

    def test_numbers_that_are_no_key_are_refused_without_repeating_them(self) -> None:
        for name, n, e, d in [
            ("another d", N, E, D + 2),
            ("d of 1, e of 1", N, 1, 1),
            ("d of 0", N, E, 0),
            ("an even e", N, 65536, D),
            ("d beyond n", N, E, D + N * 2),
            ("another n", N + 2, E, D),
            ("an even n", 2**2047, E, D),
            ("n of 0", 0, E, D),
            ("negative n", -N, E, D),
        ]:
            error = self.assertRaises(ValueError, SigningKey.from_numbers, n, e, d)
            self.assertNotRegex(str(error), r"[0-9]{6}", name)

    def test_its_repr_tells_no_number_of_the_key(self) -> None:
        self.assertNotRegex(repr(KEY), r"[0-9]{5}")

    def test_the_browserid_form_is_decimal(self) -> None:
        self.assertEqual(list(KEY.browserid_public_key().items()), [("algorithm", "RS"), ("n", str(N)), ("e", "65537")])

    def test_the_jwk_is_big_endian_base64url_without_padding(self) -> None:
        jwk = KEY.jwk()
        self.assertEqual(list(jwk), ["kid", "use", "kty", "n", "e"])
        self.assertEqual((jwk["kid"], jwk["use"], jwk["kty"], jwk["e"]), ("dev-1", "sig", "RSA", "AQAB"))
        self.assertRegex(jwk["n"], r"^[A-Za-z0-9_-]{342}$")
        self.assertEqual(int.from_bytes(decoded(jwk["n"]), "big"), N)


class SignTests(SynchronousTestCase):
    def test_header_and_payload_are_exactly_as_the_protocol_writes_them(self) -> None:
        header, payload, _ = certificate().split(".")
        self.assertEqual(decoded(header), b'{"alg":"RS256"}')
        self.assertEqual(
            decoded(payload).decode("utf-8"),
            '{"fxa-generation":1420000000456,"fxa-lastAuthAt":1425000000,"fxa-verifiedEmail":"andré@example.org",'
            '"public-key":{"algorithm":"RS","n":"123","e":"3"},'
            '"principal":{"email":"00112233445566778899aabbccddeeff@api.accounts.example.com:8443"},'
            '"iat":1429999990123,"exp":1430003600123,"iss":"api.accounts.example.com:8443"}',
        )

    def test_no_part_is_padded(self) -> None:
        for email in ("a@example.org", "ab@example.org", "abc@example.org"):
            self.assertTrue(re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2}", certificate(email=email)), email)

    def test_the_signature_opens_to_the_digest_of_header_and_payload(self) -> None:
        signed, _, signature = certificate().rpartition(".")
        opened = pow(int.from_bytes(decoded(signature), "big"), E, N).to_bytes(256, "big")
        digest_info = DIGEST_INFO + hashlib.sha256(signed.encode("ascii")).digest()
        self.assertEqual(opened, b"\x00\x01" + b"\xff" * (256 - 3 - len(digest_info)) + b"\x00" + digest_info)


class BrowserIDTests(SynchronousTestCase):
    """PyBrowserID, as relying parties run it, accepts what is signed here."""

    audience = "https://token.services.example.com"
    domain = "api.accounts.example.com"

    def verified(self, client_key: dict[str, str], private_key: browserid.jwt.Key) -> dict[str, Any]:
        issued = certificate(issuer=self.domain, client_key=client_key)
        claims = {"exp": NOW_MS + 60_000, "aud": self.audience}
        bundle = bundle_certs_and_assertion([issued], browserid.jwt.generate(claims, private_key))
        documents = SupportDocumentManager()
        documents.cache[self.domain] = (None, {"public-key": KEY.browserid_public_key()})
        verifier = LocalVerifier([self.audience], supportdocs=documents)
        answer: dict[str, Any] = verifier.verify(bundle, now=NOW_MS)
        return answer

    def test_a_certificate_for_an_rs_key_is_accepted(self) -> None:
        numbers = rsa.generate_private_key(65537, 2048).private_numbers()
        public = {"algorithm": "RS", "n": str(numbers.public_numbers.n), "e": "65537"}
        private = browserid.jwt.RS256Key({**public, "d": str(numbers.d)})
        answer = self.verified(normalize(check_members(public)), private)
        self.assertEqual(answer["status"], "okay")
        self.assertEqual(answer["email"], f"{UID.hex()}@{self.domain}")
        self.assertEqual(answer["issuer"], self.domain)
        self.assertEqual(answer["idpClaims"]["fxa-verifiedEmail"], "andré@example.org")
        self.assertEqual(answer["idpClaims"]["fxa-generation"], 1_420_000_000_456)

    def test_a_certificate_for_a_ds_key_is_accepted(self) -> None:
        public, private = get_keypair("someone.example.org")
        untidy = {name: value.upper() for name, value in public.items()} | {"version": "2012.08.15"}
        untidy["g"] = "000" + untidy["g"]
        answer = self.verified(normalize(check_members(untidy)), private)
        self.assertEqual(answer["email"], f"{UID.hex()}@{self.domain}")

    def test_a_certificate_of_another_key_is_not(self) -> None:
        public, _private = get_keypair("someone.example.org")
        _, stranger = get_keypair("another.example.org")
        self.assertRaises(browserid.errors.InvalidSignatureError, self.verified, normalize(public), stranger)


class ClientKeyCase(SynchronousTestCase):
    def refused(self, function: Any, value: object) -> ApiError:
        return self.assertRaises(ApiError, function, value)

    def assert_bad(self, error: ApiError, key: str, message: str) -> None:
        self.assertEqual(error.errno, 107, message)
        self.assertEqual(error.extras["validation"], {"source": "payload", "keys": [key]}, message)

    def assert_missing(self, error: ApiError, name: str) -> None:
        self.assertEqual((error.errno, error.extras), (108, {"param": name}))


class CheckMembersTests(ClientKeyCase):
    def test_every_declared_member_passes(self) -> None:
        members = {**DS_MEMBERS, **RS_MEMBERS, "version": "2012.08.15"}
        self.assertEqual(check_members(members), members)

    def test_missing_numbers_are_not_looked_for_yet(self) -> None:
        self.assertEqual(check_members({"algorithm": "RS"}), {"algorithm": "RS"})

    def test_what_is_no_object_is_bad(self) -> None:
        for value in (None, "RS", 5, [], ["algorithm"], True):
            self.assert_bad(self.refused(check_members, value), "publicKey", repr(value))

    def test_a_missing_algorithm_is_a_missing_parameter(self) -> None:
        self.assert_missing(self.refused(check_members, {"n": "15", "e": "3"}), "publicKey.algorithm")

    def test_an_algorithm_other_than_rs_and_ds_is_bad(self) -> None:
        for value in ("rs", "ES", "RS256", "", None, 1, ["RS"], {}):
            error = self.refused(check_members, {**RS_MEMBERS, "algorithm": value})
            self.assert_bad(error, "publicKey.algorithm", repr(value))

    def test_a_member_that_is_no_proper_string_is_bad_under_its_name(self) -> None:
        for name in ("n", "e", "y", "p", "q", "g", "version"):
            for value in (None, 3, 3.5, True, [], {}, "", "1\0", "\ud800"):
                error = self.refused(check_members, {**RS_MEMBERS, name: value})
                self.assert_bad(error, f"publicKey.{name}", f"{name}={value!r}")

    def test_an_unknown_member_is_bad(self) -> None:
        for name in ("x", "d", "kty", "N", ""):
            self.assert_bad(self.refused(check_members, {**RS_MEMBERS, name: "1"}), "publicKey", name)

    def test_the_first_declared_fault_is_the_one_reported(self) -> None:
        error = self.refused(check_members, {"x": "1", "q": 1, "n": 1, "algorithm": "RS"})
        self.assert_bad(error, "publicKey.n", "n stands before q and the unknown")


class NormalizeTests(ClientKeyCase):
    def test_an_rs_key_keeps_only_its_own_members(self) -> None:
        untidy = {"version": "2", "g": "zz", "e": "0065537", "n": "000" + RS_MEMBERS["n"], "algorithm": "RS"}
        self.assertEqual(list(normalize(untidy).items()), list(RS_MEMBERS.items()))

    def test_a_ds_key_keeps_only_its_own_members(self) -> None:
        untidy = {**{name: "00" + value.upper() for name, value in DS_MEMBERS.items()}, "algorithm": "DS", "n": "x"}
        self.assertEqual(list(normalize(untidy).items()), list(DS_MEMBERS.items()))

    def test_a_missing_number_is_a_missing_parameter(self) -> None:
        for whole in (RS_MEMBERS, DS_MEMBERS):
            for name in whole.keys() - {"algorithm"}:
                rest = {other: value for other, value in whole.items() if other != name}
                self.assert_missing(self.refused(normalize, rest), name)

    def test_a_missing_number_comes_before_a_bad_one(self) -> None:
        self.assert_missing(self.refused(normalize, {"algorithm": "RS", "n": "x"}), "e")

    def test_text_that_is_no_positive_number_is_bad(self) -> None:
        decimals = ("-1", "+1", " 1", "1\n", "1_0", "1.0", "1e3", "0x1", "0", "000", "\u0661", "\u00b2", "9" * 10_000)
        hexadecimals = ("-1", "+1", " 1", "1\n", "1_0", "0x1f", "g", "0", "000", "\u0661", "\u017f", "f" * 10_000)
        for whole, bad in ((RS_MEMBERS, decimals), (DS_MEMBERS, hexadecimals)):
            for name in whole.keys() - {"algorithm"}:
                for value in bad:
                    error = self.refused(normalize, {**whole, name: value})
                    self.assert_bad(error, "publicKey", f"{name}={value[:20]!r}")

    def test_1300_digits_are_the_limit_leading_zeros_included(self) -> None:
        self.assertEqual(normalize({**RS_MEMBERS, "e": "3".zfill(1300)})["e"], "3")
        self.assertEqual(len(normalize({**RS_MEMBERS, "e": "3" * 1300})["e"]), 1300)
        self.assert_bad(self.refused(normalize, {**RS_MEMBERS, "e": "3".zfill(1301)}), "publicKey", "1301 digits")

    def test_rsa_moduli_are_of_a_known_size_within_one_bit(self) -> None:
        good = (511, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049)
        for bits in (1, 256, 510, 514, 768, 1022, 1026, 1536, 2046, 2050, 4096, *good):
            members = {**RS_MEMBERS, "n": str(2 ** (bits - 1))}
            if bits in good:
                self.assertEqual(normalize(members), members, bits)
            else:
                self.assert_bad(self.refused(normalize, members), "publicKey", f"{bits} bits")

    def test_an_rsa_exponent_is_odd_and_not_one(self) -> None:
        for e in ("1", "2", "65536", "01"):
            self.assert_bad(self.refused(normalize, {**RS_MEMBERS, "e": e}), "publicKey", e)
        self.assertEqual(normalize({**RS_MEMBERS, "e": "3"})["e"], "3")

    def test_dsa_primes_are_of_1024_or_2048_bits(self) -> None:
        for bits in (160, 512, 1023, 1024, 1025, 2047, 2048, 2049, 3072):
            members = {**DS_MEMBERS, "p": hex(2 ** (bits - 1))[2:]}
            if bits in (1024, 2048):
                self.assertEqual(normalize(members), members, bits)
            else:
                self.assert_bad(self.refused(normalize, members), "publicKey", f"{bits} bits")

    def test_any_json_gives_a_normal_form_or_an_error_of_the_protocol(self) -> None:
        text = st.one_of(st.text(max_size=20), st.from_regex(r"[0-9a-fA-F]{1,400}", fullmatch=True))
        member = st.one_of(text, st.none(), st.integers(), st.lists(text, max_size=2))
        names = st.sampled_from(["algorithm", "n", "e", "y", "p", "q", "g", "version", "x"])
        objects = st.dictionaries(names, member)
        likely = st.tuples(objects, st.sampled_from(["RS", "DS"])).map(lambda pair: {**pair[0], "algorithm": pair[1]})

        @given(st.one_of(member, objects, likely))
        def check(value: object) -> None:
            try:
                normal = normalize(check_members(value))
            except ApiError as error:
                self.assertIn(error.errno, (107, 108))
            else:
                self.assertEqual(normalize(check_members(json.loads(json.dumps(normal)))), normal)

        check()

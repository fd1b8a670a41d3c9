"""The key arithmetic, against values computed by the original server, and as a client does its half."""

from __future__ import annotations

import hashlib
import hmac

from hypothesis import given
from hypothesis.strategies import binary, sampled_from
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from fxa_auth import onepw
from fxa_auth.workers import ScryptPool
from tests.vectors import vectors

KEYS = binary(min_size=32, max_size=32)


def client_stretch(email: str, password: str) -> tuple[bytes, bytes, bytes]:
    """quickStretchedPW, authPW and unwrapBkey: what a client makes of a password."""
    salt = f"{onepw.NAMESPACE}quickStretch:{email}".encode()
    stretched = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1000, 32)
    return stretched, plain_hkdf(stretched, "authPW", 32), plain_hkdf(stretched, "unwrapBkey", 32)


def plain_hkdf(key_material: bytes, name: str, length: int) -> bytes:
    """RFC 5869 from its text, with the salt of 32 zero bytes that stands for none."""
    pseudo_random_key = hmac.digest(bytes(32), key_material, "sha256")
    info, block, out = f"identity.mozilla.com/picl/v1/{name}".encode(), b"", b""
    for counter in range(1, length // 32 + 2):
        block = hmac.digest(pseudo_random_key, block + info + bytes([counter]), "sha256")
        out += block
    return out[:length]


def client_open_bundle(bundle_key: bytes, bundle: bytes) -> tuple[bytes, bytes]:
    """kA and wrapKb, as a client takes them from a bundle."""
    keys = plain_hkdf(bundle_key, "account/keys", 96)
    ciphertext, mac = bundle[:64], bundle[64:]
    assert hmac.digest(keys[:32], ciphertext, "sha256") == mac, "the bundle's MAC is wrong"
    plain = bytes(a ^ b for a, b in zip(ciphertext, keys[32:], strict=True))
    return plain[:32], plain[32:]


class VectorTests(TestCase):
    """Every row of vectors.json that is about passwords and bundles."""

    async def test_passwords(self) -> None:
        pool = ScryptPool(reactor, threads=2, max_pending=0, max_pending_per_address=0)
        pool.start()
        self.addCleanup(pool.stop)
        self.assertEqual({row["verifierVersion"] for row in vectors("password")}, {0, 1})
        for row in vectors("password"):
            version = row["verifierVersion"]
            if version == 1:
                stretched = await pool.stretch(row["authPW"], row["authSalt"], "127.0.0.1")
            else:
                stretched = onepw.stretch_version_0(row["authPW"], row["authSalt"])
            self.assertEqual(stretched, row["stretched"])
            self.assertEqual(onepw.verify_hash(stretched, version), row["verifyHash"])
            self.assertEqual(onepw.swap_wrap(row["wrapWrapKb"], stretched, version), row["wrapKb"])
            self.assertEqual(onepw.swap_wrap(row["wrapKb"], stretched, version), row["wrapWrapKb"])

    def test_key_bundles(self) -> None:
        for row in vectors("bundle"):
            self.assertEqual(onepw.hkdf(row["keyFetchToken"], "keyFetchToken", 96)[64:], row["bundleKey"])
            self.assertEqual(onepw.hkdf(row["keyFetchToken"], "keyFetchToken", 96)[:32], row["tokenId"])
            self.assertEqual(onepw.key_bundle(row["bundleKey"], row["kA"], row["wrapKb"]), row["bundle"])
            self.assertEqual(client_open_bundle(row["bundleKey"], row["bundle"]), (row["kA"], row["wrapKb"]))

    def test_the_clients_stretching(self) -> None:
        for row in vectors("stretch"):
            expected = (row["quickStretchedPW"], row["authPW"], row["unwrapBkey"])
            self.assertEqual(client_stretch(row["email"], row["password"]), expected)
            self.assertEqual(onepw.hkdf(row["quickStretchedPW"], "authPW", 32), row["authPW"])


class ArithmeticTests(SynchronousTestCase):
    """What holds for all keys."""

    @given(KEYS, sampled_from(["authPW", "verifyHash", "sessionToken"]), sampled_from([1, 31, 32, 33, 64, 96]))
    def test_hkdf_is_the_one_of_the_rfc(self, key: bytes, name: str, length: int) -> None:
        self.assertEqual(onepw.hkdf(key, name, length), plain_hkdf(key, name, length))

    @given(KEYS, KEYS, sampled_from([0, 1]))
    def test_unwrapping_undoes_wrapping(self, wrap_kb: bytes, stretched: bytes, version: int) -> None:
        wrapped = onepw.swap_wrap(wrap_kb, stretched, version)
        self.assertNotEqual(wrapped, wrap_kb)
        self.assertEqual(onepw.swap_wrap(wrapped, stretched, version), wrap_kb)

    @given(KEYS, KEYS, KEYS)
    def test_a_client_can_open_every_bundle(self, bundle_key: bytes, ka: bytes, wrap_kb: bytes) -> None:
        self.assertEqual(client_open_bundle(bundle_key, onepw.key_bundle(bundle_key, ka, wrap_kb)), (ka, wrap_kb))

    def test_xor_refuses_two_lengths(self) -> None:
        self.assertEqual(onepw.xor(b"\x0f\xf0", b"\xff\xff"), b"\xf0\x0f")
        self.assertRaises(ValueError, onepw.xor, b"\x00", b"\x00\x00")

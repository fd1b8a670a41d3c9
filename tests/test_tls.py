"""TLS files: a chain that a client believes, and the one line for each file that can't be used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool

from fxa_auth.tls import TlsFileError, server_tls
from tests.loopback import Loopback, says


def certificate(
    name: str, key: EllipticCurvePrivateKey, issuer: str, issuer_key: EllipticCurvePrivateKey, *, is_ca: bool
) -> bytes:
    """A certificate in PEM, for 127.0.0.1 where it is not for a CA."""
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
        key.public_key(),
        x509.random_serial_number(),
        now - timedelta(days=1),
        now + timedelta(days=1),
    ).add_extension(x509.BasicConstraints(is_ca, None), critical=True)
    if not is_ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), False)
    return builder.sign(issuer_key, SHA256()).public_bytes(serialization.Encoding.PEM)


def private_pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


ROOT_FOLDER = Path(__file__).resolve().parent.parent
ROOT_KEY, MIDDLE_KEY, KEY = (generate_private_key(SECP256R1()) for _ in range(3))
ROOT = certificate("root", ROOT_KEY, "root", ROOT_KEY, is_ca=True)
MIDDLE = certificate("middle", MIDDLE_KEY, "root", ROOT_KEY, is_ca=True)
LEAF = certificate("leaf", KEY, "middle", MIDDLE_KEY, is_ca=False)


def files(make_path: Callable[[], str], key: bytes, cert: bytes) -> tuple[Path, Path]:
    folder = Path(make_path())
    folder.mkdir()
    key_path, cert_path = folder / "key.pem", folder / "cert.pem"
    key_path.write_bytes(key)
    cert_path.write_bytes(cert)
    return key_path, cert_path


class ServingTests(TestCase):
    """A real handshake."""

    async def test_a_client_that_trusts_the_root_believes_the_chain(self) -> None:
        options = server_tls(*files(self.mktemp, private_pem(KEY), LEAF + b"\n" + MIDDLE))
        server = Loopback(says(b"{}"), tls=options)
        self.addCleanup(server.stop)
        trust = trustRootFromCertificates([Certificate.loadPEM(ROOT)])
        pool = HTTPConnectionPool(reactor, persistent=False)
        agent = Agent(reactor, BrowserLikePolicyForHTTPS(trust), connectTimeout=10, pool=pool)
        response = await HTTPClient(agent).get(server.url)
        self.assertEqual(await response.content(), b"{}")


class FileTests(SynchronousTestCase):
    """What can be wrong."""

    def assertRefused(self, key: bytes, cert: bytes, setting: str, complaint: str) -> None:
        key_path, cert_path = files(self.mktemp, key, cert)
        error = self.assertRaises(TlsFileError, server_tls, key_path, cert_path)
        self.assertEqual(error.setting, setting)
        self.assertIn(complaint, str(error))
        self.assertEqual(len(str(error).splitlines()), 1)

    def test_contents_that_are_something_else(self) -> None:
        good = private_pem(KEY)
        other = private_pem(ROOT_KEY)
        broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        for key, cert, setting, complaint in (
            (b"", LEAF, "keyPath", "no private key"),
            (b"\xff\x00", LEAF, "keyPath", "no private key"),
            (LEAF, LEAF, "keyPath", "no private key"),
            (good[:60], LEAF, "keyPath", "no private key"),
            (good, b"", "certPath", "no certificate"),
            (good, good, "certPath", "no certificate"),
            (good, broken, "certPath", "no certificate"),
            (good, LEAF + broken, "certPath", "no certificate"),
            (other, LEAF, "certPath", "does not belong"),
            (good, MIDDLE + LEAF, "certPath", "does not belong"),
        ):
            self.assertRefused(key, cert, setting, complaint)

    def test_a_key_under_a_pass_phrase_is_refused_without_asking_for_it(self) -> None:
        locked = KEY.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
        self.assertRefused(locked, LEAF, "keyPath", "pass phrase")
        key_path, cert_path = files(self.mktemp, locked, LEAF)
        code = "import sys, pathlib\nfrom fxa_auth.tls import server_tls, TlsFileError\n"
        code += "try: server_tls(*map(pathlib.Path, sys.argv[1:]))\nexcept TlsFileError: print('refused')"
        command = [sys.executable, "-c", code, str(key_path.absolute()), str(cert_path.absolute())]
        ran = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, cwd=ROOT_FOLDER, start_new_session=True
        )
        self.assertEqual((ran.stdout.strip(), ran.stderr), (b"refused", b""), "OpenSSL's question would be on stderr")

    def test_files_that_cannot_be_read(self) -> None:
        key_path, cert_path = files(self.mktemp, private_pem(KEY), LEAF)
        for setting, key, cert in (("keyPath", key_path.parent, cert_path), ("certPath", key_path, Path("not/there"))):
            error = self.assertRaises(TlsFileError, server_tls, key, cert)
            self.assertEqual(error.setting, setting)
            self.assertTrue(str(error).startswith("cannot be read ("), str(error))

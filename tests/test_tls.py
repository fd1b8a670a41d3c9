"""TLS files: a chain that a client believes, and the one line for each file that can't be used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool

from fxa_auth.tls import TlsFileError, authorities, server_tls
from tests.certificates import issue
from tests.loopback import Loopback, says

ROOT_FOLDER = Path(__file__).resolve().parent.parent
ROOT = issue("root", is_authority=True)
MIDDLE = issue("middle", issuer=ROOT, is_authority=True)
LEAF = issue("leaf", "127.0.0.1", issuer=MIDDLE)


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
        options = server_tls(*files(self.mktemp, LEAF.key_pem, LEAF.pem + b"\n" + MIDDLE.pem))
        server = Loopback(says(b"{}"), tls=options)
        self.addCleanup(server.stop)
        trust = trustRootFromCertificates([Certificate.loadPEM(ROOT.pem)])
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
        good, other, leaf = LEAF.key_pem, ROOT.key_pem, LEAF.pem
        broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        for key, cert, setting, complaint in (
            (b"", leaf, "keyPath", "no private key"),
            (b"\xff\x00", leaf, "keyPath", "no private key"),
            (leaf, leaf, "keyPath", "no private key"),
            (good[:60], leaf, "keyPath", "no private key"),
            (good, b"", "certPath", "no certificate"),
            (good, good, "certPath", "no certificate"),
            (good, broken, "certPath", "no certificate"),
            (good, leaf + broken, "certPath", "no certificate"),
            (other, leaf, "certPath", "does not belong"),
            (good, MIDDLE.pem + leaf, "certPath", "does not belong"),
        ):
            self.assertRefused(key, cert, setting, complaint)

    def test_a_key_under_a_pass_phrase_is_refused_without_asking_for_it(self) -> None:
        locked = LEAF.locked_key_pem(b"open sesame")
        self.assertRefused(locked, LEAF.pem, "keyPath", "pass phrase")
        key_path, cert_path = files(self.mktemp, locked, LEAF.pem)
        code = "import sys, pathlib\nfrom fxa_auth.tls import server_tls, TlsFileError\n"
        code += "try: server_tls(*map(pathlib.Path, sys.argv[1:]))\nexcept TlsFileError: print('refused')"
        command = [sys.executable, "-c", code, str(key_path.absolute()), str(cert_path.absolute())]
        ran = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, cwd=ROOT_FOLDER, start_new_session=True
        )
        self.assertEqual((ran.stdout.strip(), ran.stderr), (b"refused", b""), "OpenSSL's question would be on stderr")

    def test_files_that_cannot_be_read(self) -> None:
        key_path, cert_path = files(self.mktemp, LEAF.key_pem, LEAF.pem)
        for setting, key, cert in (("keyPath", key_path.parent, cert_path), ("certPath", key_path, Path("not/there"))):
            error = self.assertRaises(TlsFileError, server_tls, key, cert)
            self.assertEqual(error.setting, setting)
            self.assertTrue(str(error).startswith("cannot be read ("), str(error))


class AuthoritiesTests(SynchronousTestCase):
    def path(self, content: bytes) -> Path:
        path = Path(self.mktemp())
        path.write_bytes(content)
        return path

    def test_every_certificate_of_the_file_counts(self) -> None:
        found = authorities("smtp.caFile", self.path(b"a comment\n" + ROOT.pem + b"\n" + LEAF.pem))
        self.assertEqual([each.dumpPEM() for each in found], [ROOT.pem, LEAF.pem])

    def test_a_file_that_cannot_be_used_names_its_setting(self) -> None:
        for path, problem in (
            (self.path(b""), "holds no certificate in PEM; name one that does"),
            (self.path(ROOT.key_pem), "holds no certificate in PEM; name one that does"),
            (Path("not/there"), "cannot be read (No such file or directory); name a readable PEM file"),
        ):
            error = self.assertRaises(TlsFileError, authorities, "smtp.caFile", path)
            self.assertEqual((error.setting, str(error)), ("smtp.caFile", problem))

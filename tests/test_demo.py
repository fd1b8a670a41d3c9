"""The demonstration, against a real server, against what is none, and against one that does not keep its word."""

from __future__ import annotations

import contextlib
import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import fxa.crypto
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth import demo
from fxa_auth.cli import main
from fxa_auth.publicurl import parse_public_url
from fxa_auth.records import TokenKind
from fxa_auth.tokens import TokenKeys, derive
from tests.acceptance.daemon import Daemon, free_ports, shared, started
from tests.vectors import vectors

STEPS = ("created ", "verified ", "logged in ", "fetched ", "had a certificate signed ", "signed out", "destroyed ")


class DemoCase(SynchronousTestCase):
    def demonstrate(self, *argv: str) -> tuple[int, list[str], str]:
        """The exit code, the lines on stdout, and what came on stderr."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(["demo", *argv])
            except SystemExit as leaving:
                code = int(leaving.code or 0)
        return code, out.getvalue().splitlines(), err.getvalue()

    def assertFails(self, steps: int, *words: str, argv: tuple[str, ...]) -> None:
        """After so many steps it says in one line what is wrong."""
        code, out, err = self.demonstrate(*argv)
        self.assertEqual((code, len(out)), (1, steps), err)
        self.assertEqual(len(err.splitlines()), 1, err)
        for word in ("fxa-auth demo: ", *words):
            self.assertIn(word, err)

    def assertCleanedUp(self, daemon: Daemon, demos: int) -> None:
        """Each demo's account was made and removed."""
        made = daemon.entries(op="request.summary", path="/v1/account/create", code=200)
        removed = daemon.entries(op="request.summary", path="/v1/account/destroy", code=200)
        self.assertEqual(len(made), demos)
        self.assertEqual([entry["uid"] for entry in made], [entry["uid"] for entry in removed])


class WholeLifeTests(DemoCase):
    def test_every_step_is_told(self) -> None:
        daemon = started(self)
        code, out, err = self.demonstrate(daemon.public_url, "--mail-helper", daemon.helper_url)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(len(out), len(STEPS) + 1)
        for number, (line, beginning) in enumerate(zip(out, STEPS, strict=False), 1):
            self.assertTrue(line.startswith(f"{number}. {beginning}"), line)
        self.assertEqual(out[-1], "All is well.")
        self.assertCleanedUp(daemon, 1)
        self.assertEqual(daemon.failures(), [])

    def test_under_a_base_path_and_in_strict_mode(self) -> None:
        files = {"strict.toml": '[hawk]\nmode = "strict"\n'}
        daemon = started(self, base_path="/accounts", files=files, environ={"CONFIG_FILES": "strict.toml"})
        code, _, err = self.demonstrate(f"{daemon.public_url}/", "--mail-helper", f"{daemon.helper_url}/")
        self.assertEqual((code, err), (0, ""))


class FailureTests(DemoCase):
    def test_nobody_listens(self) -> None:
        [port] = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        self.assertFails(0, "cannot talk to", url, "refused", "make run", argv=(url,))

    def test_something_else_answers(self) -> None:
        for status, body, word in (
            (200, b"<html>", "does not answer in JSON"),
            (200, b"[]", "never does"),
            (200, b"{}", "has no uid"),
            (404, b"<html>", "answers with status 404"),
            (500, b'{"errno": "x"}', "answers with status 500"),
            (
                503,
                b'{"errno": 201, "message": "Service\\n unavailable"}',
                "unavailable (503/201); it is still",
            ),
        ):
            self.assertFails(0, word, argv=(serving(self, status, body),))

    def test_the_path_is_wrong(self) -> None:
        self.assertFails(0, "Not Found (404/999)", "public URL", argv=(f"{shared().public_url}/elsewhere",))

    def test_the_host_is_not_that_of_the_public_url(self) -> None:
        daemon = started(self)
        url = f"http://localhost:{daemon.port}"
        self.assertFails(3, "Bad mac (401/109)", "publicUrl", argv=(url, "--mail-helper", daemon.helper_url))
        self.assertCleanedUp(daemon, 1)

    def test_there_is_no_mail(self) -> None:
        daemon = started(self)
        [port] = free_ports(1)
        for url, words in (
            (f"http://127.0.0.1:{port}", ("cannot talk to", "dev profile")),
            (serving(self, 200, b"[]"), ("no mail came", "dev profile")),
            (serving(self, 200, b'[{"headers": {}}]'), ("has no code",)),
        ):
            self.assertFails(1, *words, argv=(daemon.public_url, "--mail-helper", url))
        self.assertCleanedUp(daemon, 3)

    def test_the_url_is_none(self) -> None:
        for url in (
            "127.0.0.1:9000",
            "ftp://host",
            "http://",
            "http://host:x",
            "http://host:0",
            "http://a b",
            "http://h?q",
        ):
            code, out, err = self.demonstrate(url)
            self.assertEqual((code, out), (2, []), url)
            self.assertIn("not an http(s) URL", err)


class DishonestServerTests(DemoCase):
    """A real server, but for what one method tells of it."""

    def assertStepFails(self, api: type[demo.Api], steps: int, word: str) -> None:
        daemon, said = shared(), []
        life = demo.Demo(api(parse_public_url(daemon.public_url)), daemon.helper_url).steps()
        try:
            for line in life:
                said.append(line)
        except demo.DemoFailed as failure:
            self.assertIn(word, str(failure))
        else:
            self.fail("nothing was found")
        self.assertEqual(len(said), steps)

    def test_a_certificate_of_another_key(self) -> None:
        class OtherKey(demo.Api):
            def well_known(self, name: str) -> dict[str, Any]:
                numbers = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
                return {"public-key": {"algorithm": "RS", "n": str(numbers.n), "e": str(numbers.e)}}

        self.assertStepFails(OtherKey, 4, "does not fit the key")

    def test_a_certificate_for_another_key_than_that_asked_for(self) -> None:
        class Swapping(demo.Api):
            def post(self, path: str, body: Any, token: TokenKeys | None = None) -> dict[str, Any]:
                if path == "/certificate/sign":
                    body = {**body, "publicKey": {**body["publicKey"], "e": "3"}}
                return super().post(path, body, token)

        self.assertStepFails(Swapping, 4, "not about this account and key")

    def test_a_session_that_outlives_its_end(self) -> None:
        class Immortal(demo.Api):
            def post(self, path: str, body: Any, token: TokenKeys | None = None) -> dict[str, Any]:
                return {} if path == "/session/destroy" else super().post(path, body, token)

        self.assertStepFails(Immortal, 5, "accepts what it should refuse with errno 110")

    def test_an_account_that_outlives_its_end(self) -> None:
        class Immortal(demo.Api):
            def post(self, path: str, body: Any, token: TokenKeys | None = None) -> dict[str, Any]:
                return {} if path == "/account/destroy" else super().post(path, body, token)

        self.assertStepFails(Immortal, 6, "accepts what it should refuse with errno 102")

    def test_keys_that_are_not_authentic(self) -> None:
        class Tampering(demo.Api):
            def get(self, path: str, token: TokenKeys | None = None) -> dict[str, Any]:
                return {"bundle": "00" * 96} if path == "/account/keys" else super().get(path, token)

        self.assertStepFails(Tampering, 3, "not authentic")


class ClientKeysTests(SynchronousTestCase):
    """The client's half of the arithmetic, against the original's vectors and PyFxA."""

    def test_passwords(self) -> None:
        rows = vectors("stretch")
        self.assertTrue(rows)
        for row in rows:
            keys = demo.stretch(row["email"], row["password"])
            self.assertEqual((keys.auth_pw, keys.unwrap_bkey), (row["authPW"], row["unwrapBkey"]))

    def test_key_bundles(self) -> None:
        keys = derive(TokenKind.KEY_FETCH, b"\x07" * 32)
        bundle = fxa.crypto.bundle(keys.bundle_key, "account/keys", b"A" * 32 + b"B" * 32)
        self.assertEqual(demo.open_bundle(keys.bundle_key, bundle), (b"A" * 32, b"B" * 32))
        for wrong in (bundle[:-1], bundle + b"\0", bundle[:-1] + bytes([bundle[-1] ^ 1]), b""):
            self.assertRaises(ValueError, demo.open_bundle, keys.bundle_key, wrong)

    def test_secrets_stay_out_of_the_repr(self) -> None:
        self.assertEqual(repr(demo.stretch("a@example.com", "x")), "ClientKeys()")


def serving(case: SynchronousTestCase, status: int, body: bytes) -> str:
    """The URL of a server that answers everything with this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    case.addCleanup(server.server_close)
    case.addCleanup(thread.join)
    case.addCleanup(server.shutdown)
    return f"http://127.0.0.1:{server.server_port}"

"""The key files: read as the original wrote them, made once, never overwritten."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth import keyfiles
from fxa_auth.certificates import SigningKey
from fxa_auth.keyfiles import KeyFileError

KEY = SigningKey.generate()
N = KEY.public_numbers().n
PUBLIC = {"algorithm": "RS", "n": str(N), "e": "65537"}
SECRET = {**PUBLIC, "d": str(KEY.secret_exponent())}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class KeyFilesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.secret = self.folder / "secret-key.json"
        self.public = self.folder / "public-key.json"
        self.events: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: dict[str, object]) -> None:
        if event.get("log_namespace") == "fxa_auth.keyfiles":
            self.events.append(str(event["log_format"]))
            self.assertNotIn(SECRET["d"], repr(event))

    def write(self, secret: object = SECRET, public: object = PUBLIC) -> None:
        self.folder.mkdir(exist_ok=True)
        for path, content in ((self.secret, secret), (self.public, public)):
            if content is not None:
                path.write_text(content if isinstance(content, str) else json.dumps(content))

    def assert_refused(self, setting: str, problem: str, create: bool = False) -> None:
        function = keyfiles.create if create else keyfiles.load
        error = self.assertRaises(KeyFileError, function, self.secret, self.public)
        path = self.secret if setting == "secretKeyFile" else self.public
        self.assertEqual((error.setting, error.path), (setting, path), problem)
        self.assertIn(problem, str(error))
        self.assertNotIn(setting, str(error), "whoever tells it names the setting, with its source")
        self.assertNotIn("\n", str(error))
        self.assertNotIn(SECRET["d"], str(error))


class LoadTests(KeyFilesCase):
    def test_the_files_of_the_original_are_read(self) -> None:
        self.write({"version": "2012.08.15", "kid": "x", **SECRET}, {**PUBLIC, "version": "2012.08.15"})
        self.assertEqual(keyfiles.load(self.secret, self.public).public_numbers(), KEY.public_numbers())

    def test_a_missing_secret_file_is_an_error(self) -> None:
        self.write(secret=None)
        self.assert_refused("secretKeyFile", "there is no such file; restore it")

    def test_a_missing_public_file_is_written_again(self) -> None:
        self.write(public=None)
        self.assertEqual(keyfiles.load(self.secret, self.public).public_numbers(), KEY.public_numbers())
        self.assertEqual(json.loads(self.public.read_text()), PUBLIC)
        self.assertEqual(self.events, ["keyfiles.public_restored"])

    def test_the_key_is_used_although_its_public_file_cannot_be_written(self) -> None:
        self.write(public=None)
        with mock.patch.object(keyfiles.os, "link", side_effect=OSError(30, "Read-only file system")):
            key = keyfiles.load(self.secret, self.public)
        self.assertEqual(key.public_numbers(), KEY.public_numbers())
        self.assertEqual(self.events, ["keyfiles.public_not_written"])

    def test_a_public_file_of_another_key_is_an_error(self) -> None:
        for other in ({**PUBLIC, "n": str(N + 2)}, {**PUBLIC, "e": "3"}):
            self.write(public=other)
            self.assert_refused("publicKeyFile", "does not match the secretKeyFile")

    def test_a_file_that_is_no_key_is_an_error_naming_it(self) -> None:
        bad: list[tuple[object, str]] = [
            ("", "is not JSON"),
            ("{", "is not JSON"),
            ("[" * 100_000, "is not JSON"),
            (f'{{"n": {"1" * 5000}}}', "is not JSON"),
            ("[]", "is not a JSON object"),
            ("null", "is not a JSON object"),
            ({}, 'has no "algorithm": "RS"'),
            ({**SECRET, "algorithm": "DS"}, 'has no "algorithm": "RS"'),
            ({"algorithm": "RS", "e": "3"}, 'has no decimal number "n"'),
            ({**SECRET, "n": N}, 'has no decimal number "n"'),
            ({**SECRET, "n": "0x1"}, 'has no decimal number "n"'),
            ({**SECRET, "e": "-3"}, 'has no decimal number "e"'),
            ({**SECRET, "e": "9" * 5000}, 'has no decimal number "e"'),
        ]
        for content, problem in bad:
            self.write(secret=content)
            self.assert_refused("secretKeyFile", problem)
            self.write(public=content)
            self.assert_refused("publicKeyFile", problem)

    def test_a_secret_file_must_hold_a_whole_key_of_2048_bits(self) -> None:
        small = rsa.generate_private_key(65537, 1024).private_numbers()
        short = {"algorithm": "RS", "n": str(small.public_numbers.n), "e": "65537", "d": str(small.d)}
        for content, problem in [
            (PUBLIC, 'has no decimal number "d"'),
            ({**SECRET, "d": str(KEY.secret_exponent() + 2)}, "not those of an RSA key"),
            (short, "modulus of 1024 bits where 2048 are needed"),
        ]:
            self.write(secret=content)
            self.assert_refused("secretKeyFile", problem)

    def test_a_file_that_cannot_be_read_is_an_error(self) -> None:
        self.secret.mkdir(parents=True)
        self.assert_refused("secretKeyFile", "cannot be read (Is a directory)")
        self.secret.rmdir()
        self.write(public=None)
        self.public.mkdir()
        self.assert_refused("publicKeyFile", "cannot be read (Is a directory)")

    def test_bytes_that_are_no_utf8_are_an_error(self) -> None:
        self.write()
        self.secret.write_bytes(b"\xff\xfe{}")
        self.assert_refused("secretKeyFile", "is not JSON")


class CreateTests(KeyFilesCase):
    def test_what_is_created_can_be_loaded(self) -> None:
        self.assertFalse(keyfiles.exists(self.secret))
        key = keyfiles.create(self.secret, self.public)
        self.assertTrue(keyfiles.exists(self.secret))
        self.assertEqual(keyfiles.load(self.secret, self.public).public_numbers(), key.public_numbers())
        self.assertEqual(self.events, ["keyfiles.created"])

    def test_the_files_have_the_form_of_the_original(self) -> None:
        key = keyfiles.create(self.secret, self.public)
        public = key.browserid_public_key()
        self.assertEqual(json.loads(self.public.read_text()), public)
        self.assertEqual(json.loads(self.secret.read_text()), {**public, "d": str(key.secret_exponent())})

    def test_the_secret_file_and_the_folder_are_private(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        keyfiles.create(self.secret, self.public)
        self.assertEqual((mode(self.folder), mode(self.secret), mode(self.public)), (0o700, 0o600, 0o644))

    def test_the_secret_file_is_private_before_anything_is_in_it(self) -> None:
        modes: list[int] = []
        fchmod = os.fchmod

        def watched(descriptor: int, its_mode: int) -> None:
            modes.extend(mode(path) for path in self.folder.iterdir() if "secret" in path.name)
            fchmod(descriptor, its_mode)

        self.addCleanup(os.umask, os.umask(0))
        with mock.patch.object(os, "fchmod", watched):
            keyfiles.create(self.secret, self.public)
        self.assertEqual(set(modes), {0o600})

    def test_a_file_that_is_there_is_never_overwritten(self) -> None:
        for path, setting in ((self.secret, "secretKeyFile"), (self.public, "publicKeyFile")):
            self.folder.mkdir(exist_ok=True)
            path.write_text("precious")
            self.assert_refused(setting, "is there already; move it away", create=True)
            self.assertEqual([file.read_text() for file in self.folder.iterdir()], ["precious"])
            path.unlink()

    def test_a_dangling_link_counts_as_a_file_that_is_there(self) -> None:
        self.folder.mkdir()
        self.secret.symlink_to("elsewhere")
        self.assertTrue(keyfiles.exists(self.secret))
        self.assert_refused("secretKeyFile", "is there already", create=True)

    def test_a_file_that_appears_meanwhile_is_not_overwritten(self) -> None:
        def slow() -> SigningKey:
            self.write(secret="precious", public=None)
            return KEY

        with mock.patch.object(SigningKey, "generate", slow):
            self.assert_refused("secretKeyFile", "is there already", create=True)
        self.assertEqual([file.read_text() for file in self.folder.iterdir()], ["precious"])

    def test_a_write_that_fails_leaves_nothing_behind(self) -> None:
        with mock.patch.object(keyfiles.os, "fsync", side_effect=OSError(28, "No space left on device")):
            self.assert_refused("secretKeyFile", "cannot be written (No space left on device)", create=True)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_place_that_cannot_be_is_an_error(self) -> None:
        self.folder.write_text("a file where the folder should be")
        self.assert_refused("secretKeyFile", "cannot be written", create=True)

    def test_a_crash_between_the_two_files_is_mended_by_the_next_load(self) -> None:
        write = keyfiles._write

        def dying(setting: str, *rest: object) -> None:
            if setting == "publicKeyFile":
                raise SystemExit
            write(setting, *rest)  # type: ignore[arg-type]

        with mock.patch.object(keyfiles, "_write", dying):
            self.assertRaises(SystemExit, keyfiles.create, self.secret, self.public)
        key = keyfiles.load(self.secret, self.public)
        self.assertEqual(json.loads(self.public.read_text()), key.browserid_public_key())

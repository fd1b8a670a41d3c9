"""What the program knows of its own version, in a checkout, from a build, and with neither."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth import __version__, version
from fxa_auth.version import Version, running_version

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class RunningVersionTests(SynchronousTestCase):
    """With a package of the test's own."""

    def setUp(self) -> None:
        self.package = Path(self.mktemp()).absolute() / "checkout" / "fxa_auth"
        self.package.mkdir(parents=True)
        self.patch(version, "_PACKAGE", self.package)

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(self.package.parent), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def test_a_checkout_names_its_commit(self) -> None:
        self.git("init", "-q")
        self.git("commit", "-q", "--allow-empty", "-m", "first", "--no-verify")
        commit = self.git("rev-parse", "HEAD")
        self.assertRegex(commit, "^[0-9a-f]{40}$")
        self.assertEqual(running_version(""), Version(__version__, commit, "unknown", "unknown"))

    def test_a_build_names_what_it_was_made_of(self) -> None:
        built = {"commit": COMMIT, "source": "https://example.com/repository", "build": "17"}
        (self.package / "version.json").write_text(json.dumps(built))
        self.assertEqual(running_version(""), Version(__version__, COMMIT, "https://example.com/repository", "17"))

    def test_without_either_the_commit_is_unknown(self) -> None:
        self.assertEqual(running_version("").commit, "unknown")

    def test_a_damaged_build_file_or_checkout_does_not_keep_the_server_down(self) -> None:
        (self.package / "version.json").write_text("{")
        (self.package.parent / ".git").mkdir()
        self.assertEqual(running_version("").commit, "unknown")

    def test_a_setting_may_stand_in_for_the_number(self) -> None:
        self.assertEqual(running_version("1.36.0").version, "1.36.0")

"""The ``fxa-auth`` command as an operator types it."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth import aws
from fxa_auth.cli import main, reference
from fxa_auth.config import DECLARED

DOCUMENT = Path(__file__).parents[1] / "docs" / "configuration.md"


class Operator(SynchronousTestCase):
    """Types commands in an environment of its own."""

    def setUp(self) -> None:
        self.environ: dict[str, str] = {}
        self.patch(os, "environ", self.environ)
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)

    def run_command(self, *argv: str) -> tuple[int, str, str]:
        """The exit code, and what came on stdout and stderr."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(argv)
            except SystemExit as leaving:
                code = int(leaving.code or 0)
        return code, out.getvalue(), err.getvalue()

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)


class CheckTests(Operator):
    def setUp(self) -> None:
        super().setUp()
        self.environ["CONTENT_SERVER_URL"] = "https://content.example.com"

    def test_links_that_would_lead_to_the_readers_own_machine_are_warned_of(self) -> None:
        self.environ["CONTENT_SERVER_URL"] = "http://localhost:3030"
        code, out, err = self.run_command("config", "check")
        self.assertEqual((code, out), (0, "ok: the settings are good (profile prod)\n"))
        self.assertEqual(
            err,
            'warning: contentServer.url = "http://localhost:3030" (environment CONTENT_SERVER_URL): links in mails '
            "lead to the reader's own machine: name the address that readers can reach\n",
        )

    def test_a_template_that_cannot_be_filled_in_is_told(self) -> None:
        templates = self.folder / "mine" / "templates"
        templates.mkdir(parents=True)
        (templates / "layout.txt").write_text("\n{{ nothing }}")
        name = self.write("a.toml", f'[branding]\noverridesDir = "{self.folder}/mine"')
        code, out, err = self.run_command("config", "check", "--config", name)
        self.assertEqual((code, out, len(err.splitlines())), (1, "", 1))
        self.assertIn(f"{templates}/layout.txt:2: 'nothing' is undefined", err)

    def test_good_settings_are_ok(self) -> None:
        self.assertEqual(self.run_command("config", "check"), (0, "ok: the settings are good (profile prod)\n", ""))

    def test_the_profile_and_the_files_are_taken(self) -> None:
        one, two = self.write("1.toml", "[listen]\nport = 1"), self.write("2.toml", "[listen]\nport = 70000")
        code, out, _ = self.run_command("config", "check", "--config", one, "--profile", "test")
        self.assertEqual((code, out), (0, "ok: the settings are good (profile test)\n"))
        code, out, err = self.run_command("config", "check", "--config", one, "--config", two)
        self.assertEqual((code, out), (1, ""))
        self.assertEqual(err, f"listen.port = 70000 ({two}): must be a port number, 0 to 65535\n")

    def test_each_complaint_is_one_line_on_stderr(self) -> None:
        self.environ.update(PORT="x", SMTP_PORT="y")
        code, out, err = self.run_command("config", "check", "--profile", "home")
        self.assertEqual((code, out, len(err.splitlines())), (1, "", 3))
        self.assertIn('env = "home" (--profile): must be one of dev, test, stage, prod', err)

    def test_a_missing_settings_file_is_told(self) -> None:
        code, _, err = self.run_command("config", "check", "--config", "nowhere.toml")
        self.assertEqual((code, err), (1, "nowhere.toml: cannot be read: No such file or directory\n"))

    def test_an_unreadable_tls_file_is_told(self) -> None:
        name = self.write("a.toml", 'useHttps = true\nkeyPath = "no-key.pem"\ncertPath = "no-cert.pem"')
        code, out, err = self.run_command("config", "check", "--config", name)
        self.assertEqual((code, out, len(err.splitlines())), (1, "", 2))
        self.assertIn('keyPath = "no-key.pem"', err)

    def test_a_missing_extra_is_told(self) -> None:
        self.patch(aws, "is_installed", lambda: False)
        self.environ["SNS_TOPIC_ARN"] = "arn:aws:sns:eu-west-1:123456789012:accounts"
        code, out, err = self.run_command("config", "check")
        self.assertEqual((code, out, len(err.splitlines())), (1, "", 1))
        self.assertIn("pip install 'fxa-auth[aws]'", err)


class ShowTests(Operator):
    def show(self, *argv: str) -> dict[str, tuple[str, str]]:
        """For each name its value and its source, as printed."""
        code, out, err = self.run_command("config", "show", *argv)
        self.assertEqual((code, err), (0, ""))
        shown = {}
        for line in out.splitlines():
            name, _, rest = line.partition(" = ")
            value, _, source = rest.rpartition("  # ")
            shown[name] = (value, source)
        self.assertEqual(list(shown), [declared.name for declared in DECLARED])
        return shown

    def test_every_setting_is_shown_with_its_source(self) -> None:
        self.environ["PORT"] = "0"
        name = self.write("a.toml", 'trustedJKUs = ["https://a.example/@keys"]\n[log]\nlevel = "warn"')
        shown = self.show("--config", name, "--profile", "dev")
        self.assertEqual(shown["env"], ('"dev"', "--profile"))
        self.assertEqual(shown["listen.port"], ("0", "environment PORT"))
        self.assertEqual(shown["log.level"], ('"warn"', name))
        self.assertEqual(shown["trustedJKUs"], ('["https://a.example/@keys"]', name))
        self.assertEqual(shown["lockoutEnabled"], ("true", "profile dev"))
        self.assertEqual(shown["smtp.sender"], ('"Firefox Accounts <accounts@localhost>"', "default"))

    def test_a_secret_is_masked_and_an_unset_one_is_unset(self) -> None:
        self.assertEqual(self.show()["smtp.password"], ("unset", "default"))
        self.environ.update(SMTP_USER="me", SMTP_PASS="hunter2")
        self.assertEqual(self.show()["smtp.password"], ("***", "environment SMTP_PASS"))
        self.assertNotIn("hunter2", self.run_command("config", "show")[1])

    def test_a_password_in_a_database_url_is_masked(self) -> None:
        database_url = next(declared for declared in DECLARED if declared.name == "database.url")
        self.assertEqual(database_url.shown("postgresql://me:hunter2@host/name"), '"postgresql://***@host/name"')

    def test_bad_settings_are_told_instead(self) -> None:
        self.environ["PORT"] = "x"
        code, out, err = self.run_command("config", "show")
        self.assertEqual((code, out, len(err.splitlines())), (1, "", 1))


class ReferenceTests(Operator):
    def test_the_document_is_what_the_command_prints(self) -> None:
        """If this fails: fxa-auth config reference > docs/configuration.md"""
        code, out, _ = self.run_command("config", "reference")
        self.assertEqual((code, out), (0, reference()))
        self.assertEqual(DOCUMENT.read_text(encoding="utf-8"), out)

    def test_the_environment_does_not_show_in_it(self) -> None:
        self.environ.update(PORT="x", NODE_ENV="dev")
        self.assertEqual(self.run_command("config", "reference")[:2], (0, reference()))

    def test_every_setting_has_one_row_of_six_cells(self) -> None:
        rows = [line for line in reference().splitlines() if line.startswith("| `")]
        self.assertEqual({row.split("`")[1] for row in rows}, {declared.name for declared in DECLARED})
        for row in rows:
            self.assertEqual(row.replace("\\|", "").count("|"), 7, row)
        self.assertEqual(len(rows), len(DECLARED))

    def test_default_dev_default_and_variable_stand_in_the_row(self) -> None:
        (row,) = (line for line in reference().splitlines() if line.startswith("| `smtp.port`"))
        self.assertIn("| `SMTP_PORT` | a port number, 0 to 65535 | `25` | `9999` |", row)


class UsageTests(Operator):
    def test_a_command_is_required(self) -> None:
        for argv in ((), ("config",), ("config", "dance"), ("dance",)):
            code, out, err = self.run_command(*argv)
            self.assertEqual((code, out), (2, ""), argv)
            self.assertIn("usage: fxa-auth", err)

    def test_help_names_the_commands(self) -> None:
        code, out, _ = self.run_command("--help")
        self.assertEqual(code, 0)
        self.assertIn("config", out)

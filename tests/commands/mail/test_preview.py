"""``fxa-auth mail preview`` as an operator types it."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.commands.operator import Outcome, run_command

SETTINGS = """
[contentServer]
url = "https://content.example.com"
[branding]
productName = "Example Accounts"
"""


class PreviewTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        (self.folder / "my.toml").write_text(SETTINGS)

    def preview(self, *argv: str, **environ: str) -> Outcome:
        return run_command(
            self.folder, "mail", "preview", "--out", "out", "--config", "my.toml", *argv, environ=environ
        )

    def written(self) -> set[str]:
        out = self.folder / "out"
        return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}

    def test_every_mail_is_written_in_three_forms_in_the_language_asked_for(self) -> None:
        outcome = self.preview("--language", "pt-br")
        self.assertEqual((outcome.code, outcome.out, outcome.err), (0, "out: 3 mails, each in 1 language\n", ""))
        forms = {
            f"pt-BR/{kind}.{suffix}" for kind in ("verify", "reset", "unlock") for suffix in ("txt", "html", "eml")
        }
        self.assertEqual(self.written(), forms)
        folder = self.folder / "out" / "pt-BR"
        text, html = (folder / f"verify.{suffix}" for suffix in ("txt", "html"))
        self.assertIn("Verificar", text.read_text("utf-8"))
        self.assertIn('lang="pt-BR"', html.read_text("utf-8"))
        for form in (text, html):
            self.assertIn("Example Accounts", form.read_text("utf-8"))
            self.assertIn("https://content.example.com/v1/verify_email?uid=", form.read_text("utf-8"))
            self.assertNotIn(b"\r", form.read_bytes())
        message = message_from_bytes((folder / "verify.eml").read_bytes(), EmailMessage, policy=policy.default)
        self.assertEqual((message["Content-Language"], message["To"]), ("pt-BR", "reader@example.com"))
        bodies = [part.get_content().replace("\r\n", "\n") for part in message.iter_parts()]
        self.assertEqual(bodies, [text.read_text("utf-8"), html.read_text("utf-8")])

    def test_all_languages(self) -> None:
        outcome = self.preview("--all")
        self.assertEqual((outcome.code, outcome.out, outcome.err), (0, "out: 3 mails, each in 42 languages\n", ""))
        self.assertEqual(len(self.written()), 42 * 3 * 3)

    def test_the_default_language_if_none_is_asked_for(self) -> None:
        (self.folder / "my.toml").write_text('[i18n]\ndefaultLanguage = "fr"\n')
        self.assertEqual(self.preview().code, 0)
        self.assertIn("fr/verify.eml", self.written())

    def test_a_language_that_is_not_there(self) -> None:
        outcome = self.preview("--language", "xx")
        self.assertEqual((outcome.code, outcome.out, len(outcome.err.splitlines())), (1, "", 1))
        self.assertIn("there is no language xx: name one of ca, cs,", outcome.err)
        self.assertEqual(self.written(), set())

    def test_a_folder_that_cannot_be_written(self) -> None:
        (self.folder / "out").touch()
        outcome = self.preview()
        self.assertEqual((outcome.code, outcome.out), (1, ""))
        self.assertEqual(outcome.err, "fxa-auth: out/en: cannot be written: Not a directory\n")

    def test_bad_settings_and_broken_templates_are_told_in_one_line(self) -> None:
        templates = self.folder / "mine" / "templates"
        templates.mkdir(parents=True)
        (templates / "layout.txt").write_text("\n{{ nothing }}")
        for text, told in (
            ("[smtp]\nport = -1\n", "smtp.port = -1 (my.toml): must be"),
            ('[branding]\noverridesDir = "mine"\n', "mine/templates/layout.txt:2: 'nothing' is undefined"),
        ):
            (self.folder / "my.toml").write_text(text)
            outcome = self.preview()
            self.assertEqual((outcome.code, outcome.out, len(outcome.err.splitlines())), (1, "", 1))
            self.assertIn(told, outcome.err)

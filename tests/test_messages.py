"""``make messages``, on folders of the test's own."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.catalogues import load_languages
from tests.translations import entries, messages_tool, read

HEADER = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n"X-Translator: somebody\\n"\n'


class MessagesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.write("templates/mail.txt", "{% trans %}Good day{% endtrans %}")
        self.german = self.write(
            "locales/de/LC_MESSAGES/fxa_auth.po",
            HEADER + '\nmsgid "Good day"\nmsgstr "Guten Tag"\n\nmsgid "Bye"\nmsgstr "Tschüss"\n',
        )
        self.pot = self.root / "locales" / "fxa_auth.pot"

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def run_tool(self) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(messages_tool()["main"](self.root), 0)
        return out.getvalue()

    def test_texts_of_all_templates_are_found_with_their_comments(self) -> None:
        self.write(
            "templates/pages/deep/page.html",
            "{# Translators: A greeting. #}\n<p>{% trans name=x %}\n  Hello\n  {{ name }}\n{% endtrans %}</p>"
            "{{ gettext('Bye %(x)s', x=1) }}",
        )
        self.run_tool()
        found = entries(read(self.pot))
        self.assertEqual(set(found), {"Good day", "Hello %(name)s", "Bye %(x)s"})
        self.assertEqual(found["Hello %(name)s"].auto_comments, ["A greeting."])
        self.assertEqual(found["Good day"].auto_comments, [])

    def test_a_new_text_waits_for_its_translation_and_is_told(self) -> None:
        self.write("templates/new.txt", "{% trans %}Good days{% endtrans %}")
        self.assertEqual(self.run_tool(), "de: not translated: Good days\n")
        found = entries(read(self.german))
        self.assertEqual((found["Good days"].string, found["Good days"].fuzzy), ("", False))

    def test_translations_and_header_stay_and_what_no_template_has_goes(self) -> None:
        self.assertEqual(self.run_tool(), "")
        text = self.german.read_text(encoding="utf-8")
        self.assertEqual(text, HEADER + '\nmsgid "Good day"\nmsgstr "Guten Tag"\n')

    def test_running_it_again_changes_nothing(self) -> None:
        self.write("templates/new.txt", "{# Translators: " + "long " * 30 + "#}{% trans %}Good night{% endtrans %}")
        self.run_tool()
        before = {path: path.read_bytes() for path in self.root.rglob("*") if path.is_file()}
        self.run_tool()
        self.assertEqual(before, {path: path.read_bytes() for path in self.root.rglob("*") if path.is_file()})

    def test_catalogues_are_compiled(self) -> None:
        self.run_tool()
        self.german.unlink()
        german = load_languages([self.root / "locales"], None, "en").named("de")
        assert german is not None
        self.assertEqual(german.gettext("Good day"), "Guten Tag")

    def test_a_folder_without_a_catalogue_is_given_one(self) -> None:
        for tag, named in (("pl", "pl"), ("pt-BR", "pt_BR"), ("zh-Hant-TW", "zh_Hant_TW"), ("qqq", "qqq")):
            (self.root / "locales" / tag).mkdir()
            self.run_tool()
            path = self.root / "locales" / tag / "LC_MESSAGES" / "fxa_auth.po"
            self.assertIn(f'"Language: {named}\\n"', path.read_text())
            self.assertEqual([*entries(read(path))], ["Good day"])
        self.assertIn("nplurals=3;", (self.root / "locales/pl/LC_MESSAGES/fxa_auth.po").read_text())

    def test_a_template_that_cannot_be_parsed_is_an_error(self) -> None:
        self.write("templates/broken.txt", "{% trans %}Good")
        with self.assertRaises(SystemExit) as caught:
            self.run_tool()
        path = self.root / "templates" / "broken.txt"
        self.assertEqual(str(caught.exception), f"{path}:1: unclosed translation block")

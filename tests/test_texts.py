"""Settings and an operator's folder become texts, or one line that says what is wrong with them."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.config import Layer, load
from fxa_auth.data import data_dir
from fxa_auth.records import MailKind
from fxa_auth.texts import Texts, check_texts

LINK = "https://content.example.com/?a"
GERMAN = "locales/de/LC_MESSAGES/fxa_auth.po"


class TextsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def layer(self, **i18n: object) -> Layer:
        return Layer("a.toml", {"branding": {"overridesDir": str(self.folder)}, "i18n": i18n})

    def bodies(self, tag: str, kind: MailKind = MailKind.VERIFY) -> tuple[str, str]:
        texts = Texts(load([self.layer()], {}).settings)
        return texts.wordings.bodies(kind, texts.languages.choose(tag), LINK)

    def complaint(self, **i18n: object) -> str:
        (complaint,) = check_texts(load([self.layer(**i18n)], {}))
        self.assertEqual(len(complaint.splitlines()), 1)
        return complaint.replace(str(self.folder), "FOLDER")


class OverridingTests(TextsTestCase):
    def test_a_template_stands_in_for_the_one_of_its_name_and_the_others_stay(self) -> None:
        heading = "{% block heading required %}{% endblock %}"
        self.write("templates/layout.txt", heading + ", says {{ product_name }}:\n{{ link }}\n")
        text, html = self.bodies("de")
        self.assertEqual(text, f"Bestätigen Sie Ihr Konto, says Firefox Accounts:\n{LINK}\n")
        self.assertIn("Bestätigen Sie Ihr Konto</h1>", html)

    def test_a_message_can_be_reworded(self) -> None:
        source = (data_dir("templates") / "unlock.jinja").read_text("utf-8")
        self.write("templates/unlock.jinja", source.replace("Re-verify your account", "Open up"))
        self.write(GERMAN, 'msgid "Open up"\nmsgstr "Aufmachen"\n')
        for tag, heading in (("en", "Open up"), ("de", "Aufmachen"), ("fr", "Open up")):
            text, html = self.bodies(tag, MailKind.UNLOCK)
            self.assertTrue(text.startswith(f"{heading}\n"), text)
            self.assertIn(f"{heading}</h1>", html)
        self.assertTrue(self.bodies("en")[0].startswith("Verify your account\n"))

    def test_a_catalogue_needs_only_what_it_changes(self) -> None:
        self.write(GERMAN, 'msgid "Verify your account"\nmsgstr "Konto prüfen"\n')
        text, _ = self.bodies("de")
        self.assertTrue(text.startswith("Konto prüfen\n\nIhr Konto bei Firefox Accounts ist fast fertig."), text)

    def test_english_can_be_reworded_too(self) -> None:
        self.write("locales/en/LC_MESSAGES/fxa_auth.po", 'msgid "Verify your account"\nmsgstr "Verify it"\n')
        self.assertTrue(self.bodies("en")[0].startswith("Verify it\n"))
        self.assertTrue(self.bodies("fr")[0].startswith("Confirmez"))

    def test_a_folder_adds_a_language(self) -> None:
        self.write("locales/el/LC_MESSAGES/fxa_auth.po", 'msgid "Verify your account"\nmsgstr "Επαλήθευση"\n')
        self.assertTrue(self.bodies("el-GR")[0].startswith("Επαλήθευση\n"))


class ComplaintTests(TextsTestCase):
    def test_a_fault_in_a_template_is_told_with_file_and_line(self) -> None:
        self.write("templates/layout.html", "<p>\n{{ nothing }}")
        where = 'branding.overridesDir = "FOLDER" (a.toml): FOLDER/templates/layout.html:2: '
        self.assertEqual(
            self.complaint(), f"{where}'nothing' is undefined (filling in {data_dir('templates')}/verify.jinja)"
        )

    def test_a_fault_that_shows_in_one_language_only_is_told(self) -> None:
        layout = "{% block heading required %}{% endblock +%}\n{{ link }}\n"
        self.write("templates/layout.txt", layout + "{% if language.tag == 'zh-TW' %}\n{{ nothing }}\n{% endif %}")
        self.assertIn("FOLDER/templates/layout.txt:4: 'nothing' is undefined", self.complaint())

    def test_a_mail_without_its_link_is_told(self) -> None:
        self.write("templates/layout.txt", "The link: {{ link }}\n")
        self.assertIn("verify.jinja in layout.txt (ca): the link does not stand on a line of its own", self.complaint())
        self.write("templates/layout.txt", "{{ link }}\n")
        self.write("templates/layout.html", "{{ link }}")
        self.assertIn("verify.jinja in layout.html (ca): nothing has the link as its href", self.complaint())

    def test_a_page_that_asks_without_a_form_is_told(self) -> None:
        source = (data_dir("templates") / "pages" / "confirm.html").read_text("utf-8")
        for form, is_good in (
            ("<form method='POST' class=\"mine\">", True),
            ('<form class="mine" method=post>', True),
            ("<form>", False),
            ('<form method="get">', False),
            ("<a>post</a>", False),
        ):
            self.write("templates/pages/confirm.html", source.replace('<form method="post">', form))
            if is_good:
                self.assertEqual(check_texts(load([self.layer()], {})), [])
            else:
                told = "pages/verify.html (ca): has no form that is sent by POST, so that nobody can say yes"
                self.assertIn(told, self.complaint())

    def test_a_fault_in_a_catalogue_is_told_with_file_and_line(self) -> None:
        self.write(GERMAN, '\nmsgid "Need help? Visit %(support_url)s"\nmsgstr "Hilfe"\n')
        self.assertIn(f"FOLDER/{GERMAN}:2: other placeholders than in 'Need help? ", self.complaint())

    def test_a_folder_that_overrides_nothing_is_told(self) -> None:
        told = "is no folder with a folder templates or locales in it"
        self.assertIn(told, self.complaint())
        (self.folder / "template").mkdir()
        self.assertIn(told, self.complaint())
        self.folder /= "nowhere"
        self.assertIn(told, self.complaint())

    def test_languages_that_are_not_there_are_told(self) -> None:
        self.write("templates/unused.txt", "")
        for i18n, told in (
            ({"supportedLanguages": ["el", "en"]}, "(a.toml): there is no el: name some of ca, cs,"),
            ({"defaultLanguage": "el"}, "(a.toml): is not one of the languages on offer: name one of ca,"),
            ({"supportedLanguages": ["fr"]}, "(default): is not one of the languages on offer: name one of fr"),
        ):
            self.assertIn(told, self.complaint(**i18n))

    def test_the_projects_own_texts_are_good(self) -> None:
        self.assertEqual(check_texts(load([], {})), [])

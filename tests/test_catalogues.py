"""Reading catalogues: which languages there are, whose texts win, and what is wrong with a file, told by its line."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.catalogues import (
    CatalogueError,
    Language,
    Languages,
    NoSuchLanguage,
    compile_catalogue,
    load_languages,
    placeholders,
)

HEADER = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n'


class CatalogueTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)

    def write(self, tag: str, *entries: tuple[str, str], where: str = "ours", header: str = HEADER) -> Path:
        """A ``.po`` file of these source strings and translations; each entry takes three lines."""
        path = self.folder / where / tag / "LC_MESSAGES" / "fxa_auth.po"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            header + "".join(f'\nmsgid "{text}"\nmsgstr "{translation}"\n' for text, translation in entries)
        )
        return path

    def load(self, *wheres: str, supported: list[str] | None = None, default: str = "en") -> Languages:
        return load_languages([self.folder / where for where in wheres or ("ours",)], supported, default)

    def language(self, tag: str, *wheres: str) -> Language:
        found = self.load(*wheres).named(tag)
        assert found is not None
        return found

    def complaint(self, *wheres: str) -> str:
        with self.assertRaises(CatalogueError) as caught:
            self.load(*wheres)
        self.assertEqual(len(str(caught.exception).splitlines()), 1)
        return str(caught.exception)


class OfferTests(CatalogueTestCase):
    def tags(self, languages: Languages) -> list[str]:
        return [language.tag for language in languages]

    def test_each_folder_with_a_catalogue_is_a_language_and_english_is_always_there(self) -> None:
        self.write("de")
        self.write("sr-LATN")
        (self.folder / "ours" / "notes").mkdir()
        self.assertEqual(self.tags(self.load()), ["de", "en", "sr-LATN"])
        self.assertEqual(self.tags(self.load("nowhere")), ["en"])

    def test_supported_languages_narrow_the_offer_in_any_case_of_letters(self) -> None:
        self.write("de")
        self.write("pt-BR")
        languages = self.load(supported=["pt-br", "en"])
        self.assertEqual(self.tags(languages), ["en", "pt-BR"])
        self.assertEqual(languages.choose("de").tag, "en")
        self.assertEqual(languages.choose("pt-BR").tag, "pt-BR")

    def test_a_language_that_is_not_there_cannot_be_offered(self) -> None:
        self.write("de")
        with self.assertRaises(NoSuchLanguage) as caught:
            self.load(supported=["el", "en"])
        self.assertEqual(caught.exception.setting, "i18n.supportedLanguages")
        self.assertEqual(str(caught.exception), "there is no el: name some of de, en")

    def test_the_default_has_to_be_on_offer(self) -> None:
        self.write("de")
        for supported, default in ((None, "fr"), (["de"], "en")):
            with self.assertRaises(NoSuchLanguage) as caught:
                self.load(supported=supported, default=default)
            self.assertEqual(caught.exception.setting, "i18n.defaultLanguage")
        self.assertIn("name one of de", str(caught.exception))

    def test_the_default_is_for_readers_whose_language_is_not_on_offer(self) -> None:
        self.write("pt-BR")
        languages = self.load(default="pt-br")
        self.assertEqual([languages.choose(asked).tag for asked in ("el", None, "en")], ["pt-BR", "pt-BR", "en"])

    def test_a_language_is_found_by_its_tag(self) -> None:
        self.write("pt-BR")
        languages = self.load()
        self.assertEqual(languages.choose("pt-BR"), languages.named("PT-br"))
        self.assertIsNone(languages.named("pt"))


class TextTests(CatalogueTestCase):
    def test_a_text_without_translation_is_as_in_the_source(self) -> None:
        self.write("de", ("Verify", "Bestätigen"), ("Empty", ""))
        german = self.language("de")
        self.assertEqual([german.gettext(text) for text in ("Verify", "Empty", "New")], ["Bestätigen", "Empty", "New"])
        self.assertEqual(self.language("en").gettext("Verify"), "Verify")

    def test_plural_forms_follow_the_catalogue(self) -> None:
        path = self.write("de")
        path.write_text(
            HEADER.replace("UTF-8", "UTF-8\\nPlural-Forms: nplurals=2; plural=(n != 1);")
            + '\nmsgid "%(n)s day"\nmsgid_plural "%(n)s days"\nmsgstr[0] "%(n)s Tag"\nmsgstr[1] "%(n)s Tage"\n'
        )
        self.assertEqual(
            [self.language("de").ngettext("%(n)s day", "%(n)s days", n) for n in (1, 2)], ["%(n)s Tag", "%(n)s Tage"]
        )

    def test_an_overriding_catalogue_needs_only_the_strings_it_changes(self) -> None:
        self.write("de", ("Verify", "Bestätigen"), ("Unlock", "Entsperren"))
        self.write("de", ("Verify", "Prüfen"), where="theirs")
        self.write("en", ("Unlock", "Open"), where="theirs")
        german, english = self.language("de", "theirs", "ours"), self.language("en", "theirs", "ours")
        self.assertEqual([german.gettext("Verify"), german.gettext("Unlock")], ["Prüfen", "Entsperren"])
        self.assertEqual([english.gettext("Verify"), english.gettext("Unlock")], ["Verify", "Open"])

    def test_an_overriding_folder_may_add_a_language_and_spell_a_tag_in_its_own_way(self) -> None:
        self.write("pt-BR", ("Verify", "Verificar"))
        self.write("pt-br", ("Verify", "Confirmar"), where="theirs")
        self.write("el", ("Verify", "Επαλήθευση"), where="theirs")
        self.assertEqual(self.language("el", "theirs", "ours").gettext("Verify"), "Επαλήθευση")
        portuguese = self.language("pt-BR", "theirs", "ours")
        self.assertEqual((portuguese.tag, portuguese.gettext("Verify")), ("pt-BR", "Confirmar"))


class CompiledTests(CatalogueTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.source = self.write("de", ("Verify", "Bestätigen"))
        self.compiled = self.source.with_suffix(".mo")
        self.compiled.write_bytes(compile_catalogue(self.source))
        self.write("de", ("Verify", "Prüfen"))

    def test_a_compiled_catalogue_is_enough(self) -> None:
        self.source.unlink()
        self.assertEqual(self.language("de").gettext("Verify"), "Bestätigen")

    def test_a_compiled_catalogue_counts_unless_its_source_is_newer(self) -> None:
        for source_ns, expected in ((0, "Bestätigen"), (10**9, "Bestätigen"), (10**9 + 1, "Prüfen")):
            os.utime(self.compiled, ns=(10**9, 10**9))
            os.utime(self.source, ns=(source_ns, source_ns))
            self.assertEqual(self.language("de").gettext("Verify"), expected)

    def test_a_damaged_compiled_catalogue_is_told(self) -> None:
        good = self.compiled.read_bytes()
        self.source.unlink()
        for content in (b"", b"no catalogue", good[:30], good[:-40]):
            self.compiled.write_bytes(content)
            self.assertEqual(self.complaint(), f"{self.compiled}: is no compiled catalogue")


class FaultTests(CatalogueTestCase):
    def test_other_placeholders_than_in_the_source_are_told_by_their_line(self) -> None:
        for translation in ("%(products)s", "", "%(product)s %(product)s", "100 % %(product)s", "%s", "%(product)"):
            path = self.write("de", ("Verify", "Bestätigen"), ("Hi %(product)s", f"Hallo {translation}"))
            self.assertEqual(self.complaint(), f"{path}:7: other placeholders than in 'Hi %(product)s'")

    def test_a_percent_sign_that_is_doubled_is_no_placeholder(self) -> None:
        self.write("de", ("Hi %(product)s", "100 %% %(product)s"))
        self.assertEqual(self.language("de").gettext("Hi %(product)s"), "100 %% %(product)s")

    def test_what_cannot_be_parsed_is_told_by_its_line(self) -> None:
        path = self.write("de")
        for line in ('msgid "Verify', 'msgid "', 'msgid "Verify"\nmsgstr "x', 'msgid ""\n"Verify'):
            path.write_text(f"{HEADER}\n{line}\n")
            number = 4 + line.count("\n")
            self.assertEqual(self.complaint(), f"{path}:{number}: the text has no quotation mark at its end")
        path.write_text(HEADER + "\nmsgid Verify\n")
        self.assertIn(f"{path}:4: ", self.complaint())
        path.write_text(HEADER + "\nverify\n")
        self.assertIn(f"{path}:4: ", self.complaint())

    def test_what_is_not_in_the_charset_it_names_is_told(self) -> None:
        path = self.write("de", ("Verify", "Best"))
        for content in (path.read_bytes() + b"\xff", path.read_bytes().replace(b"UTF-8", b"UTF-88")):
            path.write_bytes(content)
            self.assertIn(f"{path}", self.complaint())

    def test_an_unreadable_catalogue_is_told(self) -> None:
        path = self.write("de")
        path.unlink()
        path.mkdir()
        self.assertEqual(self.complaint(), f"{path}: cannot be read: Is a directory")

    def test_a_folder_that_is_no_language_tag_is_told(self) -> None:
        path = self.write("pt_BR")
        self.assertEqual(self.complaint(), f"{path}: pt_BR is not a language tag, such as pt-BR")


class PlaceholderTests(SynchronousTestCase):
    def test_placeholders_are_counted_by_name(self) -> None:
        for text, found in (
            ("", {}),
            ("%(a)s and %(b)s and %(a)s", {"a": 2, "b": 1}),
            ("100%%", {}),
            ("100%", {"": 1}),
            ("%s %(a)d %(a", {"": 3}),
        ):
            self.assertEqual(placeholders(text), found, text)

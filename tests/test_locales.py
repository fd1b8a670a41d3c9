"""The project's translations: complete, in the script of their language, and with the placeholders of the source."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.catalogues import placeholders
from tests.test_language import OFFERED
from tests.texts import default_texts
from tests.translations import LOCALES, ROOT, messages_tool, source_texts, translations

SCRIPTS = {
    "he": ("HEBREW",),
    "ja": ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "CJK"),
    "ko": ("HANGUL",),
    "pa": ("GURMUKHI",),
    "ru": ("CYRILLIC",),
    "sr": ("CYRILLIC",),
    "uk": ("CYRILLIC",),
    "zh-CN": ("CJK",),
    "zh-TW": ("CJK",),
}
"""How the names of a language's letters begin in Unicode; LATIN where the language is not listed."""

SAME_AS_ENGLISH: frozenset[tuple[str, str]] = frozenset()
"""Language and source text of translations that are rightly the same as the source."""

FOREIGN_WORDS: frozenset[tuple[str, str]] = frozenset()
"""Language and words that are rightly in another script than the language's."""


def foreign_words(tag: str, text: str) -> Iterator[str]:
    """The words of a translation with a letter of another script, placeholders aside."""
    for word in re.findall(r"[^\W\d_]+", re.sub(r"%\(\w+\)s", " ", text)):
        if (tag, word) not in FOREIGN_WORDS and not all(
            unicodedata.name(letter).split()[0] in SCRIPTS.get(tag, ("LATIN",)) for letter in word
        ):
            yield word


def faults(tag: str, text: str, translation: str) -> Iterator[str]:
    """What is wrong with a translation, as far as a program can tell."""
    if not translation:
        yield "is empty"
        return
    if translation == text and (tag, text) not in SAME_AS_ENGLISH:
        yield "is the same as in English"
    if placeholders(translation) != placeholders(text):
        yield "has other placeholders"
    if re.search(r"^\s|\s$|\s\s|[^\S \u00a0\u202f]", translation):
        yield "has blanks that it should not"
    if foreign := list(foreign_words(tag, translation)):
        yield f"has words in another script: {foreign}"


class TranslationTests(SynchronousTestCase):
    def assertNone(self, found: list[str]) -> None:
        self.assertEqual(found, [], "\n".join(["", *found]))

    def test_there_are_the_42_languages_of_the_protocol(self) -> None:
        self.assertEqual({language.tag for language in default_texts().languages}, set(OFFERED))
        self.assertEqual(len(OFFERED), 42)

    def test_make_messages_has_nothing_to_do(self) -> None:
        """If this fails: make messages. A text of the templates is missing, or one that none of them has is left."""
        copy = Path(self.mktemp())
        for name in ("templates", "locales"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("*.mo"))
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            messages_tool()["main"](copy)
        self.assertEqual(said.getvalue(), "")
        for path in [*LOCALES.rglob("*.po"), LOCALES / "fxa_auth.pot"]:
            name = path.relative_to(ROOT)
            self.assertEqual(path.read_text("utf-8"), (copy / name).read_text("utf-8"), name)

    def test_every_catalogue_has_every_text_of_the_templates_and_no_other(self) -> None:
        self.assertGreater(len(source_texts()), 25)
        for tag, entries in translations().items():
            self.assertEqual(set(entries), set(source_texts()), tag)

    def test_no_translation_has_a_fault(self) -> None:
        self.assertNone(
            [
                f"{tag}: {text!r} {fault}"
                for tag, entries in translations().items()
                for text, entry in entries.items()
                for fault in faults(tag, text, entry.string)
            ]
        )

    def test_none_is_fuzzy(self) -> None:
        self.assertNone(
            [
                f"{tag}: {text!r}"
                for tag, entries in translations().items()
                for text, entry in entries.items()
                if entry.fuzzy
            ]
        )

    def test_brazilian_portuguese_says_verificar_and_not_verify(self) -> None:
        texts = " ".join(entry.string for entry in translations()["pt-BR"].values())
        self.assertIn("Verificar", texts)
        self.assertNotIn("Verify", texts)


class CheckerTests(SynchronousTestCase):
    """What the tests above look for is found."""

    def test_faults_are_found(self) -> None:
        for tag, text, translation, count in (
            ("de", "Verify", "Bestätigen", 0),
            ("de", "Verify", "", 1),
            ("de", "Verify", "Verify", 1),
            ("de", "Hi %(a)s", "Hallo %(b)s", 1),
            ("de", "Hi %(a)s", "Hallo", 1),
            ("de", "Hi", "Hallo 100%", 1),
            ("de", "Verify", "Bestätigen ", 1),
            ("de", "Verify", "Best  ätigen", 1),
            ("fr", "Link:", "Lien\u00a0:", 0),
            ("de", "Verify", "B\u0435stätigen", 1),
            ("ru", "Hi %(product)s", "Привет, %(product)s", 0),
            ("ru", "Verify", "Подтвердите now", 1),
            ("sr-LATN", "Verify", "Потврдите", 1),
            ("sr", "Verify", "Potvrdite", 1),
            ("ja", "Verify", "メールアドレスの確認", 0),
            ("ja", "Verify", "Eメール", 1),
            ("zh-CN", "Verify", "验证の", 1),
        ):
            self.assertEqual(len(list(faults(tag, text, translation))), count, translation)

"""Accept-Language as it is stored and as it is obeyed; how a language is named in answers."""

from __future__ import annotations

from babel import Locale
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.language import TAG, content_language, direction, html_lang, negotiate, trim

OFFERED = [
    "ca",
    "cs",
    "cy",
    "da",
    "de",
    "dsb",
    "en",
    "es",
    "es-AR",
    "es-CL",
    "et",
    "eu",
    "ff",
    "fr",
    "fy",
    "he",
    "hsb",
    "hu",
    "id",
    "it",
    "ja",
    "ko",
    "lt",
    "nb-NO",
    "nl",
    "pa",
    "pl",
    "pt",
    "pt-BR",
    "rm",
    "ru",
    "sk",
    "sl",
    "sq",
    "sr",
    "sr-LATN",
    "sv",
    "sv-SE",
    "tr",
    "uk",
    "zh-CN",
    "zh-TW",
]
BY_TAG = {tag.lower(): tag for tag in OFFERED}


def chosen(accept_language: str | None) -> str:
    return negotiate(accept_language, BY_TAG, "en")


class TrimTests(SynchronousTestCase):
    """At most 255 characters, cut at a comma."""

    def test_what_is_stored(self) -> None:
        long = "x" * 255
        for header, stored in (
            (None, None),
            ("", None),
            ("en", "en"),
            ("en-US,en;q=0.5", "en-US,en;q=0.5"),
            (long, long),
            (long + "x", None),
            (long + ",en", long),
            (long + "x,en", None),
            ("en," + long, "en"),
            ("en,fr;q=0.5," + long + ",de", "en,fr;q=0.5"),
            ("en," + "x" * 252, "en," + "x" * 252),
            ("en," + "x" * 253, "en"),
        ):
            self.assertEqual(trim(header), stored, header)

    @given(st.text(alphabet="e,x", min_size=1, max_size=600))
    def test_whole_elements_are_kept_and_as_many_as_fit(self, header: str) -> None:
        stored = trim(header) or ""
        self.assertLessEqual(len(stored), 255)
        self.assertTrue(header.startswith(stored))
        rest = header[len(stored) :]
        if rest and stored:
            self.assertTrue(rest.startswith(","))
            self.assertGreater(len(stored) + 1 + len(rest[1:].split(",")[0]), 255)


class NegotiationTests(SynchronousTestCase):
    def assertChosen(self, *cases: tuple[str | None, str]) -> None:
        for header, tag in cases:
            self.assertEqual(chosen(header), tag, header)

    def test_the_examples_of_the_protocol(self) -> None:
        self.assertChosen(
            ("en-US,en;q=0.5", "en"),
            ("es-AR,es;q=0.8", "es-AR"),
            ("es-ES", "es"),
            ("es-MX,es-AR;q=0.9", "es"),
            ("fr-CA,de", "fr"),
            ("sv-SE,sv;q=0.8", "sv-SE"),
            ("pt-br", "pt-BR"),
            ("nn-NO,nb-NO;q=0.5", "nb-NO"),
        )
        self.assertChosen(
            *((header, "en") for header in ("zh", "zh-HK", "nb", "el-GR", "de_DE", "*", "bogus-value", "", None))
        )

    def test_serbian_is_in_cyrillic_unless_latin_is_asked_for(self) -> None:
        self.assertChosen(
            ("sr", "sr"), ("sr-RS", "sr"), ("sr-Cyrl", "sr"), ("sr-LATN", "sr-LATN"), ("sr-Latn", "sr-LATN")
        )

    def test_the_highest_quality_wins_and_of_equal_ones_the_first(self) -> None:
        self.assertChosen(
            ("de;q=0.5,fr", "fr"),
            ("de;q=0.5,fr;q=0.5,it;q=0.7", "it"),
            ("de;q=0.5,fr;q=0.5", "de"),
            ("fr,de", "fr"),
            ("de;q=0.123,fr;q=0.124", "fr"),
            ("xx,yy;q=0.9,de;q=0.1", "de"),
        )

    def test_a_tag_of_quality_0_is_not_acceptable(self) -> None:
        self.assertChosen(("de;q=0", "en"), ("de;q=0.000,fr;q=0.1", "fr"))

    def test_blanks_and_case_do_not_matter(self) -> None:
        self.assertChosen((" DE ; Q = 0.2 ,\tFr;q=0.3 ", "fr"), ("ZH-tw", "zh-TW"))

    def test_a_quality_that_cannot_be_read_counts_as_1(self) -> None:
        for quality in (
            "",
            "q",
            "q=",
            "q=.",
            "q=x",
            "q=-1",
            "q=1.5",
            "q=nan",
            "q=\u0661",
            "q=1;x=y",
            "level=1",
        ):
            self.assertChosen((f"fr;q=0.9,de;{quality}", "de"))

    def test_the_default_is_what_it_was_said_to_be(self) -> None:
        self.assertEqual(negotiate("el", BY_TAG, "fr"), "fr")

    @given(st.text() | st.text(alphabet="deфr-;,q=01.*_ \t\0", max_size=80))
    def test_whatever_a_client_sends_a_language_on_offer_is_chosen(self, header: str) -> None:
        self.assertIn(chosen(header), OFFERED)

    @given(st.lists(st.tuples(st.sampled_from(OFFERED), st.integers(1, 1000)), min_size=1))
    def test_the_best_of_the_languages_on_offer_is_chosen(self, wanted: list[tuple[str, int]]) -> None:
        header = ",".join(f"{tag};q={quality / 1000:.3f}" for tag, quality in wanted)
        best = max(quality for _, quality in wanted)
        self.assertEqual(chosen(header), next(tag for tag, quality in wanted if quality == best))


class NamingTests(SynchronousTestCase):
    def test_content_language_says_nothing_of_the_script(self) -> None:
        for tag, named in (("sr-LATN", "sr"), ("sr", "sr"), ("pt-BR", "pt-BR"), ("zh-Hant-TW", "zh-TW"), ("en", "en")):
            self.assertEqual(content_language(tag), named)

    def test_a_page_names_the_script_as_it_is_usually_spelled(self) -> None:
        for tag, named in (("sr-LATN", "sr-Latn"), ("sr", "sr"), ("pt-BR", "pt-BR"), ("zh-hant-TW", "zh-Hant-TW")):
            self.assertEqual(html_lang(tag), named)

    def test_hebrew_is_written_from_right_to_left(self) -> None:
        self.assertEqual([tag for tag in OFFERED if direction(tag) == "rtl"], ["he"])

    def test_directions_are_those_of_unicodes_locale_data(self) -> None:
        # uz-Arab and the like, whose script is not the language's usual one, are for whoever adds such a language.
        for tag in (*OFFERED, "ar", "ar-EG", "fa", "ur", "yi", "ps", "ckb", "sd", "ug", "el", "hi", "th", "az", "vi"):
            script_last = html_lang(tag).replace("sr-Latn", "sr_Latn").replace("-", "_")
            expected = {"left-to-right": "ltr", "right-to-left": "rtl"}[Locale.parse(script_last).character_order]
            self.assertEqual(direction(tag), expected, tag)

    def test_the_form_of_a_tag(self) -> None:
        for tag in (*OFFERED, "zh-Hant-TW", "es-419"):
            self.assertTrue(TAG.fullmatch(tag), tag)
        for tag in ("", "x", "de_DE", "en-", "-en", "en--us", "français", "en\n", "../en", "en-abcdefghi"):
            self.assertFalse(TAG.fullmatch(tag), tag)

"""What the three mails say, in all languages and both forms: structure, direction, links, words."""

from __future__ import annotations

from html.parser import HTMLParser

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.catalogues import Language
from fxa_auth.config import Layer, load
from fxa_auth.records import MailKind
from fxa_auth.texts import Texts
from tests.texts import default_texts

LINK = "https://content.example.com/v1/verify_email?uid=00&code=11"
VOID = {"meta", "br"}


class Page(HTMLParser):
    """An HTML body taken apart; ``faults`` are tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.faults: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.faults += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "title"):
            self.texts.append(data)

    @property
    def links(self) -> list[str | None]:
        return [attributes.get("href") for tag, attributes in self.tags if tag == "a"]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def branded(**branding: str) -> Texts:
    """Texts in English only, with settings of the group branding."""
    values = {"branding": branding, "i18n": {"supportedLanguages": ["en", "he"]}}
    return Texts(load([Layer("a.toml", values)], {}).settings)


class WordingTests(SynchronousTestCase):
    def each(self) -> list[tuple[MailKind, Language, str, str]]:
        """Kind, language, text and HTML of all mails."""
        texts = default_texts()
        return [
            (kind, language, *texts.wordings.bodies(kind, language, LINK))
            for kind in MailKind
            for language in texts.languages
        ]

    def test_all_mails_are_looked_at(self) -> None:
        self.assertEqual(len(self.each()), 3 * 42)

    def test_the_link_stands_in_the_text_on_a_line_of_its_own_and_nowhere_else(self) -> None:
        for kind, language, text, _ in self.each():
            self.assertEqual([line for line in text.split("\n") if "://" in line], [LINK], (kind, language))

    def test_the_html_is_well_formed_and_its_two_links_are_one(self) -> None:
        for kind, language, _, html in self.each():
            page = Page(html)
            self.assertEqual(page.faults, [], (kind, language))
            self.assertEqual(page.links, [LINK, LINK], (kind, language))
            self.assertIn(LINK, page.text)

    def test_the_html_says_its_language_and_direction(self) -> None:
        for kind, language, _, html in self.each():
            (attributes,) = (attributes for tag, attributes in Page(html).tags if tag == "html")
            direction = "rtl" if language.tag == "he" else "ltr"
            self.assertEqual(attributes, {"lang": language.lang, "dir": direction}, (kind, language))
        self.assertIn('lang="sr-Latn"', html_of(default_texts(), "sr-LATN"))

    def test_nothing_is_loaded_from_elsewhere(self) -> None:
        for kind, language, _, html in self.each():
            page = Page(html)
            names = {name for _, attributes in page.tags for name in attributes}
            self.assertEqual({tag for tag, _ in page.tags} & {"img", "script", "link", "iframe", "base", "form"}, set())
            self.assertEqual(names & {"src", "background", "srcset", "action"}, set(), (kind, language))
            for culprit in ("url(", "@import", "//"):
                self.assertNotIn(culprit, html.replace(LINK.replace("&", "&amp;"), ""), (kind, language))

    def test_text_and_html_say_the_same(self) -> None:
        """But for the button, the name at the top, and how the link is introduced."""
        for kind, language, text, html in self.each():
            shown = without_blanks(Page(html).text)
            heading, message, link, note, end = text.replace("\u2068", "").replace("\u2069", "").split("\n\n")
            self.assertEqual(link.split("\n")[1], LINK)
            for paragraph in (heading, message, note, end):
                self.assertIn(without_blanks(paragraph), shown, (kind, language))

    def test_the_subject_is_the_heading(self) -> None:
        for kind, language, text, html in self.each():
            subject = default_texts().wordings.subject(kind, language)
            self.assertEqual(text.split("\n")[0], subject)
            self.assertIn(f">{subject}</h1>", html.replace("&#39;", "'"))

    def test_english_mails_say_verify_and_brazilian_ones_verificar(self) -> None:
        for kind, language, text, html in self.each():
            for body in (text, Page(html).text):
                words = body.replace(LINK, "")
                if language.tag == "en":
                    self.assertIn("Verify", words, kind)
                if language.tag == "pt-BR":
                    self.assertIn("Verificar", words, kind)
                    self.assertNotIn("Verify", words, kind)

    def test_no_text_is_left_in_english(self) -> None:
        english = {kind: texts for kind, language, *texts in self.each() if language.tag == "en"}
        for kind, language, text, _ in self.each():
            if language.tag != "en":
                same = set(text.split("\n")) & set(english[kind][0].split("\n"))
                self.assertEqual(same, {"", LINK}, (kind, language))

    def test_phones_and_dark_mode_are_seen_to(self) -> None:
        html = html_of(default_texts(), "en")
        for token in ('name="viewport"', 'content="light dark"', "(prefers-color-scheme: dark)", "(max-width: 480px)"):
            self.assertIn(token, html)


class BrandingTests(SynchronousTestCase):
    def test_an_operators_own_name_stands_in_the_mails(self) -> None:
        texts = branded(productName="Füchse & <Co>")
        for kind in MailKind:
            for language in texts.languages:
                text, html = texts.wordings.bodies(kind, language, LINK)
                self.assertNotIn("Firefox", text + html)
                self.assertIn("Füchse & <Co>", text)
                self.assertIn("<bdi>Füchse &amp; &lt;Co&gt;</bdi>", html)

    def test_a_name_within_hebrew_is_isolated(self) -> None:
        texts = branded()
        html, text = html_and_text(texts, "he")
        self.assertIn("\u2068Firefox Accounts\u2069", text)
        self.assertIn("<bdi>Firefox Accounts</bdi>", html)
        self.assertNotIn("\u2068", html_and_text(texts, "en")[1])

    def test_colours_are_those_of_the_settings(self) -> None:
        html = html_of(branded(buttonColor="#ABCDEF", buttonTextColor="#012345"), "en")
        self.assertIn("background-color: #abcdef;", html)
        self.assertIn("color: #012345;", html)

    def test_help_is_offered_where_there_is_some(self) -> None:
        texts = branded(supportUrl="https://help.example/?a=1&b=2")
        html, text = html_and_text(texts, "en")
        self.assertIn("\nNeed help? Visit https://help.example/?a=1&b=2\n", text)
        self.assertEqual(Page(html).links, [LINK, LINK, "https://help.example/?a=1&b=2"])
        html, text = html_and_text(branded(), "en")
        self.assertNotIn("help", text + html)

    def test_no_control_character_clings_to_the_address_of_the_support_page(self) -> None:
        """A program that makes links of addresses would take it for a part of the address."""
        _, text = html_and_text(branded(supportUrl="https://help.example/x"), "he")
        self.assertRegex(text, r"[^\u2068]https://help\.example/x(\n|[ .])")


def without_blanks(text: str) -> str:
    return "".join(text.split())


def html_and_text(texts: Texts, tag: str) -> tuple[str, str]:
    language = texts.languages.named(tag)
    assert language is not None
    text, html = texts.wordings.bodies(MailKind.VERIFY, language, LINK)
    return html, text


def html_of(texts: Texts, tag: str) -> str:
    return html_and_text(texts, tag)[0]

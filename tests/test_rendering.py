"""Templates filled in: languages, escaping, isolation, overriding files, and faults told by file and line."""

from __future__ import annotations

import gettext
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.catalogues import Language
from fxa_auth.rendering import TemplateError, Templates


class Dictionary(gettext.NullTranslations):
    """A catalogue of the test's own."""

    def __init__(self, texts: dict[str, str]) -> None:
        super().__init__()
        self._texts = texts

    def gettext(self, message: str) -> str:
        return self._texts.get(message, message)


ENGLISH = Language("en", gettext.NullTranslations())
GERMAN = Language("de", Dictionary({"Hi %(name)s": 'Hallo <b>%(name)s</b> & "du"', "Bye": "Tschüss"}))
HEBREW = Language("he", gettext.NullTranslations())


class RenderingTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def write(self, name: str, text: str, where: str = "ours") -> Path:
        path = self.folder / where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def templates(self, *wheres: str, **values: object) -> Templates:
        return Templates([self.folder / where for where in wheres or ("ours",)], values)


class FormTests(RenderingTestCase):
    def test_texts_are_in_the_language_of_each_call(self) -> None:
        self.write("a", "{% trans %}Bye{% endtrans %} {{ language.lang }}")
        template = self.templates().text("a")
        self.assertEqual(
            [template.render(each) for each in (ENGLISH, GERMAN, ENGLISH)], ["Bye en", "Tschüss de", "Bye en"]
        )

    def test_html_escapes_values_and_translations_and_text_does_not(self) -> None:
        self.write("a", "<i>{% trans name=who %}Hi {{ name }}{% endtrans %}</i>{{ who }}")
        who = "<a href='x'>&"
        self.assertEqual(self.templates().text("a").render(GERMAN, who=who), f'<i>Hallo <b>{who}</b> & "du"</i>{who}')
        escaped = "&lt;a href=&#39;x&#39;&gt;&amp;"
        self.assertEqual(
            self.templates().html("a").render(GERMAN, who=who),
            f"<i>Hallo &lt;b&gt;{escaped}&lt;/b&gt; &amp; &#34;du&#34;</i>{escaped}",
        )

    @given(st.text())
    def test_what_a_value_says_is_never_taken_for_a_template_or_a_placeholder(self, value: str) -> None:
        self.write("a", "{% trans name=who %}Hi {{ name }}{% endtrans %}")
        template = self.templates().text("a")
        for text in (value, value + "{{ 7*7 }}", value + "{% raise %}", value + "%(name)s %s %"):
            self.assertEqual(template.render(ENGLISH, who=text), f"Hi {text}")

    def test_line_breaks_and_indentation_do_not_count_in_a_text(self) -> None:
        self.write("a", "{% trans name='x' %}\n   Hi\n   {{ name }}\n{% endtrans %}\n.\n")
        self.assertEqual(self.templates().text("a").render(ENGLISH), "Hi x.\n")

    def test_what_is_isolated_cannot_turn_its_surroundings(self) -> None:
        self.write("a", "{% trans name=who|isolated %}Hi {{ name }}{% endtrans %}")
        text, html = self.templates().text("a"), self.templates().html("a")
        self.assertEqual(text.render(HEBREW, who="x<"), "Hi \u2068x<\u2069")
        self.assertEqual(text.render(ENGLISH, who="x<"), "Hi x<")
        self.assertEqual(html.render(HEBREW, who="x<"), "Hi <bdi>x&lt;</bdi>")

    def test_values_of_all_templates_are_found_by_each(self) -> None:
        self.write("a", "{{ colour }}{% include 'b' %}")
        self.write("b", "{{ colour }}")
        self.assertEqual(self.templates(colour="#000000").html("a").render(ENGLISH), "#000000#000000")

    def test_a_block_can_be_filled_in_alone(self) -> None:
        self.write("a", "{% extends layout %}{% block heading %}{% trans %}Bye{% endtrans %}{% endblock %}")
        self.assertEqual(self.templates().text("a").render_block("heading", GERMAN), "Tschüss")

    def test_an_overriding_file_stands_in_for_the_one_of_the_same_name(self) -> None:
        self.write("a", "{% include 'b' %} ours {% include 'sub/c' %}")
        self.write("b", "b")
        self.write("sub/c", "c")
        self.write("sub/c", "their c", where="theirs")
        self.assertEqual(self.templates("theirs", "ours").text("a").render(ENGLISH), "b ours their c")
        self.assertEqual(self.templates("nowhere", "ours").text("a").render(ENGLISH), "b ours c")

    def test_plural_forms_are_chosen_by_the_count(self) -> None:
        self.write("a", "{% trans count=n %}{{ count }} day{% pluralize %}{{ count }} days{% endtrans %}")
        template = self.templates().text("a")
        self.assertEqual([template.render(ENGLISH, n=n) for n in (1, 2)], ["1 day", "2 days"])


class FaultTests(RenderingTestCase):
    def fault(self, source: str, **values: object) -> str:
        path = self.write("a", source)
        with self.assertRaises(TemplateError) as caught:
            self.templates().html("a").render(ENGLISH, **values)
        self.assertEqual(len(str(caught.exception).splitlines()), 1)
        return str(caught.exception).replace(str(path), "a")

    def test_faults_are_told_with_file_and_line(self) -> None:
        for source, told in (
            ("\n{{ x }}", "a:2: 'x' is undefined"),
            ("\n\n{{ language.nothing }}", "a:3: "),
            ("\n{% if %}", "a:2: Expected an expression, got 'end of statement block'"),
            ("\n{{ 1|nothing }}", "a:2: No filter named 'nothing'."),
            ("\n{{ 1 / 0 }}", "a:2: ZeroDivisionError: division by zero"),
            ("\n{% trans %}{{ x }}{% endtrans %}", "a:2: 'x' is undefined"),
            ("\n{% include 'b' %}", "a:2: there is no template b"),
            ("\n{% extends 'b' %}", "a:2: there is no template b"),
            ("\n{{ 'x", "a:2: unexpected char"),
        ):
            self.assertTrue(self.fault(source).startswith(told), (source, self.fault(source)))

    def test_a_fault_in_another_file_tells_both(self) -> None:
        other = self.write("b", "{% block x required %}\n{% endblock %}")
        told = self.fault("{% extends 'b' %}")
        self.assertEqual(told, f"{other}:1: Required block 'x' not found (filling in a)")

    def test_text_that_is_not_utf_8_is_told_with_its_line(self) -> None:
        path = self.write("b", "")
        path.write_bytes(b"\n\n\xff")
        self.assertEqual(self.fault("{% include 'b' %}"), f"{path}:3: is not UTF-8 text")

    def test_a_missing_template_is_told(self) -> None:
        with self.assertRaises(TemplateError) as caught:
            self.templates().text("nowhere")
        self.assertEqual(str(caught.exception), "there is no template nowhere")

    def test_a_missing_block_is_told(self) -> None:
        path = self.write("a", "")
        with self.assertRaises(TemplateError) as caught:
            self.templates().text("a").render_block("heading", ENGLISH)
        self.assertEqual(str(caught.exception), f"{path}: has no block heading")

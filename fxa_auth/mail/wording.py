"""What the three mails say, in every language: their templates, tried before the first mail is due.

A mail is ``templates/KIND.jinja``, which fills in the blocks of the layout, ``templates/layout.txt`` for its text and
``templates/layout.html`` for its HTML. Nothing here knows header fields, or who gets a mail.
"""

from __future__ import annotations

from markupsafe import escape

from fxa_auth.catalogues import Language, Languages
from fxa_auth.records import MailKind
from fxa_auth.rendering import TemplateError, Templates

_SAMPLE_LINK = "https://example.com/?a=1&b=2"


class Wordings:
    """Subjects and bodies of all mails.

    :raises TemplateError: a mail cannot be filled in in one of the languages, or leaves out its link
    """

    def __init__(self, templates: Templates, languages: Languages) -> None:
        names = {kind: f"{kind.value}.jinja" for kind in MailKind}
        self._text = {kind: templates.text(name) for kind, name in names.items()}
        self._html = {kind: templates.html(name) for kind, name in names.items()}
        self._subjects: dict[tuple[MailKind, str], str] = {}
        for kind, name in names.items():
            for language in languages:
                heading = self._text[kind].render_block("heading", language)
                self._subjects[kind, language.tag] = " ".join(heading.split())
                self._try(kind, name, language)

    def subject(self, kind: MailKind, language: Language) -> str:
        """One line of plain text: the heading of the mail."""
        return self._subjects[kind, language.tag]

    def bodies(self, kind: MailKind, language: Language, link: str) -> tuple[str, str]:
        """The mail as text, in which ``link`` stands on a line of its own, and as HTML."""
        text = self._text[kind].render(language, layout="layout.txt", link=link)
        return text, self._html[kind].render(language, layout="layout.html", link=link)

    def _try(self, kind: MailKind, name: str, language: Language) -> None:
        text, html = self.bodies(kind, language, _SAMPLE_LINK)
        if _SAMPLE_LINK not in text.splitlines():
            raise TemplateError(f"{name} in layout.txt ({language.tag}): the link does not stand on a line of its own")
        if f'href="{escape(_SAMPLE_LINK)}"' not in html:
            raise TemplateError(f"{name} in layout.html ({language.tag}): nothing has the link as its href")

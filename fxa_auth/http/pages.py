"""The pages that people see in a browser, in their language: what mailed links lead to, and what became of it.

A page has no scripts and asks nobody else for anything. Nothing here knows what a page's button does.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from fxa_auth.catalogues import Languages
from fxa_auth.errors import ApiError
from fxa_auth.http.route import HTML_TYPE, Answer
from fxa_auth.rendering import Templates

_HEADERS = {
    # The address of a page holds a code: no cache is to keep the page, and no other site to be told the address.
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}


class Page(Enum):
    """The pages; the value is the name of the template, without its ending."""

    VERIFY = "verify"
    VERIFIED = "verified"
    UNLOCK = "unlock"
    UNLOCKED = "unlocked"
    RESET = "reset"
    INCOMPLETE = "incomplete"
    STALE = "stale"
    UNAVAILABLE = "unavailable"


_TROUBLES = {102: Page.STALE, 105: Page.STALE, 107: Page.INCOMPLETE, 108: Page.INCOMPLETE}
"""What is wrong with a link, by the errno: its account has gone, its code is another one now, part of it is missing."""


class Pages:
    """All pages in all languages, filled in once.

    :raises TemplateError: a page cannot be filled in in one of the languages
    """

    def __init__(self, templates: Templates, languages: Languages) -> None:
        self._languages = languages
        self._bodies = {
            (page, language.tag): templates.html(f"pages/{page.value}.html").render(language).encode()
            for page in Page
            for language in languages
        }

    def answer(self, page: Page, accept_language: str | None, status: int = 200) -> Answer:
        """The page for a reader who sent this Accept-Language."""
        language = self._languages.choose(accept_language)
        headers = {**_HEADERS, "Content-Language": language.content_language}
        return Answer(status, self._bodies[page, language.tag], HTML_TYPE, headers)

    def trouble(self, error: ApiError, accept_language: str | None) -> Answer:
        """The page that says in plain words why a mailed link did not do what it should."""
        answer = self.answer(_TROUBLES.get(error.errno, Page.UNAVAILABLE), accept_language, error.status)
        return replace(answer, headers={**error.headers, **answer.headers})

"""The pages that people see in a browser, in their language: what mailed links lead to, and what became of it.

A page has no scripts and asks nobody else for anything. Nothing here knows what a page's button does.
"""

from __future__ import annotations

import re
from dataclasses import replace
from enum import Enum

from fxa_auth.catalogues import Language, Languages
from fxa_auth.errors import ApiError
from fxa_auth.http.route import HTML_TYPE, Answer
from fxa_auth.rendering import TemplateError, Templates

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


_FAULTS = {102: Page.STALE, 105: Page.STALE, 107: Page.INCOMPLETE, 108: Page.INCOMPLETE}
"""What is wrong with a link, by the errno: its account has gone, its code is another one now, part of it is missing."""

_ASKING = frozenset({Page.VERIFY, Page.UNLOCK})
_FORM = re.compile(r"<form\b[^>]*\bmethod=[\"']?post\b", re.IGNORECASE)


class Pages:
    """All pages in all languages, filled in once.

    :raises TemplateError: a page cannot be filled in in one of the languages, or asks without a form for the answer
    """

    def __init__(self, templates: Templates, languages: Languages) -> None:
        self._languages = languages
        self._bodies = {
            (page, language.tag): _filled_in(page, templates, language).encode()
            for page in Page
            for language in languages
        }

    def answer(self, page: Page, accept_language: str | None, status: int = 200) -> Answer:
        """The page for a reader who sent this Accept-Language."""
        language = self._languages.choose(accept_language)
        headers = {**_HEADERS, "Content-Language": language.content_language}
        return Answer(status, self._bodies[page, language.tag], HTML_TYPE, headers)

    def trouble(self, error: ApiError, accept_language: str | None) -> Answer | None:
        """The page that says in plain words why a mailed link did not do what it should.

        None for what neither a link nor the server is to blame for: a request that no browser makes of a page.
        """
        page = _FAULTS.get(error.errno, Page.UNAVAILABLE if error.status >= 500 else None)
        if page is None:
            return None
        answer = self.answer(page, accept_language, error.status)
        return replace(answer, headers={**error.headers, **answer.headers})


def _filled_in(page: Page, templates: Templates, language: Language) -> str:
    name = f"pages/{page.value}.html"
    html = templates.html(name).render(language)
    if page in _ASKING and not _FORM.search(html):
        raise TemplateError(f"{name} ({language.tag}): has no form that is sent by POST, so that nobody can say yes")
    return html

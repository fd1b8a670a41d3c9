"""Routes of mailed links: handed on to the content server or, where that is this server itself, answered with pages.

A link is opened by mail scanners too, so that opening one changes nothing: its page has a button.
"""

from __future__ import annotations

from string import punctuation
from typing import Any
from urllib.parse import quote

from fxa_auth.http.models import CodeLink, ResetLink, WholeCodeLink
from fxa_auth.http.pages import Page, Pages
from fxa_auth.http.route import Answer, Call, Handler, Route
from fxa_auth.verification import Verification

VERIFY = "/v1/verify_email"
RESET = "/v1/complete_reset_password"
UNLOCK = "/v1/complete_unlock_account"

_AS_SENT = punctuation
"""Only bytes that no URL may hold are percent-encoded when a query is handed on."""


def link_redirects(content_server_url: str) -> list[Route]:
    """The routes that lead to ``content_server_url``, which is without a slash at its end."""

    def redirect_to(path: str) -> Handler:
        async def redirect(call: Call[Any]) -> Answer:
            query = quote(call.query, safe=_AS_SENT, encoding="latin-1")
            return Answer(302, b"", None, {"Location": f"{content_server_url}{path}?{query}"})

        return redirect

    models: list[tuple[str, type[Any]]] = [(VERIFY, CodeLink), (RESET, ResetLink), (UNLOCK, CodeLink)]
    return [Route("GET", path, redirect_to(path), model) for path, model in models]


class LinkPages:
    """The routes that answer with pages."""

    def __init__(self, verification: Verification, pages: Pages) -> None:
        self._verification = verification
        self._pages = pages

    def table(self) -> list[Route]:
        trouble = self._pages.trouble
        return [
            Route("GET", VERIFY, self.ask_to_verify, WholeCodeLink, error_page=trouble),
            Route("POST", VERIFY, self.verify, WholeCodeLink, in_query=True, error_page=trouble),
            Route("GET", UNLOCK, self.ask_to_unlock, WholeCodeLink, error_page=trouble),
            Route("POST", UNLOCK, self.unlock, WholeCodeLink, in_query=True, error_page=trouble),
            Route("GET", RESET, self.explain_reset, ResetLink, error_page=trouble),
        ]

    async def ask_to_verify(self, call: Call[WholeCodeLink]) -> Answer:
        return self._page(Page.VERIFY, call)

    async def verify(self, call: Call[WholeCodeLink]) -> Answer:
        call.note(uid=call.params.uid.hex())
        await self._verification.verify_email_code(call.params.uid, call.params.code)
        return self._page(Page.VERIFIED, call)

    async def ask_to_unlock(self, call: Call[WholeCodeLink]) -> Answer:
        return self._page(Page.UNLOCK, call)

    async def unlock(self, call: Call[WholeCodeLink]) -> Answer:
        call.note(uid=call.params.uid.hex())
        await self._verification.verify_unlock_code(call.params.uid, call.params.code)
        return self._page(Page.UNLOCKED, call)

    async def explain_reset(self, call: Call[ResetLink]) -> Answer:
        return self._page(Page.RESET, call)

    def _page(self, page: Page, call: Call[Any]) -> Answer:
        return self._pages.answer(page, call.client.accept_language)

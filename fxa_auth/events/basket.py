"""The Basket forwarder: tells the newsletter service of every verified address (docs/events.md, "Basket").

What is done when a call fails otherwise than by an answer, and in which order calls are made, is the feed's business.
"""

from __future__ import annotations

from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.http_headers import Headers

from fxa_auth.events import DELIVERY_TIMEOUT_S
from fxa_auth.outgoing import answer_to
from fxa_auth.records import Event

_log = Logger()

MAX_ANSWER_BYTES = 16 * 1024
SKIPPED_DOMAINS = frozenset({"restmail.net", "restmail.lcip.org"})
"""Where automated tests of clients get their mail."""

_DEFAULT_LANGUAGE = "en-US"


class Basket:
    """The service at ``url``, which knows this server by ``key``."""

    def __init__(self, clock: IReactorTime, http: HTTPClient, url: str, key: str) -> None:
        self._clock = clock
        self._http = http
        self._url = f"{url}/fxa-register/"
        self._key = key

    async def deliver(self, event: Event) -> None:
        """Register the account of a ``verified`` event. An answer that refuses it is logged, and that is that.

        Raises what ``outgoing.answer_to`` does if no whole answer came.
        """
        email = str(event.payload["email"])
        if email.rpartition("@")[2].lower() in SKIPPED_DOMAINS:
            return
        form = {
            "fxa_id": event.uid.hex(),
            "email": email,
            "accept_lang": event.payload["locale"] or _DEFAULT_LANGUAGE,
        }
        headers = Headers({"X-API-Key": [self._key]})
        asked = self._http.post(self._url, data=form, headers=headers, allow_redirects=False, unbuffered=True)
        answer = await answer_to(asked, MAX_ANSWER_BYTES, DELIVERY_TIMEOUT_S, self._clock)
        if not 200 <= answer.status <= 299:
            _log.error(
                "event.refused", publisher="basket", status=answer.status, uid=event.uid.hex(), number=event.number
            )

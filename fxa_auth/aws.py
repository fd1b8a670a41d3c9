"""Requests to Amazon's services, or compatible ones, by treq under the reactor: signed by botocore, and bounded.

botocore belongs to the extra ``fxa-auth[aws]`` and is imported with the first request. It finds the credentials where
all of Amazon's tools find them, which may block for long, so that happens on a thread of its own. What a request asks
for is no matter here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.util import find_spec
from threading import Thread
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from fxa_auth.outgoing import Answer, answer_to

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Beyond what a service says in earnest; ten messages of SQS may come to 6 MiB."""

_LONGEST_REASON = 300


class AwsRefused(Exception):
    """The service said no: an HTTP ``status`` other than 2xx, and its own ``code``, such as ``NotFound``, or ""."""

    def __init__(self, status: int, code: str, reason: str) -> None:
        super().__init__(f"status {status}, {code or 'without a code'}: {reason}")
        self.status = status
        self.code = code


class NoCredentials(Exception):
    """botocore finds no credentials anywhere."""


def is_installed() -> bool:
    """Whether the extra is there."""
    return find_spec("botocore") is not None


class AwsClient:
    """Asks services in any region, with the credentials that the environment of this process leads to.

    ``endpoint_url`` is that of a service of one's own, which is then asked instead, whatever the region.
    """

    def __init__(self, reactor: Any, http: HTTPClient, endpoint_url: str | None) -> None:
        self._reactor = reactor
        self._http = http
        self._endpoint_url = endpoint_url
        self._session: Any = None
        self._is_looking = False
        self._waiting: list[Deferred[Any]] = []

    def request(
        self, service: str, region: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Deferred[bytes]:
        """POST the body to a service, such as ``sns``; the answer is the body of its answer.

        Errors: AwsRefused, NoCredentials, whatever botocore has to say about the credentials, and those of
        ``outgoing.answer_to``; the time limit is one for all of it.
        """
        asked = Deferred.fromCoroutine(self._request(service, region, headers, body, timeout_s))
        return asked.addTimeout(timeout_s, self._reactor)

    async def _request(
        self, service: str, region: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> bytes:
        url = f"{self._endpoint_url or _own_endpoint(service, region)}/"
        signed = _signed(url, headers, body, await self._credentials(), service, region)
        asked = self._http.post(
            url,
            data=body,
            headers=Headers({name: [value] for name, value in signed.items()}),
            allow_redirects=False,
            unbuffered=True,
        )
        answer = await answer_to(asked, MAX_ANSWER_BYTES, timeout_s, self._reactor)
        if not 200 <= answer.status <= 299:
            raise _refusal(answer)
        return answer.body

    def _credentials(self) -> Deferred[Any]:
        """botocore's, good for a while; all who wait get those of one look-up."""
        waiter: Deferred[Any] = Deferred()
        self._waiting.append(waiter)
        if not self._is_looking:
            self._is_looking = True
            Thread(target=self._look_up, name="aws-credentials", daemon=True).start()
        return waiter

    def _look_up(self) -> None:
        """On a thread, which does not keep the process from ending if it hangs."""
        try:
            found: Any = self._found_credentials()
        except Exception:
            found = Failure()
        self._reactor.callFromThread(self._hand_out, found)

    def _found_credentials(self) -> Any:
        from botocore.session import Session

        self._session = self._session or Session()
        credentials = self._session.get_credentials()
        if credentials is None:
            raise NoCredentials("no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role")
        return credentials.get_frozen_credentials()

    def _hand_out(self, found: Any) -> None:
        self._is_looking = False
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(found)  # nothing happens to one that was cancelled meanwhile


def _own_endpoint(service: str, region: str) -> str:
    return f"https://{service}.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


def _signed(
    url: str, headers: Mapping[str, str], body: bytes, credentials: Any, service: str, region: str
) -> dict[str, str]:
    """The headers with those of a signature over all of the request."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    request = AWSRequest("POST", url, headers=dict(headers), data=body)
    SigV4Auth(credentials, service, region).add_auth(request)
    return dict(request.headers.items())


def _refusal(answer: Answer) -> AwsRefused:
    """The error in an answer, which is XML of some services and JSON of others."""
    text = answer.body.decode("utf-8", "replace")
    code, reason = (
        _in_json(text) if text.lstrip().startswith("{") else (_element("Code", text), _element("Message", text))
    )
    paragraph = (reason or text).partition("\n\n")[0]  # further ones may repeat the request, tokens and all
    return AwsRefused(answer.status, code, " ".join(paragraph.split())[:_LONGEST_REASON])


def _element(name: str, xml: str) -> str:
    found = re.search(rf"<{name}>([^<]*)</{name}>", xml)
    return found[1] if found else ""


def _in_json(text: str) -> tuple[str, str]:
    try:
        members = json.loads(text)
    except (ValueError, RecursionError):
        return "", ""
    return str(members.get("__type", "")).rpartition("#")[2], str(members.get("message", ""))

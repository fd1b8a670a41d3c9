"""The pipeline: every request goes this one way, from its route to its answer.

The order of checks is the protocol's: route (404), size and length (413, 411), signature (401), JSON (415, 106),
payload hash (109), parameters (107, 108), then the handler. An error climbs to ``_answer`` and is rendered there.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException

from fxa_auth import errors, hawk
from fxa_auth.http.auth import Authenticator, Signed
from fxa_auth.http.params import ModelReader, read_json, read_query
from fxa_auth.http.route import Answer, Call, ErrorPage, NoParams, Route, error_answer
from fxa_auth.http.site import Request
from fxa_auth.records import Client
from fxa_auth.shield import shielded
from fxa_auth.store.database import DatabaseUnavailable

_log = Logger()

_JSON_MEDIA_TYPE = re.compile(r"application/(?:json|[^\s/;,]+\+json)", re.IGNORECASE)
_NOTED_PARAMS = ("service", "redirect_to", "email")


@dataclass(frozen=True)
class Shedding:
    """When to refuse work: while ``is_overloaded()``, every route but those in ``exempt``."""

    is_overloaded: Callable[[], bool]
    exempt: frozenset[str] = frozenset(("/__lbheartbeat__",))


class Application:
    """The route table behind one Klein app.

    ``base_path`` is the public URL's path. In development every error carries an empty ``log`` list, as clients'
    tests of the original expect.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        base_path: str,
        authenticator: Authenticator,
        models: ModelReader,
        shedding: Shedding,
        development: bool,
    ) -> None:
        self._authenticator = authenticator
        self._models = models
        self._shedding = shedding
        self._development = development
        self._gone = re.compile(re.escape(base_path) + r"/v0(?:/.*)?")
        self._running: set[Deferred[bytes]] = set()
        self._drained: Deferred[None] | None = None
        self.klein = Klein()
        self.klein.url_map.merge_slashes = False
        self.klein.handle_errors(HTTPException)(self._answer_unrouted)  # type: ignore[arg-type]  # wants a name
        for route in routes:
            path = base_path + route.path if route.moves else route.path
            handler = self._handler_of(route)
            self.klein.route(path, methods=[route.method], endpoint=f"{route.method} {path}")(handler)

    async def drain(self) -> None:
        """Wait until every request that has begun is answered."""
        if self._running:
            self._drained = Deferred()
            await self._drained

    def _handler_of(self, route: Route) -> Callable[[Request], Deferred[bytes]]:
        def handle(request: Request) -> Deferred[bytes]:
            if not request.method.isupper():
                return self._answer_unrouted(request)  # methods are case-sensitive, but werkzeug takes "get" for GET
            return self._shielded(request, self._answer(request, self._call(route, request), route.error_page))

        return handle

    def _answer_unrouted(self, request: Request, _: Failure | None = None) -> Deferred[bytes]:
        is_gone = self._gone.fullmatch(request.path.decode("latin-1"))
        error = errors.endpoint_gone() if is_gone else errors.unspecified(404, "Not Found")

        async def refuse() -> Answer:
            raise error

        return self._shielded(request, self._answer(request, refuse()))

    def _shielded(self, request: Request, work: Awaitable[Answer]) -> Deferred[bytes]:
        """A Deferred for Klein to cancel when the client hangs up, while the work goes on to its end."""

        async def run() -> bytes:
            return request.respond(await work)

        def ended(result: bytes | Failure) -> bytes:
            self._running.discard(running)
            if self._drained is not None and not self._running and not self._drained.called:
                self._drained.callback(None)
            if isinstance(result, Failure):
                _log.failure("request.broken", result)
                request.abort()
                return b""
            return result

        running = Deferred.fromCoroutine(run())
        self._running.add(running)
        return shielded(running.addBoth(ended))

    async def _answer(self, request: Request, work: Awaitable[Answer], error_page: ErrorPage | None = None) -> Answer:
        """Await the answer, or render the error that came instead; then write the request's log line."""
        failure = None
        try:
            answer = await work
        except Exception as raised:
            error = _told(raised)
            failure = Failure() if raised is not error else None  # a refusal was meant, and says its reason
            request.note(errno=error.errno, **({} if error.reason is None else {"reason": error.reason}))
            page = None if error_page is None else error_page(error, request.accept_language)
            answer = error_answer(error, self._development) if page is None else page
        if request.signed is not None and answer.content_type is not None:
            payload = b"" if request.method == b"HEAD" else answer.body
            header = request.signed.server_authorization(answer.content_type, payload)
            answer = Answer(
                answer.status, answer.body, answer.content_type, {**answer.headers, "Server-Authorization": header}
            )
        summary = {"code": answer.status, **request.summary()}
        if failure is not None:
            _log.failure("request.summary", failure, LogLevel.error, **summary)
        elif answer.status >= 500:
            _log.error("request.summary", **summary)
        else:
            _log.info("request.summary", **summary)
        return answer

    async def _call(self, route: Route, request: Request) -> Answer:
        if route.path not in self._shedding.exempt and self._shedding.is_overloaded():
            raise errors.service_unavailable("the event loop lags")
        if request.body_error is not None:
            raise request.body_error
        body = request.content.read()  # at once: it is closed when the client hangs up
        signed = await self._signature(route, request)
        values = self._values(route, request, body)
        if signed is not None:
            self._authenticator.check_payload(signed, request.content_type or "", body, route.payload)
        query = read_query(request.query)
        model = NoParams if signed is not None and route.optional_auth is not None else route.request
        if model is not NoParams:
            found = query if route.source == "query" else values
            params = self._models.read(model, found, route.source, route.also_ignored)
            self._note_params(request, params)
        else:
            params = NoParams()
        wants_keys = query.get("keys") == "true"
        if wants_keys:
            request.note(keys=True)
        call = Call(
            params=params,
            client=Client(request.client_ip, request.accept_language, request.received_at_ms),
            query=request.query,
            wants_keys=wants_keys,
            note=request.note,
            optional_token=None if signed is None else signed.token,
        )
        return await route.handler(call)

    async def _signature(self, route: Route, request: Request) -> Signed | None:
        header = request.header("Authorization")
        kind = route.auth or route.optional_auth
        if kind is None or (route.auth is None and not (header and hawk.is_hawk(header))):
            return None
        resource = request.uri.decode("latin-1")
        request.signed = await self._authenticator.authenticate(header, kind, request.method.decode(), resource)
        request.note(uid=request.signed.token.uid.hex())
        return request.signed

    def _values(self, route: Route, request: Request, body: bytes) -> Mapping[str, Any]:
        """The members of a POST's JSON object; where parameters are in the query no body is of interest."""
        if route.source == "query" or not body:
            return {}
        media_type = (request.content_type or "application/json").partition(";")[0].strip()
        is_encoded = (request.header("Content-Encoding") or "identity").lower() != "identity"
        if is_encoded or not _JSON_MEDIA_TYPE.fullmatch(media_type):
            raise errors.unspecified(415, "Unsupported Media Type")
        value = read_json(body)
        if route.request is NoParams:
            return {}
        if not isinstance(value, dict):
            raise errors.invalid_json()
        return value

    def _note_params(self, request: Request, params: Any) -> None:
        names = {field.name for field in fields(params)}
        noted = {name: getattr(params, name) for name in _NOTED_PARAMS if name in names and getattr(params, name)}
        if "redirect_to" in noted:
            noted["redirectTo"] = re.split("[?#]", noted.pop("redirect_to"))[0]
        request.note(**noted)


def _told(raised: Exception) -> errors.ApiError:
    """What the client is told of an exception."""
    if isinstance(raised, errors.ApiError):
        return raised
    if isinstance(raised, DatabaseUnavailable):
        return errors.service_unavailable()
    return errors.unspecified(500, "Unspecified error")

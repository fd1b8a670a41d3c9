"""What a route is: one row of the table that the whole API is built from."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from fxa_auth.errors import ApiError
from fxa_auth.records import Client, Token, TokenKind

JSON_TYPE = "application/json; charset=utf-8"
HTML_TYPE = "text/html; charset=utf-8"

Params = TypeVar("Params")


@dataclass(frozen=True)
class Answer:
    """What goes back over the wire. ``content_type`` None leaves the header out."""

    status: int
    body: bytes
    content_type: str | None = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(
    value: Mapping[str, Any] | list[Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    return Answer(status, json.dumps(value, separators=(",", ":")).encode(), JSON_TYPE, headers or {})


def error_answer(error: ApiError, development: bool) -> Answer:
    """An error as clients see it; in development it has a ``log`` too, which clients of the original look for."""
    body = error.body()
    if development:
        body["log"] = []
    return json_answer(body, error.status, error.headers)


@dataclass(frozen=True)
class Call(Generic[Params]):
    """One request as a handler sees it, everything checked.

    ``note`` adds fields to the request's log line; ``query`` is the raw query string.
    """

    params: Params
    client: Client
    query: str
    wants_keys: bool
    note: Callable[..., None] = field(repr=False)
    optional_token: Token | None = None

    @property
    def token(self) -> Token:
        """The token that signed the request, on a route that demands one."""
        assert self.optional_token is not None, "the route names the kind of token it demands"
        return self.optional_token


@dataclass(frozen=True)
class NoParams:
    """The model of a request that takes none; whatever comes is ignored."""


Handler = Callable[[Call[Any]], Awaitable[Answer]]
ErrorPage = Callable[[ApiError, str | None], Answer | None]
"""Renders an error for people, from the error and the reader's Accept-Language; None leaves it to ``error_answer``."""


@dataclass(frozen=True)
class Route:
    """One endpoint.

    ``path`` is below the public URL's path, but for ``moves=False``, which stays at the root whatever that is.
    ``request`` is the model of the JSON body of a POST, or of the query of a GET. ``auth`` is the kind of token that
    must sign the request, ``optional_auth`` one that may, in which case no parameters are read. With ``payload`` the
    signature must cover the body. ``also_ignored`` are further keys of later clients. With ``in_query`` a POST has its
    parameters in the query, and whatever its body holds is ignored.
    """

    method: str
    path: str
    handler: Handler
    request: type[Any] = NoParams
    auth: TokenKind | None = None
    optional_auth: TokenKind | None = None
    payload: bool = False
    moves: bool = True
    also_ignored: frozenset[str] = frozenset()
    in_query: bool = False
    error_page: ErrorPage | None = None

    @property
    def source(self) -> Literal["payload", "query"]:
        """Where the parameters are."""
        return "query" if self.in_query or self.method == "GET" else "payload"

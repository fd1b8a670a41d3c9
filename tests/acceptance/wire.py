"""A client of the API that does what it is told, once: no retries, no clock of its own, nothing hidden.

Keys and signatures come from PyFxA and mohawk, so that nothing here agrees with the server by sharing its code.
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import fxa.crypto
import mohawk

from tests.acceptance.daemon import TIMEOUT_S, Daemon, eventually

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Answer:
    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def outcome(self) -> tuple[int, int]:
        """Status and errno; errno 0 is success."""
        return self.status, self.body.get("errno", 0)


@dataclass(frozen=True)
class Token:
    """A token of one of the five kinds, as its holder derives it."""

    kind: str
    data: bytes

    @classmethod
    def of(cls, answer: Answer, kind: str = "sessionToken") -> Token:
        return cls(kind, bytes.fromhex(answer.body[kind]))

    def keys(self) -> tuple[bytes, bytes, bytes]:
        """Its id, its authKey and its bundleKey."""
        keys: bytes = fxa.crypto.derive_key(self.data, self.kind, 96)
        return keys[:32], keys[32:64], keys[64:]


@dataclass(frozen=True)
class Call:
    """A request yet to be sent; ``path`` is what follows /v1."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    token: Token | None = None


class Wire:
    """Calls one daemon, each time over a new connection."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def get(self, path: str, token: Token | None = None) -> Answer:
        return self.together([Call("GET", path, None, token)])[0]

    def post(self, path: str, body: Mapping[str, Any], token: Token | None = None) -> Answer:
        return self.together([Call("POST", path, body, token)])[0]

    def together(self, calls: Sequence[Call]) -> list[Answer]:
        """The answers to calls that are all sent before the first answer is read."""
        connections = [self._opened() for _ in calls]
        for connection, call in zip(connections, calls, strict=True):
            self._send(connection, call)
        return [_received(connection) for connection in connections]

    def at_once(self, calls: Sequence[Call], *others: Wire) -> list[Answer]:
        """The answers to calls, to this daemon and to the others, that have all arrived before any daemon sees one."""
        wires = (self, *others)
        sendings = [(wire, wire._opened(), call) for wire in wires for call in calls]
        with ExitStack() as frozen:
            for wire in wires:
                frozen.enter_context(wire._daemon.frozen())
            for wire, connection, call in sendings:
                wire._send(connection, call)
        return [_received(connection) for _, connection, _ in sendings]

    def send_and_leave(self, call: Call) -> None:
        """Send a call, make sure that the server has it, and hang up without waiting for its answer."""
        connection = self._opened()
        self._send(connection, call)
        self.catch_up()
        connection.close()

    def begin(self, call: Call) -> http.client.HTTPConnection:
        """A connection on which the call is sent; ``finish`` reads its answer."""
        connection = self._opened()
        self._send(connection, call)
        return connection

    def finish(self, connection: http.client.HTTPConnection) -> Answer:
        return _received(connection)

    def catch_up(self) -> None:
        """Return when the server has read what was sent to it so far: it reads in the order of arrival."""
        connection = self._opened()
        connection.request("GET", urllib.parse.urlsplit(self._daemon.public_url).path + "/__lbheartbeat__")
        assert _received(connection).status == 200

    def _opened(self) -> http.client.HTTPConnection:
        connection = self._daemon.connect()
        connection.connect()
        return connection

    def _send(self, connection: http.client.HTTPConnection, call: Call) -> None:
        url = f"{self._daemon.public_url}/v1{call.path}"
        parts = urllib.parse.urlsplit(url)
        content = b"" if call.body is None else json.dumps(call.body).encode()
        content_type = "" if call.body is None else "application/json"
        headers = {"Content-Type": content_type} if content_type else {}
        if call.token is not None:
            token_id, auth_key, _ = call.token.keys()
            credentials = {"id": token_id.hex(), "key": auth_key, "algorithm": "sha256"}
            sender = mohawk.Sender(credentials, url, call.method, content=content, content_type=content_type)
            headers["Authorization"] = sender.request_header
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(call.method, target, content or None, headers)


def _received(connection: http.client.HTTPConnection) -> Answer:
    try:
        response = connection.getresponse()
        return Answer(response.status, json.loads(response.read()), response.headers)  # type: ignore[arg-type]
    finally:
        connection.close()


def new_email() -> str:
    return f"{os.urandom(6).hex()}@example.com"


def stretched(email: str, password: str = PASSWORD) -> bytes:
    """quickStretchedPW, from which a client derives all else (32 bytes)."""
    result: bytes = fxa.crypto.quick_stretch_password(email, password)
    return result


def auth_pw(email: str, password: str = PASSWORD) -> str:
    result: bytes = fxa.crypto.derive_auth_pw(stretched(email, password))
    return result.hex()


def credentials(email: str, password: str = PASSWORD, **more: object) -> dict[str, Any]:
    """The body of most requests that show a password."""
    return {"email": email, "authPW": auth_pw(email, password), **more}


def unbundled(token: Token, answer: Answer) -> tuple[bytes, bytes]:
    """kA and wrapKb, from the answer to /account/keys that the keyFetchToken signed for."""
    plain: bytes = fxa.crypto.unbundle(token.keys()[2], "account/keys", bytes.fromhex(answer.body["bundle"]))
    return plain[:32], plain[32:]


def mails(daemon: Daemon, email: str, count: int = 1) -> list[dict[str, Any]]:
    """All mails to this address, once there are ``count``, from the daemon's mail helper."""
    local_part = urllib.parse.quote(email.partition("@")[0])
    url = f"{daemon.helper_url}/mail/{local_part}"

    def ask() -> list[dict[str, Any]]:
        with urllib.request.urlopen(url, timeout=2 * TIMEOUT_S) as response:
            found: list[dict[str, Any]] = json.load(response)
        return found if len(found) >= count else []

    found: list[dict[str, Any]] = eventually(ask, f"{count} mails to {email}")
    return found


def mailed_code(daemon: Daemon, email: str, header: str = "x-verify-code", count: int = 1) -> str:
    """The code in the latest of ``count`` mails."""
    code: str = mails(daemon, email, count)[-1]["headers"][header]
    return code

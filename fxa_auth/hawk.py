"""Hawk: reading the Authorization header, checking its MAC and payload hash, signing the answer.

Works on bytes and text alone: it knows no store, no clock and no request object. The scheme is Mozilla's Hawk
(https://github.com/mozilla/hawk, "hawk.1"); what this server demands of it is in docs/api.md.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass, field

MAX_HEADER_LENGTH = 4096
_REQUIRED = {"id", "ts", "nonce", "mac"}
_KNOWN = _REQUIRED | {"hash", "ext"}

# The characters that Hawk allows in an attribute: printable ASCII but for the quote and the backslash.
_ATTRIBUTE = re.compile(r'(\w+)="([ !#-\[\]-~]*)"')
_ATTRIBUTES = re.compile(r'\w+="[ !#-\[\]-~]*"(?:\s*,\s*\w+="[ !#-\[\]-~]*")*')
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class MalformedHeader(ValueError):
    """The header is not what Hawk's grammar allows."""


@dataclass(frozen=True)
class Authorization:
    """The attributes of a Hawk header as sent; ``ts`` in seconds, as text and as a number."""

    id: str = field(repr=False)
    ts: str
    nonce: str
    mac: str = field(repr=False)
    hash: str | None
    ext: str

    @property
    def timestamp_s(self) -> int:
        return int(self.ts)


def is_hawk(header: str) -> bool:
    """Tell whether an Authorization header names this scheme, in any case of letters."""
    return header.split(" ", 1)[0].lower() == "hawk"


def parse_authorization(header: str) -> Authorization:
    """Read an Authorization header of the Hawk scheme.

    :raises MalformedHeader: another scheme, too long, or an attribute that is unknown, doubled, missing or malformed
    """
    if len(header) > MAX_HEADER_LENGTH:
        raise MalformedHeader("header too long")
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != "hawk" or not _ATTRIBUTES.fullmatch(rest.strip()):
        raise MalformedHeader("not a list of Hawk attributes")
    pairs = _ATTRIBUTE.findall(rest)
    attributes = dict(pairs)
    if len(attributes) != len(pairs):
        raise MalformedHeader("an attribute stands twice")
    if not attributes.keys() <= _KNOWN:
        raise MalformedHeader("unknown attribute")
    if not all(attributes.get(name) for name in _REQUIRED):
        raise MalformedHeader("missing attribute")
    if not _TIMESTAMP.fullmatch(attributes["ts"]):
        raise MalformedHeader("ts is not a number of seconds")
    return Authorization(
        attributes["id"],
        attributes["ts"],
        attributes["nonce"],
        attributes["mac"],
        attributes.get("hash"),
        attributes.get("ext", ""),
    )


@dataclass(frozen=True)
class Target:
    """What a signature is bound to: the method, the request target as sent (with its query), and the public URL's
    host and port."""

    method: str
    resource: str
    host: str
    port: int


def _mac(kind: str, key: bytes, authorization: Authorization, target: Target, payload_hash: str, ext: str) -> str:
    lines = (
        f"hawk.1.{kind}",
        authorization.ts,
        authorization.nonce,
        target.method.upper(),
        target.resource,
        target.host.lower(),
        str(target.port),
        payload_hash,
        ext,
    )
    normalized = "".join(f"{line}\n" for line in lines)
    return base64.b64encode(hmac.digest(key, normalized.encode(), "sha256")).decode()


def request_mac(key: bytes, authorization: Authorization, target: Target) -> str:
    """The MAC that the holder of ``key`` (32 bytes) would have sent, base64."""
    return _mac("header", key, authorization, target, authorization.hash or "", authorization.ext)


def is_mac_right(key: bytes, authorization: Authorization, target: Target) -> bool:
    return hmac.compare_digest(request_mac(key, authorization, target), authorization.mac)


def payload_hash(content_type: str, payload: bytes) -> str:
    """Hawk's hash over a body and its media type (parameters and case do not count), base64."""
    media_type = content_type.split(";", 1)[0].strip().lower()
    digest = hashlib.sha256(b"hawk.1.payload\n" + media_type.encode() + b"\n" + payload + b"\n").digest()
    return base64.b64encode(digest).decode()


def is_payload_right(sent_hash: str, content_type: str, payload: bytes) -> bool:
    return hmac.compare_digest(payload_hash(content_type, payload), sent_hash)


def server_authorization(
    key: bytes, authorization: Authorization, target: Target, content_type: str, payload: bytes
) -> str:
    """The Server-Authorization header by which a client may check the answer to its request."""
    hash_ = payload_hash(content_type, payload)
    return f'Hawk mac="{_mac("response", key, authorization, target, hash_, "")}", hash="{hash_}"'


MAX_SKEW_S = 60
MAX_REMEMBERED = 100_000


class ReplayGuard:
    """The memory of strict mode: which (id, ts, nonce) were seen within the time a request may be late or early.

    Holds at most 100,000 requests; under a heavier load the oldest are forgotten first.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    def is_replay(self, authorization: Authorization, now_s: int) -> bool:
        """Tell whether this very request came before, and remember it."""
        while self._seen and next(iter(self._seen.values())) < now_s - 2 * MAX_SKEW_S:
            self._seen.popitem(last=False)
        text = f"{authorization.id.lower()}\n{authorization.ts}\n{authorization.nonce}"
        key = hashlib.sha256(text.encode()).digest()[:16]
        if key in self._seen:
            return True
        self._seen[key] = now_s
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
        return False

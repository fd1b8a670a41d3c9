"""preVerifyTokens: a trusted party's signed word that an address is its user's, so that no mail need ask.

A token is a JWS (RFC 7515), RS256 only, whose header names a JWK set (RFC 7517) by URL; only sets at trusted URLs are
fetched. The rules are those of docs/protocol.md, "preVerifyToken". What follows from a good token is not known here.
"""

from __future__ import annotations

import json
import math
import re
from base64 import urlsafe_b64decode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import RSAAlgorithm
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.http_headers import Headers

from fxa_auth import errors
from fxa_auth.outgoing import answer_to

_log = Logger()

MAX_TOKEN_LENGTH = 2048
FETCH_TIMEOUT_S = 5.0
MAX_SET_BYTES = 64 * 1024
MAX_AGE_S = 3600
REFETCH_PAUSE_S = 60
"""A kid nobody knows makes a set be fetched again, but no more often than this."""

_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_KEY_BITS = range(2048, 8193)
_LARGEST_NUMBER = 2**53
"""Beyond it JSON numbers are not exact everywhere (RFC 8259 section 6)."""

_signatures = jwt.PyJWS(algorithms=["RS256"])


def looks_like_token(text: str) -> bool:
    """Whether ``text`` has the shape of a token: at most 2,048 characters, three base64url parts."""
    if len(text) > MAX_TOKEN_LENGTH or not _SHAPE.fullmatch(text):
        return False
    return all(len(part) % 4 != 1 for part in text.split("."))


@dataclass(frozen=True)
class _KeySet:
    keys: Mapping[str, RSAPublicKey]
    fetched_at_s: float


class _BadSet(Exception):
    """An answer that is no JWK set; the message says why."""


class PreVerifyTokens:
    """Checks tokens against the JWK sets at ``trusted_jkus``.

    ``audience`` is this server's domain, host[:port] of its public URL. ``http`` must check certificates, as treq's
    client does over Twisted's own Agent. A set is kept for an hour at most. At any time at most one fetch of each set
    is running, which all who need it wait for.
    """

    def __init__(self, clock: IReactorTime, http: HTTPClient, trusted_jkus: Collection[str], audience: str) -> None:
        self._clock = clock
        self._http = http
        self._trusted_jkus = frozenset(trusted_jkus)
        self._audience = audience
        self._sets: dict[str, _KeySet] = {}
        self._asked_at_s: dict[str, float] = {}
        self._fetches: dict[str, Deferred[_KeySet | None]] = {}

    async def verify(self, token: str, email: str) -> None:
        """Return if ``token`` vouches for ``email``, the address as it is being signed up.

        Errors: 107 for what has not the shape of a token; 503/201 when the JWK set cannot be had; else 105 with the
        culprit's value as its extra: ``token``, ``jku``, ``kid``, ``sig``, ``exp``, ``aud`` or ``sub``. A value that
        cannot be repeated faithfully in JSON, or is no string or number, is given as null.
        """
        if not looks_like_token(token):
            raise errors.invalid_parameter("payload", ["preVerifyToken"])
        header_part, payload_part, _ = token.split(".")
        header = _json_object(header_part)
        payload = _json_object(payload_part)
        if header is None or payload is None:
            raise errors.invalid_verification_code(token=token)
        if header.get("alg") != "RS256":
            raise errors.invalid_verification_code(sig="invalid")
        _check_signature(token, await self._key(header.get("jku"), header.get("kid")))
        self._check_claims(payload, email)

    async def stop(self) -> None:
        """Give up the fetches that are running; those who wait for them get 503/201."""
        fetches = list(self._fetches.values())
        for fetch in fetches:
            fetch.cancel()
        await gatherResults(fetches)

    def _check_claims(self, payload: Mapping[str, Any], email: str) -> None:
        exp = payload.get("exp")
        if not _is_number(exp) or exp <= self._clock.seconds():
            raise errors.invalid_verification_code(exp=_shown(exp))
        for claim, expected in (("aud", self._audience), ("sub", email)):
            value = payload.get(claim)
            if value != expected:
                raise errors.invalid_verification_code(**{claim: _shown(value)})

    async def _key(self, jku: object, kid: object) -> RSAPublicKey:
        if not isinstance(jku, str) or jku not in self._trusted_jkus:
            raise errors.invalid_verification_code(jku=_shown(jku))
        if not isinstance(kid, str):
            raise errors.invalid_verification_code(kid=_shown(kid))
        now_s = self._clock.seconds()
        known = self._sets.get(jku)
        is_fresh = known is not None and now_s - known.fetched_at_s < MAX_AGE_S
        may_ask_again = now_s - self._asked_at_s.get(jku, -math.inf) >= REFETCH_PAUSE_S
        if known is None or not is_fresh or (kid not in known.keys and may_ask_again):
            known = await self._fetched(jku)
        if known is None:
            raise errors.service_unavailable("a trusted JWK set cannot be fetched")
        if kid not in known.keys:
            raise errors.invalid_verification_code(kid=_shown(kid))
        return known.keys[kid]

    def _fetched(self, jku: str) -> Deferred[_KeySet | None]:
        """The set at ``jku``, newly fetched; None if it cannot be had.

        Each caller gets a Deferred of its own: cancelling it leaves the fetch to the others who wait.
        """
        fetch = self._fetches.get(jku)
        if fetch is None:
            self._asked_at_s[jku] = self._clock.seconds()
            fetch = self._fetches[jku] = Deferred.fromCoroutine(self._fetch(jku))
            fetch.addBoth(self._fetch_ended, jku)
        waiter: Deferred[_KeySet | None] = Deferred()
        fetch.addCallback(_hand_on, waiter)
        return waiter

    def _fetch_ended(self, result: _KeySet | None, jku: str) -> _KeySet | None:
        del self._fetches[jku]
        return result

    async def _fetch(self, jku: str) -> _KeySet | None:
        try:
            found = _KeySet(_usable_keys(await self._download(jku)), self._clock.seconds())
        # Whatever is wrong over there must not be an error over here.
        except Exception as error:
            _log.warn("preverify.unfetchable", jku=jku, reason=f"{type(error).__name__}: {error}")
            return None
        self._sets[jku] = found
        _log.info("preverify.fetched", jku=jku, keys=len(found.keys))
        return found

    async def _download(self, jku: str) -> bytes:
        headers = Headers({"Accept": ["application/json"]})
        asked = self._http.get(jku, headers=headers, allow_redirects=False, unbuffered=True)
        answer = await answer_to(asked, MAX_SET_BYTES, FETCH_TIMEOUT_S, self._clock)
        if answer.status != 200:
            raise _BadSet(f"status {answer.status}")
        return answer.body


def _hand_on(found: _KeySet | None, waiter: Deferred[_KeySet | None]) -> _KeySet | None:
    # A waiter that was cancelled meanwhile ignores this, as Deferreds do.
    waiter.callback(found)
    return found


def _check_signature(token: str, key: RSAPublicKey) -> None:
    try:
        _signatures.decode_complete(token, key, algorithms=["RS256"])
    except jwt.PyJWTError:
        raise errors.invalid_verification_code(sig="invalid") from None


def _json_object(part: str) -> dict[str, Any] | None:
    """The JSON object that a token's part encodes; None if it is anything else."""
    try:
        text = urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode("utf-8")
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _is_number(value: object) -> TypeGuard[int | float]:
    """Whether ``value`` is an exact, finite JSON number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -_LARGEST_NUMBER <= value <= _LARGEST_NUMBER


def _shown(value: object) -> str | int | float | None:
    """``value`` as an error may carry it: only what every JSON encoder writes and every parser reads."""
    if isinstance(value, str):
        return value if value.isascii() or _is_unicode(value) else None
    return value if _is_number(value) else None


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _usable_keys(body: bytes) -> dict[str, RSAPublicKey]:
    """The RS256 signature keys of a JWK set by kid. Other keys are left out; what is no set at all is _BadSet."""
    try:
        members = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise _BadSet("not JSON") from None
    entries = members.get("keys") if isinstance(members, dict) else None
    if not isinstance(entries, list):
        raise _BadSet("not a JWK set")
    found: dict[str, RSAPublicKey] = {}
    for entry in entries:
        key = _usable_key(entry) if isinstance(entry, dict) else None
        if key is not None:
            found.setdefault(entry["kid"], key)
    return found


def _usable_key(jwk: Mapping[str, Any]) -> RSAPublicKey | None:
    if not all(isinstance(jwk.get(name), str) for name in ("kid", "n", "e")):
        return None
    if jwk.get("kty") != "RSA" or jwk.get("use", "sig") != "sig" or jwk.get("alg", "RS256") != "RS256":
        return None
    try:
        # Only the public numbers: a set that gives away private ones as well is still good for verifying.
        key = RSAAlgorithm.from_jwk({"kty": "RSA", "n": jwk["n"], "e": jwk["e"]})
    except (jwt.PyJWTError, ValueError):
        return None
    return key if isinstance(key, RSAPublicKey) and key.key_size in _KEY_BITS else None

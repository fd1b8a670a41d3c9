"""Who signed a request: Hawk over the store's tokens.

Everything is bound to the public URL; the Host header plays no part. docs/api.md ("Hawk") has the rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from fxa_auth import errors, hawk, tokens
from fxa_auth.clock import time_ms
from fxa_auth.publicurl import PublicUrl
from fxa_auth.records import Token, TokenKind
from fxa_auth.store import Store

_TOKEN_ID = re.compile(r"[0-9A-Fa-f]{64}")


@dataclass(frozen=True)
class Signed:
    """A request whose signature holds: by which token, over what, with which header."""

    token: Token
    authorization: hawk.Authorization
    target: hawk.Target

    def server_authorization(self, content_type: str, body: bytes) -> str:
        """The header by which the client may check the answer."""
        return hawk.server_authorization(self.token.auth_key, self.authorization, self.target, content_type, body)


class Authenticator:
    """Checks signatures. ``strict`` adds the clock and replay checks that the original never made."""

    def __init__(
        self, store: Store, lifetimes: tokens.Lifetimes, public_url: PublicUrl, clock: IReactorTime, strict: bool
    ) -> None:
        self._store = store
        self._lifetimes = lifetimes
        self._public_url = public_url
        self._clock = clock
        self._replays = hawk.ReplayGuard() if strict else None
        self._started_at_s = int(clock.seconds())

    async def authenticate(self, header: str | None, kind: TokenKind, method: str, resource: str) -> Signed:
        """The signature of a request; ``resource`` is the request target as sent.

        :raises ApiError: 109, 110; in strict mode 111 and 115; 503/201
        """
        try:
            authorization = hawk.parse_authorization(header or "")
        except hawk.MalformedHeader:
            raise errors.invalid_signature() from None
        token = await self._live_token(kind, authorization.id)
        target = hawk.Target(method, resource, self._public_url.host, self._public_url.port)
        if not hawk.is_mac_right(token.auth_key, authorization, target):
            raise errors.invalid_signature("Bad mac")
        if self._replays is not None:
            self._check_freshness(self._replays, authorization)
        return Signed(token, authorization, target)

    def check_payload(self, signed: Signed, content_type: str, body: bytes, required: bool) -> None:
        """Check the body against the signed hash where the route demands one, in strict mode wherever both are there.

        :raises ApiError: 109
        """
        sent = signed.authorization.hash
        if sent is None:
            if required:
                raise errors.invalid_signature("Missing payload authentication")
            return
        is_checked = required or (self._replays is not None and body)
        if is_checked and not hawk.is_payload_right(sent, content_type, body):
            raise errors.invalid_signature("Payload is invalid")

    async def _live_token(self, kind: TokenKind, token_id: str) -> Token:
        if not _TOKEN_ID.fullmatch(token_id):
            raise errors.invalid_token()
        token = await self._store.tokens.find(kind, tokens.hash_of_id(bytes.fromhex(token_id)))
        now_ms = time_ms(self._clock)
        if token is None or self._lifetimes.is_expired(kind, token.created_at_ms, now_ms):
            raise errors.invalid_token()
        return token

    def _check_freshness(self, replays: hawk.ReplayGuard, authorization: hawk.Authorization) -> None:
        now_s = int(self._clock.seconds())
        sent_s = authorization.timestamp_s
        if abs(now_s - sent_s) > hawk.MAX_SKEW_S or sent_s < self._started_at_s:
            raise errors.invalid_timestamp(now_s)
        if replays.is_replay(authorization, now_s):
            raise errors.invalid_nonce()

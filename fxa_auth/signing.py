"""Signing a client's key into an identity certificate. Sees no HTTP."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.interfaces import IReactorTime

from fxa_auth import certificates, errors
from fxa_auth.clock import time_ms
from fxa_auth.records import Client, Token
from fxa_auth.store import Store


class Signing:
    """Issues certificates of this server's domain. The signing key arrives once the store is known to be usable."""

    def __init__(self, store: Store, clock: IReactorTime, domain: str) -> None:
        self._store = store
        self._clock = clock
        self._domain = domain
        self.key: certificates.SigningKey | None = None

    async def sign(self, session: Token, client_key: Mapping[str, str], duration_ms: int, client: Client) -> str:
        """A certificate for the client's key, good for ``duration_ms``.

        ``client_key`` are the members as ``certificates.check_members`` leaves them. The account's language is learnt
        on the way, if it was not known.

        :raises ApiError: 104, 107, 108, or 503/201 while the server is starting
        """
        if not session.email_verified:
            raise errors.unverified_account()
        normal_key = certificates.normalize(client_key)
        certificate = certificates.sign(
            key=self.signing_key(),
            issuer=self._domain,
            client_key=normal_key,
            email=session.email,
            generation_ms=session.verifier_set_at_ms,
            last_auth_at_s=session.created_at_ms // 1000,
            uid=session.uid,
            now_ms=time_ms(self._clock),
            duration_ms=duration_ms,
        )
        if session.locale is None and client.accept_language is not None:
            await self._store.change(self._store.accounts.set_locale(session.uid, client.accept_language))
        return certificate

    def signing_key(self) -> certificates.SigningKey:
        """:raises ApiError: 503/201 while the server is starting"""
        if self.key is None:
            raise errors.service_unavailable("there is no signing key yet")
        return self.key

"""Accounts: making one, signing in, fetching keys, locking, removing. Sees no HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fxa_auth import emailaddress, errors, onepw
from fxa_auth.clock import time_ms
from fxa_auth.customs import Customs
from fxa_auth.passwords import Passwords
from fxa_auth.records import Account, Client, Letter, LinkOptions, MailKind, Token, TokenKind, Verifier
from fxa_auth.registration import Registration
from fxa_auth.store import Store
from fxa_auth.store.database import DemandFailed, Statement
from fxa_auth.tokens import DATA_LENGTH, TokenKeys, derive

_log = Logger()


class PreVerification(Protocol):
    async def verify(self, token: str, email: str) -> None:
        """Return if the token vouches for the address; else raise ApiError 105, 107 or 503/201."""


@dataclass(frozen=True)
class SignIn:
    """What a client is given that has signed up or in; ``auth_at_s`` in seconds."""

    uid: bytes
    session_token: TokenKeys
    key_fetch_token: TokenKeys | None
    verified: bool
    auth_at_s: int
    replaced: bool = False


class Accounts:
    """The operations on whole accounts. ``domain`` is that of the server's certificates.

    ``mail_queued`` is called after a change that queued a mail, with its kind and its account's uid.
    """

    def __init__(
        self,
        store: Store,
        passwords: Passwords,
        customs: Customs,
        registration: Registration,
        pre_verification: PreVerification,
        random: Callable[[int], bytes],
        clock: IReactorTime,
        domain: str,
        mail_queued: Callable[[MailKind, bytes], None],
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._customs = customs
        self._registration = registration
        self._pre_verification = pre_verification
        self._random = random
        self._clock = clock
        self._domain = domain
        self._mail_queued = mail_queued

    async def create(
        self,
        email: str,
        auth_pw: bytes,
        client: Client,
        options: LinkOptions,
        *,
        pre_verified: bool,
        pre_verify_token: str | None,
        invite_code: str | None,
        with_keys: bool,
    ) -> SignIn:
        """Make an account, verified at once or with a mail on its way. ``auth_pw`` is 32 bytes.

        An account of the same address that nobody verified gives way, unless it was made after this request came in.

        :raises ApiError: 114, 101, 403/999 (nobody lets this one in), 105, 503/201
        """
        await self._customs.check(client.ip, emailaddress.normalize(email), "accountCreate")
        old = await self._store.accounts.by_email(emailaddress.normalize(email))
        if old is not None and old.email_verified:
            raise errors.account_exists(email)
        admission = await self._registration.admission(email, invite_code, old)
        if pre_verify_token is not None:
            await self._pre_verification.verify(pre_verify_token, email)
        verified = pre_verified or pre_verify_token is not None
        verifier, wrap_kb = await self._passwords.make_verifier(auth_pw, client)
        account = self._new_account(email, verifier, verified, client)
        sign_in, token_steps = self._sign_in(account, wrap_kb, with_keys)
        removal = self._removal_of(old, client)
        try:
            results = await admission.change(
                account.uid,
                *removal,
                self._store.accounts.add(account, "address is free"),
                *token_steps,
                *self._announcements_of(account, client, options),
            )
        except DemandFailed:
            raise errors.account_exists(email) from None
        if verified:
            _log.info("event.verified", uid=account.uid.hex())
        else:
            self._mail_queued(MailKind.VERIFY, account.uid)
        return replace(sign_in, replaced=bool(removal and results[0]))

    async def login(self, email: str, auth_pw: bytes, client: Client, *, with_keys: bool) -> SignIn:
        """A new session, and with ``with_keys`` a token to fetch the account's keys.

        :raises ApiError: 102, 103, 114, 120, 121, 503/201
        """
        async with self._passwords.authenticated(email, auth_pw, "accountLogin", client) as seen:
            sign_in, token_steps = self._sign_in(seen.account, seen.wrap_kb, with_keys)
            event = self._store.events.login(seen.account.uid, seen.account.email, time_ms(self._clock))
            await self._store.change(*seen.steps, *event, *token_steps)
        return sign_in

    async def exists(self, uid: bytes) -> bool:
        return await self._store.accounts.exists(uid)

    async def fetch_keys(self, token: Token) -> bytes:
        """The key bundle (96 bytes) that waits for this keyFetchToken, which is used up by it.

        :raises ApiError: 104 (the token stays), 110 when another call was quicker
        """
        if not token.email_verified:
            raise errors.unverified_account()
        try:
            [[row]] = await self._store.change(self._store.tokens.consume_key_bundle(token, "token is there"))
        except DemandFailed:
            raise errors.invalid_token() from None
        return self._store.tokens.key_bundle(row)

    async def destroy(self, email: str, auth_pw: bytes, client: Client) -> bytes:
        """Remove an account and all that belongs to it; the answer is its uid (16 bytes).

        :raises ApiError: 102, 103, 114, 120, 121, 503/201
        """
        async with self._passwords.authenticated(email, auth_pw, "accountDestroy", client) as seen:
            uid = seen.account.uid
            removal = (
                self._store.invites.give_back(uid),
                self._store.accounts.delete(seen.account, "password is unchanged"),
            )
            event = self._store.events.deleted(uid, self._domain, time_ms(self._clock))
            await self._store.change(*seen.steps, *event, *removal)
        _log.info("event.delete", uid=uid.hex())
        return uid

    async def lock(self, email: str, auth_pw: bytes, client: Client) -> None:
        """Lock an account at its owner's word; one that is locked stays so, whatever the password.

        :raises ApiError: 102, 103, 114, 120, 503/201
        """
        await self._customs.check(client.ip, emailaddress.normalize(email), "accountLock")
        account = await self._passwords.find_account(email)
        if account.locked_at_ms is None:
            async with self._customs.guess(client.ip, account.normalized_email, "accountLock") as guess:
                await self._passwords.check(account, email, auth_pw, client, guess)
                await self._passwords.lock(account)

    def _new_account(self, email: str, verifier: Verifier, verified: bool, client: Client) -> Account:
        now_ms = time_ms(self._clock)
        return Account(
            uid=uuid.UUID(bytes=self._random(16), version=4).bytes,
            email=email,
            normalized_email=emailaddress.normalize(email),
            email_code=self._random(16),
            email_verified=verified,
            ka=self._random(onepw.KEY_LENGTH),
            verifier=verifier,
            verifier_set_at_ms=now_ms,
            created_at_ms=now_ms,
            locale=client.accept_language,
            locked_at_ms=None,
            unlock_code=None,
        )

    def _sign_in(self, account: Account, wrap_kb: bytes, with_keys: bool) -> tuple[SignIn, list[Statement]]:
        """New tokens for an account whose password was just seen, and the steps that store them."""
        now_ms = time_ms(self._clock)
        add = self._store.tokens.add
        session = derive(TokenKind.SESSION, self._random(DATA_LENGTH))
        steps = [add(session, account, now_ms, "password is unchanged")]
        key_fetch = None
        if with_keys:
            key_fetch = derive(TokenKind.KEY_FETCH, self._random(DATA_LENGTH))
            bundle = onepw.key_bundle(key_fetch.bundle_key, account.ka, wrap_kb)
            steps.append(add(key_fetch, account, now_ms, "password is unchanged", bundle))
        return SignIn(account.uid, session, key_fetch, account.email_verified, now_ms // 1000), steps

    def _removal_of(self, old: Account | None, client: Client) -> list[Statement]:
        return [] if old is None else [self._store.accounts.replace_unverified(old.uid, client.received_at_ms)]

    def _announcements_of(self, account: Account, client: Client, options: LinkOptions) -> list[Statement]:
        events, uid, email, now_ms = self._store.events, account.uid, account.email, account.created_at_ms
        created = events.created(uid, email, account.locale, options.service, now_ms)
        if account.email_verified:
            return [*created, *events.verified(uid, email, account.locale, now_ms)]
        letter = Letter(MailKind.VERIFY, uid, email, account.email_code, None, options, client.accept_language)
        return [*created, self._store.mails.queue(letter, now_ms)]

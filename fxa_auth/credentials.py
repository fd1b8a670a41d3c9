"""Replacing a password: by the old one (change), or by a mailed code when it is forgotten (reset). Sees no HTTP."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fxa_auth import emailaddress, errors, onepw
from fxa_auth.clock import time_ms
from fxa_auth.customs import Customs
from fxa_auth.passwords import Passwords
from fxa_auth.records import Client, Letter, LinkOptions, MailKind, Token, TokenKind
from fxa_auth.store import Store
from fxa_auth.store.database import DemandFailed, Statement
from fxa_auth.tokens import DATA_LENGTH, Lifetimes, TokenKeys, derive

_log = Logger()

PASS_CODE_LENGTH = 16
TRIES = 3
"""How many codes may be guessed wrong before a passwordForgotToken is gone."""


@dataclass(frozen=True)
class PasswordChange:
    """What a client is given that has shown the old password."""

    uid: bytes
    key_fetch_token: TokenKeys
    password_change_token: TokenKeys
    verified: bool


@dataclass(frozen=True)
class ForgotStatus:
    """How long (seconds) and for how many more tries a passwordForgotToken is good."""

    ttl_s: int
    tries: int


class Credentials:
    """The operations that end in a new password. ``domain`` is that of the server's certificates.

    ``mail_queued`` is called after a change that queued a mail, with its kind and its account's uid.
    """

    def __init__(
        self,
        store: Store,
        passwords: Passwords,
        customs: Customs,
        lifetimes: Lifetimes,
        random: Callable[[int], bytes],
        clock: IReactorTime,
        domain: str,
        mail_queued: Callable[[MailKind, bytes], None],
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._customs = customs
        self._lifetimes = lifetimes
        self._random = random
        self._clock = clock
        self._domain = domain
        self._mail_queued = mail_queued

    async def start_change(self, email: str, old_auth_pw: bytes, client: Client) -> PasswordChange:
        """:raises ApiError: 102, 103, 114, 120, 121, 503/201"""
        async with self._passwords.authenticated(email, old_auth_pw, "passwordChange", client) as seen:
            account, now_ms, add = seen.account, time_ms(self._clock), self._store.tokens.add
            key_fetch, change = self._mint(TokenKind.KEY_FETCH), self._mint(TokenKind.PASSWORD_CHANGE)
            bundle = onepw.key_bundle(key_fetch.bundle_key, account.ka, seen.wrap_kb)
            await self._store.change(
                self._store.accounts.hold(account.uid),
                *seen.steps,
                add(key_fetch, account, now_ms, "password is unchanged", bundle),
                add(change, account, now_ms, "password is unchanged"),
            )
        return PasswordChange(account.uid, key_fetch, change, account.email_verified)

    async def finish_change(self, token: Token, auth_pw: bytes, wrap_kb: bytes, client: Client) -> None:
        """Set the new password around the same kB and end every session; a lock stays.

        :raises ApiError: 110 when another call was quicker, 503/201
        """
        await self._set_password(token, auth_pw, wrap_kb, client)

    async def reset(self, token: Token, auth_pw: bytes, client: Client) -> None:
        """Set a new password and a new kB, end every session, and lift a lock; kA stays.

        :raises ApiError: 110 when another call was quicker, 503/201
        """
        await self._set_password(token, auth_pw, None, client)
        await self._customs.password_reset(emailaddress.normalize(token.email))

    async def send_forgot_code(
        self, email: str, client: Client, options: LinkOptions
    ) -> tuple[bytes, TokenKeys, ForgotStatus]:
        """Mail a code for a new password; the answer is the account's uid (16 bytes), the token, and its status.

        :raises ApiError: 102, 114
        """
        await self._customs.check(client.ip, emailaddress.normalize(email), "passwordForgotSendCode")
        account = await self._passwords.find_account(email)
        token, pass_code = self._mint(TokenKind.PASSWORD_FORGOT), self._random(PASS_CODE_LENGTH)
        now_ms, language = time_ms(self._clock), client.accept_language
        letter = Letter(MailKind.RESET, account.uid, account.email, pass_code, token.data, options, language)
        try:
            await self._store.change(
                self._store.tokens.add_single(token, account.uid, now_ms, "account is there", pass_code, TRIES),
                self._store.mails.queue(letter, now_ms, "account is there"),
            )
        except DemandFailed:
            raise errors.unknown_account(email) from None
        self._mail_queued(letter.kind, letter.uid)
        ttl_s = self._lifetimes.seconds_left(TokenKind.PASSWORD_FORGOT, now_ms, now_ms)
        return account.uid, token, ForgotStatus(ttl_s, TRIES)

    async def resend_forgot_code(self, token: Token, client: Client, options: LinkOptions) -> ForgotStatus:
        """Mail the same code and link again, to the account's own address.

        :raises ApiError: 110 when the account has gone, 114
        """
        await self._customs.check(client.ip, emailaddress.normalize(token.email), "passwordForgotResendCode")
        pass_code, language = _pass_code(token), client.accept_language
        letter = Letter(MailKind.RESET, token.uid, token.email, pass_code, token.data, options, language)
        try:
            await self._store.change(self._store.mails.queue(letter, time_ms(self._clock), "account is there"))
        except DemandFailed:
            raise errors.invalid_token() from None
        self._mail_queued(letter.kind, letter.uid)
        return self.forgot_status(token)

    async def verify_forgot_code(self, token: Token, code: bytes) -> TokenKeys:
        """An accountResetToken for the right code, which also verifies the address and unlocks the account.

        As the mail has arrived, the account may have mail again.

        :raises ApiError: 105 with tries and ttl; 110 when the token has meanwhile been used up
        """
        if not hmac.compare_digest(code, _pass_code(token)):
            raise errors.invalid_verification_code(**await self._count_wrong_code(token))
        reset, now_ms = self._mint(TokenKind.ACCOUNT_RESET), time_ms(self._clock)
        try:
            *_, lifted = await self._store.change(
                self._store.accounts.hold(token.uid),
                self._store.tokens.consume(token, "token is there"),
                self._store.accounts.verify_email(token.uid),
                *self._store.events.unlocked(token.uid, token.email, now_ms),
                self._store.accounts.unlock(token.uid),
                self._store.tokens.add_single(reset, token.uid, now_ms, "account is there"),
                self._store.suppressions.lift(token.uid, now_ms),
            )
        except DemandFailed:
            raise errors.invalid_token() from None
        if lifted:
            _log.info("mail.unblocked", uid=token.uid.hex())
        await self._customs.unlocked(emailaddress.normalize(token.email))
        return reset

    def forgot_status(self, token: Token) -> ForgotStatus:
        ttl_s = self._lifetimes.seconds_left(TokenKind.PASSWORD_FORGOT, token.created_at_ms, time_ms(self._clock))
        return ForgotStatus(ttl_s, token.tries or 0)

    async def _count_wrong_code(self, token: Token) -> dict[str, int]:
        try:
            [[row], _] = await self._store.change(
                self._store.tokens.count_try(token, "token is there"), self._store.tokens.delete_exhausted(token)
            )
        except DemandFailed:
            raise errors.invalid_token() from None
        return {"tries": row["tries"], "ttl": self.forgot_status(token).ttl_s}

    async def _set_password(self, token: Token, auth_pw: bytes, wrap_kb: bytes | None, client: Client) -> None:
        """A change with the wrapKb to keep, or a reset without one.

        Hash first, then use the token up and set the password in one change: a crash between costs nothing.
        """
        verifier, _ = await self._passwords.make_verifier(auth_pw, client, wrap_kb)
        accounts, events, uid, now_ms = self._store.accounts, self._store.events, token.uid, time_ms(self._clock)
        further: Sequence[Statement]
        if wrap_kb is None:
            unlocking = (*events.unlocked(uid, token.email, now_ms), accounts.unlock(uid))
            further = (*events.reset(uid, self._domain, now_ms), *unlocking)
        else:
            further = events.password_changed(uid, self._domain, now_ms)
        try:
            await self._store.change(
                accounts.hold(uid),
                self._store.tokens.consume(token, "token is there"),
                accounts.set_verifier(uid, verifier, now_ms),
                self._store.tokens.delete_all(uid),
                *further,
            )
        except DemandFailed:
            raise errors.invalid_token() from None
        _log.info("account.password_set", uid=uid.hex())

    def _mint(self, kind: TokenKind) -> TokenKeys:
        return derive(kind, self._random(DATA_LENGTH))


def _pass_code(token: Token) -> bytes:
    assert token.pass_code is not None, "only a passwordForgotToken comes here, and it always has a code"
    return token.pass_code

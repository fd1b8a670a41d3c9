"""Codes that come back from mails: verifying an address, and unlocking a locked account. Sees no HTTP."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fxa_auth import emailaddress, errors
from fxa_auth.clock import time_ms
from fxa_auth.customs import Customs
from fxa_auth.passwords import Passwords
from fxa_auth.records import Account, Client, Letter, LinkOptions, MailKind, Token
from fxa_auth.store import Store
from fxa_auth.store.database import DemandFailed, Statement

_log = Logger()


class Verification:
    """The operations on mailed codes.

    Within ``resend_blackout_ms`` of its last password change an account is sent no further verification mail.
    ``mail_queued`` is called after a change that queued a mail, with its kind and its account's uid.
    """

    def __init__(
        self,
        store: Store,
        passwords: Passwords,
        customs: Customs,
        clock: IReactorTime,
        resend_blackout_ms: int,
        mail_queued: Callable[[MailKind, bytes], None],
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._customs = customs
        self._clock = clock
        self._resend_blackout_ms = resend_blackout_ms
        self._mail_queued = mail_queued

    async def resend_email_code(self, session: Token, client: Client, options: LinkOptions) -> None:
        """Mail the same code again, unless the address is verified or the last mail is too recent.

        :raises ApiError: 110 when the account has gone, 114
        """
        is_recent = time_ms(self._clock) - session.verifier_set_at_ms < self._resend_blackout_ms
        if session.email_verified or is_recent:
            return
        await self._customs.check(client.ip, emailaddress.normalize(session.email), "recoveryEmailResendCode")
        account = await self._store.accounts.by_uid(session.uid)
        if account is None:
            raise errors.invalid_token()
        code, language = account.email_code, client.accept_language
        letter = Letter(MailKind.VERIFY, account.uid, account.email, code, None, options, language)
        await self._queue(letter, errors.invalid_token())

    async def verify_email_code(self, uid: bytes, code: bytes) -> None:
        """Mark the account's address as verified and record the event, once.

        A verified account takes any code; the right one still shows that its mail is read.

        :raises ApiError: 102, 105
        """
        account = await self._find(uid)
        is_right = hmac.compare_digest(code, account.email_code)
        if account.email_verified:
            if is_right:
                await self._change_and_unblock(uid)
            return
        if not is_right:
            raise errors.invalid_verification_code()
        event = self._store.events.verified(uid, account.email, account.locale, time_ms(self._clock))
        try:
            await self._store.change(self._store.accounts.verify_email(uid, "email is unverified"), *event)
        except DemandFailed:
            return
        _log.info("event.verified", uid=uid.hex())

    async def resend_unlock_code(self, email: str, client: Client, options: LinkOptions) -> bytes:
        """Mail the code that unlocks the account; the answer is its uid (16 bytes).

        :raises ApiError: 102, 114, 122
        """
        await self._customs.check(client.ip, emailaddress.normalize(email), "accountUnlockResendCode")
        account = await self._passwords.find_account(email)
        if account.unlock_code is None:
            raise errors.account_not_locked(email)
        code, language = account.unlock_code, client.accept_language
        letter = Letter(MailKind.UNLOCK, account.uid, account.email, code, None, options, language)
        await self._queue(letter, errors.unknown_account(email))
        return account.uid

    async def verify_unlock_code(self, uid: bytes, code: bytes) -> None:
        """Unlock the account and have the abuse policy forget its failed logins.

        :raises ApiError: 102, 105
        """
        account = await self._find(uid)
        if account.unlock_code is None:
            return
        if not hmac.compare_digest(code, account.unlock_code):
            raise errors.invalid_verification_code()
        event = self._store.events.unlocked(uid, account.email, time_ms(self._clock))
        await self._change_and_unblock(uid, *event, self._store.accounts.unlock(uid))
        _log.info("account.unlocked", uid=uid.hex())
        await self._customs.unlocked(account.normalized_email)

    async def _change_and_unblock(self, uid: bytes, *steps: Statement) -> None:
        """Carry out the steps; as a mail to the account has arrived, it may have mail again."""
        *_, lifted = await self._store.change(*steps, self._store.suppressions.lift(uid, time_ms(self._clock)))
        if lifted:
            _log.info("mail.unblocked", uid=uid.hex())

    async def _find(self, uid: bytes) -> Account:
        account = await self._store.accounts.by_uid(uid)
        if account is None:
            raise errors.unknown_account()
        return account

    async def _queue(self, letter: Letter, gone: errors.ApiError) -> None:
        mail = self._store.mails.queue(letter, time_ms(self._clock), "account is there")
        try:
            await self._store.change(mail)
        except DemandFailed:
            raise gone from None
        self._mail_queued(letter.kind, letter.uid)

"""Whether a letter still says something true when its turn to be sent comes: its code may have been used meanwhile.

Sees no mail server and no queue.
"""

from __future__ import annotations

import hmac

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fxa_auth.clock import time_ms
from fxa_auth.records import Account, Letter, MailKind, TokenKind
from fxa_auth.store import Store
from fxa_auth.store.seal import BrokenSeal
from fxa_auth.tokens import Lifetimes, derive

_log = Logger()


class Letters:
    """Compares letters with the accounts and tokens that they are about."""

    def __init__(self, store: Store, lifetimes: Lifetimes, clock: IReactorTime) -> None:
        self._store = store
        self._lifetimes = lifetimes
        self._clock = clock

    async def outdated(self, letter: Letter) -> str | None:
        """Why the code in the letter is of no use any more, in a few words; None if it is, or if nobody can tell.

        :raises DatabaseUnavailable: the store does not answer
        """
        try:
            if letter.kind is MailKind.RESET:
                return await self._outdated_reset(letter)
            account = await self._store.accounts.by_uid(letter.uid)
        except BrokenSeal as error:
            _log.error("mail.not_compared", kind=letter.kind.value, uid=letter.uid.hex(), reason=str(error))
            return None
        if account is None:
            return "the account is gone"
        return (
            _outdated_verify(letter, account) if letter.kind is MailKind.VERIFY else _outdated_unlock(letter, account)
        )

    async def _outdated_reset(self, letter: Letter) -> str | None:
        kind = TokenKind.PASSWORD_FORGOT
        token = letter.token and await self._store.tokens.find(kind, derive(kind, letter.token).id_hash)
        if not token:
            return "the passwordForgotToken is gone"
        if self._lifetimes.is_expired(kind, token.created_at_ms, time_ms(self._clock)):
            return "the passwordForgotToken has expired"
        return None if _is_equal(letter.code, token.pass_code) else "the passwordForgotToken has another code"


def _outdated_verify(letter: Letter, account: Account) -> str | None:
    if account.email_verified:
        return "the address is verified already"
    return None if _is_equal(letter.code, account.email_code) else "the account has another code"


def _outdated_unlock(letter: Letter, account: Account) -> str | None:
    if account.unlock_code is None:
        return "the account is not locked"
    return None if _is_equal(letter.code, account.unlock_code) else "the account has another unlock code"


def _is_equal(code: bytes, current: bytes | None) -> bool:
    return current is not None and hmac.compare_digest(code, current)

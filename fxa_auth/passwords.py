"""Passwords as every operation needs them: making a verifier, and checking one with all that a failure entails.

The order is the same everywhere: abuse policy, unknown account (102), locked account (121), password (103 or 120).
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fxa_auth import emailaddress, errors, onepw
from fxa_auth.clock import time_ms
from fxa_auth.customs import Customs, Guess
from fxa_auth.records import Account, Client, Verifier
from fxa_auth.store import Store
from fxa_auth.store.database import DemandFailed, Statement

_log = Logger()

_UNLOCKED = "account is not locked"


class Stretcher(Protocol):
    async def stretch(self, auth_pw: bytes, auth_salt: bytes, client_address: str) -> bytes:
        """scrypt over both (32 bytes each); raises ApiError 503/201 when too much is waiting."""


@dataclass(frozen=True)
class Authenticated:
    """An account whose password was just seen, and its wrapKb (32 bytes).

    ``steps`` have to stand in the change that is made of it.
    """

    account: Account
    wrap_kb: bytes = field(repr=False)
    steps: Sequence[Statement]


class Passwords:
    """Makes verifiers of the given version and checks passwords against stored ones of any version.

    Every ``auth_pw`` and ``wrap_kb`` is 32 bytes.
    """

    def __init__(
        self,
        store: Store,
        customs: Customs,
        stretcher: Stretcher,
        random: Callable[[int], bytes],
        clock: IReactorTime,
        verifier_version: int,
        lockout_enabled: bool,
    ) -> None:
        self._store = store
        self._customs = customs
        self._stretcher = stretcher
        self._random = random
        self._clock = clock
        self._verifier_version = verifier_version
        self._lockout_enabled = lockout_enabled

    async def make_verifier(
        self, auth_pw: bytes, client: Client, wrap_kb: bytes | None = None
    ) -> tuple[Verifier, bytes]:
        """A verifier under a new salt, and the wrapKb that it wraps: the one given, or else one drawn at random.

        :raises ApiError: 503/201, too many hashes are pending
        """
        version, auth_salt = self._verifier_version, self._random(onepw.KEY_LENGTH)
        stretched = await self._stretch(version, auth_pw, auth_salt, client)
        if wrap_kb is None:
            wrap_wrap_kb = self._random(onepw.KEY_LENGTH)
            wrap_kb = onepw.swap_wrap(wrap_wrap_kb, stretched, version)
        else:
            wrap_wrap_kb = onepw.swap_wrap(wrap_kb, stretched, version)
        return Verifier(version, auth_salt, onepw.verify_hash(stretched, version), wrap_wrap_kb), wrap_kb

    @asynccontextmanager
    async def authenticated(
        self, email: str, auth_pw: bytes, action: str, client: Client
    ) -> AsyncIterator[Authenticated]:
        """The account of this address, if the password is right; within the context something is made of that.

        :raises ApiError: 114 (abuse policy), 102, 121, 103, 120, or 503/201; at the end of the context 121 or 103 if
            the account was locked, or its password changed, in the meantime
        """
        normalized_email = emailaddress.normalize(email)
        await self._customs.check(client.ip, normalized_email, action)
        await self._find_unlocked(email)
        async with self._customs.guess(client.ip, normalized_email, action) as guess:
            account = await self._find_unlocked(email)  # anew: this guess may have waited for others
            wrap_kb = await self.check(account, email, auth_pw, client, guess)
            unlocked = self._store.accounts.require_unlocked(account.uid, _UNLOCKED)
            try:
                yield Authenticated(account, wrap_kb, (unlocked, *guess.if_right))
            except DemandFailed as failed:
                if failed.demand == _UNLOCKED:
                    raise errors.account_locked() from None
                raise errors.incorrect_password(account.email) from None

    async def _find_unlocked(self, email: str) -> Account:
        account = await self.find_account(email)
        if account.locked_at_ms is not None:
            raise errors.account_locked()
        return account

    async def find_account(self, email: str) -> Account:
        """The account of this address, in any case of letters.

        :raises ApiError: 102
        """
        account = await self._store.accounts.by_email(emailaddress.normalize(email))
        if account is None:
            raise errors.unknown_account(email)
        return account

    async def check(self, account: Account, email_as_sent: str, auth_pw: bytes, client: Client, guess: Guess) -> bytes:
        """The account's wrapKb, if the password is right.

        A wrong one is reported to the abuse policy, which may have the account locked. Whoever guessed while another's
        guess had it locked is told no more than that.

        :raises ApiError: 103, or 120 when the address was sent in another case than it is stored in; 121; 503/201
        """
        verifier = account.verifier
        stretched = await self._stretch(verifier.version, auth_pw, verifier.auth_salt, client)
        if hmac.compare_digest(onepw.verify_hash(stretched, verifier.version), verifier.verify_hash):
            return onepw.swap_wrap(verifier.wrap_wrap_kb, stretched, verifier.version)
        if await guess.wrong() and self._lockout_enabled and not await self.lock(account):
            raise errors.account_locked()
        if email_as_sent != account.email:
            raise errors.incorrect_email_case(account.email)
        raise errors.incorrect_password(account.email)

    async def lock(self, account: Account) -> bool:
        """Lock the account with a fresh unlock code; no mail is sent until its owner asks. False if it was locked."""
        now_ms = time_ms(self._clock)
        event = self._store.events.locked(account.uid, account.email, now_ms)
        lock = self._store.accounts.lock(account.uid, now_ms, self._random(16))
        *_, locked = await self._store.change(*event, lock)
        if locked:
            _log.info("account.locked", uid=account.uid.hex())
        return bool(locked)

    async def _stretch(self, version: int, auth_pw: bytes, auth_salt: bytes, client: Client) -> bytes:
        if version == 0:
            return onepw.stretch_version_0(auth_pw, auth_salt)
        return await self._stretcher.stretch(auth_pw, auth_salt, client.ip)

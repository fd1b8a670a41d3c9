"""What an operator may do to somebody's account without its password: look, verify, unlock, sign out, remove.

Each is one ordinary change of the store, good while daemons work on the same database. Whether the operator may is
decided by who can run commands and read the keys; nothing here asks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fxa_auth import emailaddress
from fxa_auth.clock import time_ms
from fxa_auth.customs import Customs
from fxa_auth.records import Account, Suppression, Tally, TokenKind
from fxa_auth.store import Store
from fxa_auth.store.database import DemandFailed
from fxa_auth.tokens import Lifetimes

_log = Logger()

_UID_HEX = re.compile("[0-9A-Fa-f]{32}")


@dataclass(frozen=True)
class Belongings:
    """What belongs to an account: its live tokens by kind (only kinds of which there are any), and its mails.

    ``suppression`` is why it gets none at present.
    """

    tokens: Mapping[TokenKind, Tally]
    queued_mails: Tally | None
    dead_letters: Tally | None
    suppression: Suppression | None


class Administration:
    """The operations of an operator. ``domain`` is that of the server's certificates.

    Those that change something may be repeated: the second time there is nothing to do, and the answer says so.
    """

    def __init__(self, store: Store, customs: Customs, lifetimes: Lifetimes, clock: IReactorTime, domain: str) -> None:
        self._store = store
        self._customs = customs
        self._lifetimes = lifetimes
        self._clock = clock
        self._domain = domain

    async def find(self, name: str) -> Account | None:
        """The account of this address, in any case of letters, or else of this uid (32 hex digits)."""
        account = await self._store.accounts.by_email(emailaddress.normalize(name))
        if account is None and _UID_HEX.fullmatch(name):
            account = await self._store.accounts.by_uid(bytes.fromhex(name))
        return account

    async def belongings(self, account: Account) -> Belongings:
        now_ms = time_ms(self._clock)
        tallies = await self._store.tokens.tally(account.uid)
        live = {
            kind: tally
            for kind, tally in tallies.items()
            if not self._lifetimes.is_expired(kind, tally.oldest_at_ms, now_ms)
        }
        queued_mails, dead_letters = await self._store.mails.tally(account.uid)
        suppression = await self._store.suppressions.find(account.uid, now_ms)
        return Belongings(live, queued_mails, dead_letters, suppression)

    async def verify(self, account: Account) -> bool:
        """Mark the address as verified and record the event; False if it was so already, or the account has gone."""
        event = self._store.events.verified(account.uid, account.email, account.locale, time_ms(self._clock))
        try:
            await self._store.change(self._store.accounts.verify_email(account.uid, "email is unverified"), *event)
        except DemandFailed:
            return False
        _log.info("event.verified", uid=account.uid.hex())
        return True

    async def unlock(self, account: Account) -> bool:
        """Unlock the account and have the abuse policy forget its failed logins; False if it was not locked."""
        if account.locked_at_ms is None:
            return False
        event = self._store.events.unlocked(account.uid, account.email, time_ms(self._clock))
        await self._store.change(*event, self._store.accounts.unlock(account.uid))
        _log.info("account.unlocked", uid=account.uid.hex())
        await self._customs.unlocked(account.normalized_email)
        return True

    async def sign_out(self, account: Account) -> tuple[int, int]:
        """End all sessions and void what was given out to fetch keys; how many there were of each."""
        delete_kind = self._store.tokens.delete_kind
        sessions, key_fetches = await self._store.change(
            delete_kind(account.uid, TokenKind.SESSION), delete_kind(account.uid, TokenKind.KEY_FETCH)
        )
        _log.info("account.signed_out", uid=account.uid.hex(), sessions=len(sessions))
        return len(sessions), len(key_fetches)

    async def delete(self, account: Account) -> bool:
        """Remove the account and all that belongs to it, and record the event; False if it had gone already."""
        event = self._store.events.deleted(account.uid, self._domain, time_ms(self._clock))
        removal = (
            self._store.invites.give_back(account.uid),
            self._store.accounts.remove(account.uid, "account is there"),
        )
        try:
            await self._store.change(*event, *removal)
        except DemandFailed:
            return False
        _log.info("event.delete", uid=account.uid.hex())
        return True

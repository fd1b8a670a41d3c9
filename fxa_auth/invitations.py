"""What an operator does with invites: make one, see them all, take one back. ``registration`` says whom they let in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.interfaces import IReactorTime

from fxa_auth import emailaddress
from fxa_auth.clock import time_ms
from fxa_auth.invitecodes import ENTROPY_LENGTH, code_hash, invite_code
from fxa_auth.records import Invite
from fxa_auth.store import Store

_ID_LENGTH = 8
_ID_HEX = re.compile("[0-9A-Fa-f]{16}")


@dataclass(frozen=True)
class Made:
    """A new invite. ``code`` exists only here: who does not hand it on now has to make another one."""

    invite: Invite
    code: str | None = field(repr=False)


class Invitations:
    """The operations of an operator, good while daemons work on the same database."""

    def __init__(self, store: Store, random: Callable[[int], bytes], clock: IReactorTime) -> None:
        self._store = store
        self._random = random
        self._clock = clock

    async def create(self, email: str | None, lifetime_ms: int | None, uses: int) -> Made:
        """Invite the owner of an address, or, without one, whoever shows the code. ``lifetime_ms`` None is for ever."""
        now_ms = time_ms(self._clock)
        code = invite_code(self._random(ENTROPY_LENGTH)) if email is None else None
        invite = Invite(
            id=self._random(_ID_LENGTH),
            normalized_email=None if email is None else emailaddress.normalize(email),
            uses=uses,
            uses_left=uses,
            created_at_ms=now_ms,
            expires_at_ms=None if lifetime_ms is None else now_ms + lifetime_ms,
        )
        await self._store.change(self._store.invites.add(invite, None if code is None else code_hash(code)))
        return Made(invite, code)

    async def all(self) -> list[Invite]:
        """Every invite that is not forgotten yet, the oldest first."""
        return await self._store.invites.all()

    async def has_account(self, email: str) -> bool:
        """Tell whether an invite for this address would let nobody in, as its owner is in already."""
        account = await self._store.accounts.by_email(emailaddress.normalize(email))
        return account is not None and account.email_verified

    def is_expired(self, invite: Invite) -> bool:
        return invite.is_expired(time_ms(self._clock))

    async def revoke(self, name: str) -> list[bytes]:
        """Take back the invite of this id (16 hex digits), or all those for this address; the answer is their ids.

        Accounts that came by them stay.
        """
        invites = self._store.invites
        is_id = _ID_HEX.fullmatch(name)
        [rows] = await self._store.change(
            invites.revoke(bytes.fromhex(name)) if is_id else invites.revoke_for(emailaddress.normalize(name))
        )
        return [row["id"] for row in rows]

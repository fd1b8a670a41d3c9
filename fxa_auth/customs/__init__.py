"""The abuse policy: who is asked before sensitive actions, and told how tries of a password end.

``Customs`` is what the domain needs of a policy. This module holds the one that has none; ``builtin`` counts in the
store, ``remote`` asks a separate customs server. No policy knows accounts or requests: all it hears is an ip, a
lower-cased address and an action.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

Step = Any
"""One step of a change of the store; a policy has it from the store and does not look into it."""


class Guess(Protocol):
    """Leave to try one password. Whoever does not find it ``wrong`` has found it right, or has not come to try it."""

    @property
    def if_right(self) -> Sequence[Step]:
        """Steps that have to stand in the change that a right password leads to."""

    async def wrong(self) -> bool:
        """Tell that the password was wrong. True means that the account is to be locked."""


class Customs(Protocol):
    """An abuse policy (docs/protocol.md, "The abuse policy"). ``ip`` is an address as text; emails are lower-cased."""

    async def check(self, ip: str, email: str, action: str) -> None:
        """Return if ``action`` (``accountLogin``, ``accountCreate``, ...) may go on; else raise 429/114."""

    def guess(self, ip: str, email: str, action: str) -> AbstractAsyncContextManager[Guess]:
        """Leave to try a password within the context, for an action that was checked; or else 429/114.

        It may be long in coming, while others from the same client try theirs.
        """

    async def password_reset(self, email: str) -> None:
        """Tell that the account was given a new password by mail: its failed logins no longer count, from anywhere."""

    async def unlocked(self, email: str) -> None:
        """Tell that the account was unlocked: its failed logins no longer count towards locking it."""


class NoCustoms:
    """The policy of ``customsUrl = "none"``: everything may go on."""

    async def check(self, ip: str, email: str, action: str) -> None:
        pass

    @asynccontextmanager
    async def guess(self, ip: str, email: str, action: str) -> AsyncIterator[Guess]:
        yield _FreeGuess()

    async def password_reset(self, email: str) -> None:
        pass

    async def unlocked(self, email: str) -> None:
        pass


class _FreeGuess:
    if_right: Sequence[Step] = ()

    async def wrong(self) -> bool:
        return False

"""The abuse policy: who is asked before sensitive actions, and told of failed logins.

``Customs`` is what the domain needs of a policy. This module holds the one that has none; ``remote`` asks a separate
customs server. No policy knows accounts or requests: all it hears is an ip, a lower-cased address and an action.
"""

from __future__ import annotations

from typing import Protocol


class Customs(Protocol):
    """An abuse policy (docs/protocol.md, "The abuse policy"). ``ip`` is an address as text; emails are lower-cased."""

    async def check(self, ip: str, email: str, action: str) -> None:
        """Return if ``action`` (``accountLogin``, ``accountCreate``, ...) may go on; else raise 429/114."""

    async def failed_login(self, ip: str, email: str) -> bool:
        """Tell of a wrong password. True means that the account is to be locked."""

    async def password_reset(self, email: str) -> None:
        """Tell that the account was given a new password by mail: its failed logins no longer count, from anywhere."""

    async def unlocked(self, email: str) -> None:
        """Tell that the account was unlocked: its failed logins no longer count towards locking it."""


class NoCustoms:
    """The policy of ``customsUrl = "none"``: everything may go on."""

    async def check(self, ip: str, email: str, action: str) -> None:
        pass

    async def failed_login(self, ip: str, email: str) -> bool:
        return False

    async def password_reset(self, email: str) -> None:
        pass

    async def unlocked(self, email: str) -> None:
        pass

"""Sessions: counting those of an account, ending one. Sees no HTTP."""

from __future__ import annotations

from fxa_auth import errors
from fxa_auth.records import Token
from fxa_auth.store import Store
from fxa_auth.store.database import DemandFailed


class Sessions:
    """The operations on sessions; every ``session`` is a live sessionToken."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def count(self, session: Token) -> int:
        """How many sessions the account of this session has, this one included."""
        return await self._store.tokens.count_sessions(session.uid)

    async def destroy(self, session: Token) -> None:
        """:raises ApiError: 110 when another call was quicker"""
        try:
            await self._store.change(self._store.tokens.consume(session, "token is there"))
        except DemandFailed:
            raise errors.invalid_token() from None

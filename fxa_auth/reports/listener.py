"""The listener for reports: it owns the conversations with relays, bounds their number, and ends them.

Where it listens is for its owner to say; it may be in several places.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory

from fxa_auth.reports.conversation import Conversation
from fxa_auth.reports.intake import Intake

MAX_CONNECTIONS = 50
"""At once, over all places."""


class ReportListener(ServerFactory):
    """Makes the conversations; ``name`` is the domain that it greets with."""

    noisy = False

    def __init__(self, clock: IReactorTime, intake: Intake, name: str) -> None:
        self._clock = clock
        self._intake = intake
        self._name = name
        self._open: set[Conversation] = set()
        self._emptied: Deferred[None] | None = None
        self._is_closing = False

    def buildProtocol(self, addr: IAddress | None) -> Conversation:
        welcome = len(self._open) < MAX_CONNECTIONS and not self._is_closing
        conversation = Conversation(self._clock, self._intake, self._name, welcome, self._forget)
        self._open.add(conversation)
        return conversation

    async def drain(self) -> None:
        """Let the mails in hand be answered, and end all connections. May be cancelled: they are then broken off."""
        self._is_closing = True
        if not self._open:
            return
        self._emptied = Deferred(lambda _: self._abort_all())
        for conversation in list(self._open):
            conversation.close()
        await self._emptied

    def statistics(self) -> Mapping[str, object]:
        return {**self._intake.statistics(), "connections": len(self._open)}

    def _abort_all(self) -> None:
        for conversation in list(self._open):
            conversation.abort()

    def _forget(self, conversation: Conversation) -> None:
        self._open.remove(conversation)
        if not self._open and self._emptied is not None and not self._emptied.called:
            self._emptied.callback(None)

"""A relay that brings mails: it says what it is told to, and hears each answer."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure


class Relay(LineReceiver):
    """``gone`` fires when the connection is."""

    def __init__(self) -> None:
        self.gone: Deferred[None] = Deferred()
        self._answers: DeferredQueue[str] = DeferredQueue()

    def lineReceived(self, line: bytes) -> None:
        self._answers.put(line.decode())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._answers.put("(gone)")
        self.gone.callback(None)

    async def answer(self) -> str:
        """The next line that the server has said; ``(gone)`` after the last."""
        return await self._answers.get()

    async def say(self, *lines: str | bytes) -> list[str]:
        """Say line by line, and hear the one-line answer to each; what the server says then is the answer."""
        answers = []
        for line in lines:
            self.sendLine(line.encode() if isinstance(line, str) else line)
            answers.append(await self.answer())
        return answers

    async def codes(self, *lines: str | bytes) -> list[int]:
        """The codes of the answers."""
        return [int(answer[:3]) for answer in await self.say(*lines)]

    async def bring(self, recipient: str, content: bytes, sender: str = "") -> str:
        """Bring a mail; what the server says in the end, or where it first does not go along."""
        for line in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA"):
            [answer] = await self.say(line)
            if answer[0] not in "23":
                return answer
        self.send_content(content.splitlines())
        return await self.answer()

    def send_content(self, lines: Sequence[bytes]) -> None:
        """What follows DATA, to the dot."""
        stuffed = (b"." + line if line.startswith(b".") else line for line in lines)
        self.transport.write(b"".join(line + b"\r\n" for line in stuffed) + b".\r\n")

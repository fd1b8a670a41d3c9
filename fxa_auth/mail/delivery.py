"""What is done with one mail whose turn has come: it is sent, put off, given up or dropped, and that is told.

When its turn comes, and how many mails are in hand together, is the business of ``outbox``. What speaks SMTP, where
the queue is kept and what makes a letter outdated come in by the constructor.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import Enum, auto
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fxa_auth.backoff import Backoff
from fxa_auth.clock import time_ms
from fxa_auth.mail.compose import Message
from fxa_auth.mail.failures import MailNotSent
from fxa_auth.records import ClaimedMail, Letter, MailKind

_log = Logger()

MANY_REFUSED = 3
"""So many mails that were refused at their first attempt, one after the other, show a fault of the server."""


class ClaimedMails(Protocol):
    """What can be done with a claimed mail; ids are 16 bytes, times milliseconds since the epoch.

    Any method may fail with any exception. Nothing is done to a mail whose claim has run out, but for ``remove``.
    """

    async def release(self, mail: ClaimedMail, now_ms: int, answer: str | None) -> None:
        """Give the mail back as if it had not been tried; it is due at once."""

    async def defer(self, mail: ClaimedMail, due_at_ms: int, answer: str) -> None:
        """Count an attempt; the mail is next due at ``due_at_ms``."""

    async def bury(self, mail: ClaimedMail, now_ms: int, answer: str, attempts: int) -> None:
        """Make a dead letter of the mail, after so many further attempts (0 or 1)."""

    async def remove(self, mail_id: bytes) -> None:
        """Forget the mail."""

    async def hasten(self, now_ms: int) -> None:
        """Let every mail that waits for its next attempt be due now."""


class Server(Enum):
    """What a delivery has shown of the mail server."""

    WORKS = auto()
    FAILS = auto()
    WAS_NOT_ASKED = auto()


class MailCounts:
    """How many mails of each kind were queued, and what became of attempts, since the process started."""

    def __init__(self) -> None:
        events = ("queued", "sent", "deferred", "failed", "dropped")
        self._counts = {event: {kind.value: 0 for kind in MailKind} for event in events}

    def add(self, event: str, kind: MailKind) -> None:
        self._counts[event][kind.value] += 1

    def by_event(self) -> dict[str, Mapping[str, int]]:
        return {event: dict(by_kind) for event, by_kind in self._counts.items()}


class Delivery:
    """Delivers claimed mails, any number at a time.

    ``send`` gives the server's words, or raises ``MailNotSent`` where it did not take the message. ``outdated`` says
    why a letter is of no use any more, or None. At the age of ``max_age_ms`` a mail is given up.
    """

    def __init__(
        self,
        clock: IReactorTime,
        mails: ClaimedMails,
        compose: Callable[[Letter], Message],
        send: Callable[[Message], Awaitable[str]],
        outdated: Callable[[Letter], Awaitable[str | None]],
        retries: Backoff,
        max_age_ms: int,
        counts: MailCounts,
    ) -> None:
        self._clock = clock
        self._mails = mails
        self._compose = compose
        self._send = send
        self._outdated = outdated
        self._retries = retries
        self._max_age_ms = max_age_ms
        self._counts = counts
        self._refused_in_a_row = 0
        self._sent_but_queued: set[bytes] = set()

    async def deliver(self, mail: ClaimedMail, send_by_ms: int) -> Server:
        """Do with a mail what is to be done with it now. It is not sent later than ``send_by_ms``.

        Raises whatever ``mails`` and ``outdated`` raise.
        """
        if mail.id in self._sent_but_queued:
            await self._forget(mail)
        elif time_ms(self._clock) - mail.queued_at_ms >= self._max_age_ms:
            await self._give_up(mail, _too_old(mail), attempts=0)
        elif reason := await self._outdated(mail.letter):
            await self._drop(mail, reason)
        elif time_ms(self._clock) > send_by_ms:
            await self._mails.release(mail, time_ms(self._clock), None)
        else:
            return await self._attempt(mail)
        return Server.WAS_NOT_ASKED

    async def _attempt(self, mail: ClaimedMail) -> Server:
        try:
            answer = await self._send(self._compose(mail.letter))
        except MailNotSent as error:
            reason = _shown(error.reason, mail.letter)
            if error.for_good:
                await self._give_up(mail, reason, attempts=1, code=error.code)
                return Server.WORKS
            return await self._put_off(mail, reason, error)
        except Exception as error:
            self._counts.add("deferred", mail.letter.kind)
            _log.failure("mail.deferred", **_about(mail))
            await self._retry_later(mail, type(error).__name__)
            return Server.WAS_NOT_ASKED
        self._counts.add("sent", mail.letter.kind)
        _log.info("mail.sent", **_about(mail), answer=_shown(answer, mail.letter))
        await self._forget(mail)
        await self._hasten_the_refused()
        return Server.WORKS

    async def _put_off(self, mail: ClaimedMail, reason: str, error: MailNotSent) -> Server:
        self._counts.add("deferred", mail.letter.kind)
        _log.warn("mail.deferred", **_about(mail), code=error.code, reason=reason)
        answer = _with_code(error.code, reason)
        if error.server_failed:
            # The mail is not to blame: it goes out as soon as the server is back.
            await self._mails.release(mail, time_ms(self._clock), answer)
            return Server.FAILS
        if mail.attempts == 0:
            self._refused_in_a_row += 1
        await self._retry_later(mail, answer)
        return Server.WORKS

    async def _retry_later(self, mail: ClaimedMail, answer: str) -> None:
        pause_ms = self._retries.pause_ms(mail.attempts + 1)
        await self._mails.defer(mail, time_ms(self._clock) + pause_ms, answer)

    async def _give_up(self, mail: ClaimedMail, reason: str, attempts: int, code: int | None = None) -> None:
        self._counts.add("failed", mail.letter.kind)
        _log.warn("mail.failed", **_about(mail), code=code, reason=reason)
        await self._mails.bury(mail, time_ms(self._clock), _with_code(code, reason), attempts)

    async def _drop(self, mail: ClaimedMail, reason: str) -> None:
        self._counts.add("dropped", mail.letter.kind)
        _log.info("mail.dropped", **_about(mail), reason=reason)
        await self._mails.remove(mail.id)

    async def _forget(self, mail: ClaimedMail) -> None:
        """Take a mail that was sent out of the queue; if that fails it is not sent when it comes again."""
        self._sent_but_queued.add(mail.id)
        await self._mails.remove(mail.id)
        self._sent_but_queued.remove(mail.id)

    async def _hasten_the_refused(self) -> None:
        """After a success: if the server had refused everything until then, let the others go at once, too."""
        refused, self._refused_in_a_row = self._refused_in_a_row, 0
        if refused >= MANY_REFUSED:
            await self._mails.hasten(time_ms(self._clock))


def _about(mail: ClaimedMail) -> dict[str, Any]:
    kind, uid = mail.letter.kind.value, mail.letter.uid.hex()
    return {"id": mail.id.hex(), "kind": kind, "uid": uid, "attempts": mail.attempts + 1}


def _too_old(mail: ClaimedMail) -> str:
    last_answer = f"; the last answer was: {mail.last_answer}" if mail.last_answer else ""
    return f"too old to be tried again{last_answer}"


def _with_code(code: int | None, reason: str) -> str:
    return reason if code is None else f"{code} {reason}"


def _shown(answer: str, letter: Letter) -> str:
    """A server's answer, or why there was none, without the letter's secrets and on one printable line."""
    # Content filters quote what they dislike: the link, most likely, or a part of it.
    if any(piece in answer.lower() for secret in (letter.code, letter.token or b"") for piece in _pieces(secret.hex())):
        return "(not shown: it quotes the mail)"
    return "".join(char if char.isprintable() else "?" for char in answer)


def _pieces(digits: str) -> Iterator[str]:
    """Every run of eight of the digits: as much as nobody guesses, and no server says by chance."""
    return (digits[start : start + 8] for start in range(len(digits) - 7))

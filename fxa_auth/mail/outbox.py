"""The delivery loop: takes queued mails in turn, has them composed and sent, and tries again what failed.

A mail leaves the queue only when a server has taken it over, or refused it for good. The loop refuses to know where
the queue is kept and what speaks SMTP: both come in by the constructor.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fxa_auth.clock import time_ms
from fxa_auth.mail.compose import Message
from fxa_auth.mail.smtp import MailNotSent
from fxa_auth.records import Letter, QueuedMail

_log = Logger()


class MailQueue(Protocol):
    """The queue as the loop sees it; ids are 16 bytes, times milliseconds since the epoch.

    Any method may fail with any exception: the loop logs it, pauses and asks again.
    """

    async def due(self, now_ms: int, limit: int) -> Sequence[QueuedMail]:
        """At most ``limit`` mails whose time has come, the longest due first; empty only if there are none."""

    async def next_due_ms(self) -> int | None:
        """When the next mail's time comes, perhaps in the past; None when the queue is empty."""

    async def remove(self, mail_id: bytes) -> None:
        """Forget the mail."""

    async def failed(self, mail_id: bytes, retry_at_ms: int) -> None:
        """Count an attempt; the mail is next due at ``retry_at_ms``."""


class Outbox:
    """Delivers what is in the queue, one mail at a time, between ``start`` and ``stop``.

    ``send`` raises ``MailNotSent`` where a server did not take the message and has a time limit of its own. A mail
    that failed is due again after ``retry_delay_ms``, and given up if it was refused for good; the others go on,
    unless the server as a whole or the queue failed: then everything rests for that time.
    """

    def __init__(
        self,
        clock: IReactorTime,
        queue: MailQueue,
        compose: Callable[[Letter], Message],
        send: Callable[[Message], Awaitable[None]],
        retry_delay_ms: int,
    ) -> None:
        self._clock = clock
        self._queue = queue
        self._compose = compose
        self._send = send
        self._retry_delay_ms = retry_delay_ms
        self._running: Deferred[None] | None = None
        self._stopping = False
        self._woken = False
        self._sleep: Deferred[None] | None = None
        self._resting = False
        self._done_but_queued: set[bytes] = set()

    def start(self) -> None:
        """Begin to deliver. Call it once."""
        self._running = Deferred.fromCoroutine(self._run())

    def wake(self) -> None:
        """Say that a mail was queued. Costs nothing when the loop is busy, resting or not running."""
        self._woken = True
        if not self._resting:
            self._end_sleep()

    async def stop(self) -> None:
        """Return when the mail in hand is done with; no other is begun."""
        self._stopping = True
        self._end_sleep()
        if self._running is not None:
            await self._running

    async def _run(self) -> None:
        while not self._stopping:
            self._woken = False
            try:
                server_works = await self._deliver_due()
                next_due_ms = await self._queue.next_due_ms() if server_works else None
            except Exception:
                _log.failure("mail.queue_failed")
                await self._rest()
            else:
                if server_works:
                    await self._sleep_until(next_due_ms)
                else:
                    await self._rest()

    async def _deliver_due(self) -> bool:
        """Try every mail that is due. False: the server failed, trying others now is of no use."""
        # One at a time: by the turn of the next its account may be gone, and the mail with it.
        while (mails := await self._queue.due(time_ms(self._clock), 1)) and not self._stopping:
            if not await self._deliver(mails[0]):
                return False
        return True

    async def _deliver(self, mail: QueuedMail) -> bool:
        """Send one mail and tell the queue. False: the server failed."""
        done = server_works = True
        try:
            # The queue may have failed to forget a mail that was sent or given up.
            if mail.id not in self._done_but_queued:
                await self._send(self._compose(mail.letter))
                _log.info("mail.sent", **_about(mail))
        except MailNotSent as error:
            done, server_works = error.for_good, not error.server_failed
            about = {**_about(mail), "code": error.code, "reason": _reason(mail, error)}
            if error.for_good:
                _log.warn("mail.given_up", **about)
            else:
                _log.warn("mail.deferred", **about)
        except Exception:
            done = False
            _log.failure("mail.failed", **_about(mail))
        if done:
            await self._forget(mail.id)
        else:
            await self._queue.failed(mail.id, time_ms(self._clock) + self._retry_delay_ms)
        return server_works

    async def _forget(self, mail_id: bytes) -> None:
        self._done_but_queued.add(mail_id)
        await self._queue.remove(mail_id)
        self._done_but_queued.remove(mail_id)

    async def _sleep_until(self, due_ms: int | None) -> None:
        """Sleep until then, ``wake`` or ``stop``; None means no time."""
        if not self._woken:
            await self._sleep_for(None if due_ms is None else max(0, due_ms - time_ms(self._clock)))

    async def _rest(self) -> None:
        """Sleep for the retry delay or until ``stop``."""
        self._resting = True
        await self._sleep_for(self._retry_delay_ms)
        self._resting = False

    async def _sleep_for(self, duration_ms: int | None) -> None:
        if self._stopping:
            return
        self._sleep = Deferred()
        alarm = None if duration_ms is None else self._clock.callLater(duration_ms / 1000, self._end_sleep)
        await self._sleep
        if alarm is not None and alarm.active():
            alarm.cancel()

    def _end_sleep(self) -> None:
        sleep, self._sleep = self._sleep, None
        if sleep is not None:
            sleep.callback(None)


def _about(mail: QueuedMail) -> dict[str, Any]:
    return {"kind": mail.letter.kind.value, "uid": mail.letter.uid.hex(), "attempts": mail.attempts + 1}


def _reason(mail: QueuedMail, error: MailNotSent) -> str:
    """Why a mail was not sent, without its secrets."""
    # Content filters quote what they dislike: the link, most likely, or its beginning.
    secrets = [mail.letter.code, mail.letter.token or mail.letter.code]
    quotes_mail = any(secret.hex()[:8] in error.reason.lower() for secret in secrets)
    return "(not shown: it quotes the mail)" if quotes_mail else error.reason

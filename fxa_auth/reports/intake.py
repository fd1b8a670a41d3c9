"""What may come in at the listener, and what becomes of it: a report is read and handed on, all else is dropped.

Whose account a report is about says the return path that it came to, and nothing in it. Whoever knows a return path
had the mail, so all that forged reports can do is to keep further mail from their author's own account.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from fxa_auth.clock import time_ms
from fxa_auth.records import MailFate, MailReport
from fxa_auth.reports.reading import NoReport, Reading, read
from fxa_auth.returnpath import NotAReturnPath, ReturnPaths

_log = Logger()

LARGE = 16_384
"""Octets from which a mail is read on a thread: the worst of this size take 25 ms."""

_MAX_TOLD = 200
"""Characters of what a stranger wrote that are told in the log."""


class Intake:
    """Takes mails in that come to ``return_paths``; ``report`` is given what they report.

    ``reactor`` lends its threads for mails that are large.
    """

    def __init__(
        self,
        reactor: Any,
        clock: IReactorTime,
        return_paths: ReturnPaths,
        report: Callable[[MailReport], Awaitable[None]],
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._return_paths = return_paths
        self._report = report
        self._counts = Counter({"reports": 0, "dropped": 0, "refused": 0, "putOff": 0})

    def statistics(self) -> Mapping[str, object]:
        """What became of mails, and of recipients that were refused, since the process started."""
        return dict(self._counts)

    def uid_of(self, recipient: str) -> bytes:
        """The uid (16 bytes) of the account that a mail to ``recipient`` is about.

        :raises NotAReturnPath: none, and the log tells of it
        :raises Exception: this cannot be said at present
        """
        try:
            return self._return_paths.uid_of(recipient, time_ms(self._clock))
        except NotAReturnPath as error:
            self._counts["refused"] += 1
            _log.warn("report.refused", recipient=_told(recipient), reason=str(error))
            raise

    async def take(self, uid: bytes, sender: str, content: bytes) -> None:
        """Do what a mail asks for, and return when that is done for good. Its lines end with LF.

        :raises Exception: it could not be done, and the mail has to come again
        """
        try:
            reading = await self._read(content)
            if sender and reading.fate is not MailFate.COMPLAINED:
                raise NoReport("delivery report with a sender")  # RFC 3464, 2: it must have none
        except NoReport as error:
            self._counts["dropped"] += 1
            _log.info("report.dropped", uid=uid.hex(), reason=str(error))
            return
        _log.info("report.taken", uid=uid.hex(), fate=reading.fate.value, reporter=_told(reading.reporter))
        now_ms = time_ms(self._clock)
        happened_at_ms = now_ms if reading.happened_at_ms is None else reading.happened_at_ms
        try:
            await self._report(MailReport(reading.fate, reading.recipient, happened_at_ms, reading.detail, uid))
        except Exception:
            self._counts["putOff"] += 1
            raise
        self._counts["reports"] += 1

    async def _read(self, content: bytes) -> Reading:
        if len(content) < LARGE:
            return read(content)
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), read, content)


def _told(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:_MAX_TOLD]

"""Bounces: what follows from mail that came back or was complained about, and how it is undone.

It is told of mails by whoever hears of them (``MailReport``), and refuses to know by which way: a queue, an SMTP
listener. An account that nobody verified is removed, as its owner cannot be reached; a verified one is kept, but gets
no mail for a while. Reports may come twice, late, and in any order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fxa_auth import emailaddress
from fxa_auth.clock import iso_utc, time_ms
from fxa_auth.records import Letter, MailFate, MailReport, Suppression
from fxa_auth.store import Store

_log = Logger()

MAX_REASON_LENGTH = 200
"""Characters of a reason that are kept."""


class Bounces:
    """Mail of an account is suppressed for ``suppression_time_ms`` after its last bounce or complaint; 0 is not at all.

    All methods raise DatabaseUnavailable, and have done nothing then.
    """

    def __init__(self, store: Store, clock: IReactorTime, suppression_time_ms: int) -> None:
        self._store = store
        self._clock = clock
        self._suppression_time_ms = suppression_time_ms
        self._counts = Counter({"deleted": 0, "suppressed": 0, "unchanged": 0, "unknown": 0, "soft": 0})

    def statistics(self) -> Mapping[str, object]:
        """How many reports had which outcome since the process started."""
        return dict(self._counts)

    async def handle(self, report: MailReport) -> None:
        """Do what a report asks for; a second time, nothing. No event is recorded: nobody wanted the account gone."""
        if report.fate is MailFate.DELAYED:
            self._counts["soft"] += 1
            _log.info("bounce.soft", reason=_reason(report))
        elif (uid := await self._recipient(report)) is None:
            self._counts["unknown"] += 1
            _log.info("bounce.unknown", reason=_reason(report))
        else:
            outcome = await self._apply(report, uid)
            self._counts[outcome] += 1
            _log.info("bounce.handled", outcome=outcome, uid=uid.hex(), reason=_reason(report))

    async def objection_to(self, letter: Letter) -> str | None:
        """Why a letter is not to be sent, in a word, and in the log at length; None if it is."""
        suppression = await self._store.suppressions.find(letter.uid, time_ms(self._clock))
        if suppression is None:
            return None
        uid_hex, reason, until = letter.uid.hex(), suppression.reason, iso_utc(suppression.until_ms)
        _log.info("mail.suppressed", kind=letter.kind.value, uid=uid_hex, reason=reason, until=until)
        return "suppressed"

    async def suppressions(self) -> list[Suppression]:
        """All accounts that get no mail at present, the newest report first."""
        return await self._store.suppressions.all(time_ms(self._clock))

    async def unblock(self, address: str) -> bool | None:
        """Let the account of an address have mail again; False if it had, None if there is none."""
        if (uid := await self._uid_of(address)) is None:
            return None
        [lifted] = await self._store.change(self._store.suppressions.lift(uid, time_ms(self._clock)))
        return bool(lifted)

    async def _recipient(self, report: MailReport) -> bytes | None:
        """The uid of the account that the mail was for."""
        if report.uid is None:
            return await self._uid_of(report.address)
        return report.uid if await self._store.accounts.exists(report.uid) else None

    async def _uid_of(self, address: str) -> bytes | None:
        if not emailaddress.is_valid(address):  # whatever it is, the store need not be able to take it
            return None
        return await self._store.accounts.uid_of(emailaddress.normalize(address))

    async def _apply(self, report: MailReport, uid: bytes) -> str:
        """Remove the account or suppress its mail; the answer is the outcome as it is counted.

        Which of the two it is, is decided by the steps themselves: it may be verified, or replaced, at this moment.
        """
        now_ms = time_ms(self._clock)
        steps = [self._store.invites.give_back(uid), self._store.accounts.remove_unverified(uid)]
        if self._suppression_time_ms:
            happened_at_ms, until_ms = min(report.happened_at_ms, now_ms), now_ms + self._suppression_time_ms
            add = self._store.suppressions.add
            steps.append(add(uid, _reason(report), happened_at_ms, now_ms, until_ms))
        _, deleted, *suppressed = await self._store.change(*steps)
        if deleted:
            return "deleted"
        return "suppressed" if any(suppressed) else "unchanged"


def _reason(report: MailReport) -> str:
    """What happened, on one printable line of bounded length: it goes into the log and onto terminals."""
    text = f"{report.fate.value}: {report.detail}" if report.detail else report.fate.value
    return "".join(char if char.isprintable() else "?" for char in text)[:MAX_REASON_LENGTH]

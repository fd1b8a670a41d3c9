"""A queue of mails in memory that can be made to fail, for tests of what stands on the queue."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fxa_auth.records import ClaimedMail, Letter, MailKind, Outlook

CODE = b"\xc0" * 16
TOKEN = b"\xd0" * 32
UID = b"\x01" * 16


@dataclass
class Entry:
    mail: ClaimedMail
    due_at_ms: int
    is_dead: bool = False


def a_letter(name: str) -> Letter:
    return Letter(MailKind.RESET, UID, f"{name}@example.com", CODE, TOKEN)


class MemoryQueue:
    """The port with a dict behind it: the names of mails to entries. ``asked`` counts the calls.

    ``is_down`` makes every call fail, ``is_deaf`` those that report what became of a mail.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.asked = 0
        self.is_down = False
        self.is_deaf = False

    def add(self, name: str, now_ms: int, due_at_ms: int | None = None) -> None:
        mail = ClaimedMail(name.encode(), b"", a_letter(name), now_ms, 0, None)
        self.entries[name] = Entry(mail, now_ms if due_at_ms is None else due_at_ms)

    def names(self) -> list[str]:
        """Of the mails that wait or are in hand."""
        return [name for name, entry in self.entries.items() if not entry.is_dead]

    def dead(self) -> dict[str, str | None]:
        """Each dead letter, and why it is one."""
        return {name: entry.mail.last_answer for name, entry in self.entries.items() if entry.is_dead}

    async def outlook(self) -> Outlook:
        self._ask()
        alive = [entry for entry in self.entries.values() if not entry.is_dead]
        due_at_ms = min((entry.due_at_ms for entry in alive), default=None)
        return Outlook(due_at_ms, min((entry.mail.queued_at_ms for entry in alive), default=None))

    async def claim(self, now_ms: int, until_ms: int, limit: int) -> list[ClaimedMail]:
        self._ask()
        alive = [entry for entry in self.entries.values() if not entry.is_dead and entry.due_at_ms <= now_ms]
        claimed = sorted(alive, key=lambda entry: entry.due_at_ms)[:limit]
        for entry in claimed:
            entry.mail, entry.due_at_ms = replace(entry.mail, claim=str(self.asked).encode()), until_ms
        return [entry.mail for entry in claimed]

    async def release(self, mail: ClaimedMail, now_ms: int, answer: str | None) -> None:
        self._end_claim(mail, now_ms, answer, attempts=0)

    async def defer(self, mail: ClaimedMail, due_at_ms: int, answer: str) -> None:
        self._end_claim(mail, due_at_ms, answer, attempts=1)

    async def bury(self, mail: ClaimedMail, now_ms: int, answer: str, attempts: int) -> None:
        self._end_claim(mail, now_ms, answer, attempts).is_dead = True

    async def remove(self, mail_id: bytes) -> None:
        self._ask(is_report=True)
        self.entries.pop(mail_id.decode(), None)

    async def hasten(self, now_ms: int) -> None:
        self._ask(is_report=True)
        for entry in self.entries.values():
            if not entry.mail.claim:
                entry.due_at_ms = min(entry.due_at_ms, now_ms)

    def _end_claim(self, mail: ClaimedMail, due_at_ms: int, answer: str | None, attempts: int) -> Entry:
        self._ask(is_report=True)
        entry = self.entries[mail.id.decode()]
        if entry.mail.claim == mail.claim:
            last_answer = entry.mail.last_answer if answer is None else answer
            attempts += entry.mail.attempts
            entry.mail = replace(entry.mail, claim=b"", attempts=attempts, last_answer=last_answer)
            entry.due_at_ms = due_at_ms
        return entry

    def _ask(self, is_report: bool = False) -> None:
        self.asked += 1
        if self.is_down or (is_report and self.is_deaf):
            raise OSError("database is gone")

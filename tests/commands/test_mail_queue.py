"""``fxa-auth mail queue``, ``retry`` and ``drop`` as an operator types them, alone and beside a daemon."""

from __future__ import annotations

import os
import pty
import re

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.records import ClaimedMail, Letter, MailKind, StoredMail
from fxa_auth.store import Store
from fxa_auth.store.database import Statement
from tests.acceptance.daemon import eventually, started
from tests.acceptance.smtp_server import SmtpServer
from tests.acceptance.wire import Wire, credentials
from tests.commands.operator import Outcome, StoreCase, run_command
from tests.databases import write
from tests.store.contract import an_account

CODE, TOKEN = b"\xc0" * 16, b"\xd0" * 32
HOUR_MS = 3_600_000


class QueueTests(StoreCase):
    """Four mails of one account: one that is due, one that waits, one in somebody's hand, and a dead letter."""

    family = "mail"

    async def setUp(self) -> None:
        self.settle()
        self.now_ms = int(reactor.seconds() * 1000)  # type: ignore[attr-defined]
        self.dead, self.waiting, self.in_hand, self.due = await self.in_store(self.fill)

    async def fill(self, store: Store) -> list[str]:
        """The ids, the oldest first."""
        account, now_ms = an_account(), self.now_ms
        await store.change(store.accounts.add(account, "address is free"))
        for kind, age_h in ((MailKind.VERIFY, 50), (MailKind.RESET, 2), (MailKind.UNLOCK, 1)):
            letter = Letter(kind, account.uid, "M\x1be@example.com", CODE, TOKEN)
            await store.change(store.mails.queue(letter, now_ms - age_h * HOUR_MS))
        claimed: list[ClaimedMail] = await store.mails.claim(now_ms, now_ms + HOUR_MS, 3)
        dead, waiting, _ = claimed
        await store.mails.bury(dead, now_ms - 49 * HOUR_MS, "550 no such user", 1)
        await store.mails.defer(waiting, now_ms + 2 * HOUR_MS + 60_000, "451 come back later")
        await store.change(store.mails.queue(Letter(MailKind.VERIFY, account.uid, "M\x1be@example.com", CODE), now_ms))
        return [mail.id.hex() for mail in await store.mails.page(None, 10)]

    async def mails(self) -> dict[str, StoredMail]:
        async def read(store: Store) -> dict[str, StoredMail]:
            return {mail.id.hex(): mail for mail in await store.mails.page(None, 10)}

        found: dict[str, StoredMail] = await self.in_store(read)
        return found

    async def test_queue_lists_what_waits_and_what_is_dead_the_oldest_first_and_no_code(self) -> None:
        shown = await self.type("queue")
        self.assertEqual((shown.code, shown.err), (0, ""))
        head, *rows, tail = (re.split(r"\s{2,}", line) for line in shown.out.splitlines())
        self.assertEqual(head, ["id", "kind", "age", "attempts", "next try", "address", "last answer"])
        address = r"M\x1be@example.com"
        self.assertEqual(rows[0], [self.dead, "verify", "2 d", "1", "dead for 2 d", address, "550 no such user"])
        self.assertEqual(rows[1], [self.waiting, "reset", "2 h", "1", "in 2 h", address, "451 come back later"])
        self.assertEqual(rows[2], [self.in_hand, "unlock", "1 h", "0", "in delivery", address, "-"])
        self.assertEqual([rows[3][0], *rows[3][3:]], [self.due, "0", "due", address, "-"])
        self.assertEqual((len(rows), tail), (4, ["waiting: 3, dead letters: 1"]))
        for secret in (CODE.hex(), TOKEN.hex()):
            self.assertNotIn(secret[:8], shown.out)

    async def test_queue_shows_a_row_that_cannot_be_read(self) -> None:
        write(self.database_file, Statement("UPDATE mails SET letter = :letter", {"letter": b"?"}))
        shown = await self.type("queue")
        self.assertEqual((shown.code, shown.out.count("(cannot be read)")), (0, 4))

    async def test_an_empty_queue_is_one_line(self) -> None:
        self.assertEqual(await self.type("drop", "--all", "--yes"), Outcome(0, "removed: 4\n", ""))
        self.assertEqual(await self.type("queue"), Outcome(0, "waiting: 0, dead letters: 0\n", ""))

    async def test_retry_makes_the_named_mails_due(self) -> None:
        outcome = await self.type("retry", self.dead, self.waiting.upper())
        self.assertEqual(outcome, Outcome(0, "due now: 2\n", ""))
        mails = await self.mails()
        for mail_id in (self.dead, self.waiting):
            mail = mails[mail_id]
            self.assertIsNone(mail.dead_at_ms)
            self.assertLessEqual(abs(mail.due_at_ms - self.now_ms), HOUR_MS)
        self.assertEqual(mails[self.in_hand].due_at_ms, self.now_ms + HOUR_MS)

    async def test_retry_all_leaves_out_what_is_in_delivery(self) -> None:
        self.assertEqual(await self.type("retry", "--all"), Outcome(0, "due now: 3\n", ""))

    async def test_drop_removes_the_named_mails(self) -> None:
        self.assertEqual(await self.type("drop", self.dead, self.due), Outcome(0, "removed: 2\n", ""))
        self.assertEqual(set(await self.mails()), {self.waiting, self.in_hand})

    async def test_an_id_that_is_not_there_is_told_and_the_others_are_done(self) -> None:
        unknown = "ab" * 16
        outcome = await self.type("drop", unknown, self.dead)
        self.assertEqual(outcome, Outcome(1, "removed: 1\n", f"fxa-auth: no mail has this id: {unknown}\n"))
        outcome = await self.type("retry", self.in_hand)
        self.assertEqual((outcome.code, outcome.out), (1, "due now: 0\n"))
        self.assertRegex(outcome.err, f"^fxa-auth: .* or it is in delivery just now: {self.in_hand}\n$")

    async def test_dropping_all_asks_first(self) -> None:
        outcome = await self.type("drop", "--all")
        self.assertEqual((outcome.code, outcome.out), (1, ""))
        self.assertRegex(outcome.err, "^fxa-auth: mail drop --all asks .*: give --yes\n$")
        for answer, code, out, left in (("n", 1, "", 4), ("y", 0, "removed: 4\n", 0)):
            terminal, keyboard = pty.openpty()
            self.addCleanup(os.close, terminal)
            os.write(terminal, answer.encode() + b"\n")
            try:
                outcome = await self.type("drop", "--all", stdin=keyboard)
            finally:
                os.close(keyboard)
            self.assertEqual((outcome.code, outcome.out.rpartition("[y/N] ")[2]), (code, out), answer)
            self.assertEqual(len(await self.mails()), left, answer)

    async def test_it_has_to_be_said_which_mails_are_meant(self) -> None:
        for argv in (["retry"], ["drop"], ["retry", "--all", self.dead], ["drop", "xyz"], ["retry", "ab"]):
            outcome = await self.type(*argv)
            self.assertEqual((outcome.code, outcome.out), (2, ""), argv)
        self.assertEqual(len(await self.mails()), 4)


class BesideADaemonTests(SynchronousTestCase):
    """What an operator wants, a running daemon does within seconds."""

    def setUp(self) -> None:
        settings = f"verifierVersion = 0\n[smtp]\nretryDelay = {HOUR_MS}\nmaxRetryDelay = {HOUR_MS}\n"
        self.daemon = started(self, "prod", files={"mail.toml": settings}, environ={"CONFIG_FILES": "mail.toml"})
        mail_server = SmtpServer(self.daemon.smtp_port)
        self.addCleanup(mail_server.stop)
        mail_server.start()
        wire = Wire(self.daemon)
        for email in ("busy@example.com", "nobody@example.com"):
            self.assertEqual(wire.post("/account/create", credentials(email)).outcome, (200, 0))
        self.wait_for("mail.deferred", attempts=1, code=451)
        self.wait_for("mail.failed", attempts=1, code=550)

    def wait_for(self, op: str, count: int = 1, **fields: object) -> None:
        eventually(lambda: len(self.daemon.entries(op=op, **fields)) >= count, f"{count} times {op}, {fields}")

    def type(self, *argv: str) -> str:
        environ = {"DATABASE_URL": self.daemon.database_url}
        outcome = run_command(self.daemon.folder, "mail", *argv, environ=environ)
        self.assertEqual((outcome.code, outcome.err), (0, ""), outcome)
        return outcome.out

    def test_mails_that_are_retried_are_tried_and_those_dropped_are_gone(self) -> None:
        for line in (
            r"[0-9a-f]{32}  verify .* in \d+ (min|h) +busy@example\.com  451 4\.3\.0 Come back later\n",
            r"[0-9a-f]{32}  verify .* dead for \d+ s +nobody@example\.com  550 5\.1\.1 No such",
        ):
            eventually(lambda: re.search(line, self.type("queue")), line)  # noqa: B023
        self.assertEqual(self.type("retry", "--all"), "due now: 2\n")
        self.wait_for("mail.deferred", attempts=2, code=451)
        self.wait_for("mail.failed", 2, attempts=1, code=550)
        self.assertEqual(self.type("drop", "--all", "--yes"), "removed: 2\n")
        self.assertEqual(self.daemon.sql("SELECT count(*) FROM mails"), [(0,)])
        self.assertEqual(self.daemon.failures(), [])

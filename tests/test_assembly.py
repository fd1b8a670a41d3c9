"""The parts that only some settings call for."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.assembly import Assembly
from fxa_auth.config import Layer, load
from fxa_auth.records import Letter, MailKind
from fxa_auth.sqs import QueuePoller

QUEUE = "https://sqs.us-east-1.amazonaws.com/123456789012/q"


class AssemblyCase(SynchronousTestCase):
    def assembled(self, smtp: Mapping[str, Any] | None = None, **bounces: Any) -> Assembly:
        values = {"database": {"url": "sqlite://"}, "bounces": bounces, "smtp": smtp or {}}
        layer = Layer("a.toml", values)
        return Assembly(load([layer], {}).settings, MemoryReactorClock(), io.StringIO())

    def statistics(self, assembly: Assembly) -> dict[str, Any]:
        return {name: fields() for name, fields in assembly._statistics()}


class PollerTests(AssemblyCase):
    def test_a_poller_runs_for_each_queue_that_the_settings_name(self) -> None:
        for bounces, count in (
            ({}, 0),
            ({"bounceQueueUrl": QUEUE}, 1),
            ({"complaintQueueUrl": QUEUE}, 1),
            ({"bounceQueueUrl": QUEUE, "complaintQueueUrl": f"{QUEUE}2"}, 2),
        ):
            found = [part for part in self.assembled(**bounces).background if isinstance(part, QueuePoller)]
            self.assertEqual(len(found), count, bounces)

    def test_what_becomes_of_bounces_is_told_where_there_are_any(self) -> None:
        told = self.statistics(self.assembled(bounceQueueUrl=QUEUE, complaintQueueUrl=f"{QUEUE}2"))
        outcomes = ("deleted", "suppressed", "unchanged", "unknown", "soft", "unrelated", "malformed")
        self.assertEqual(told["bounces"], dict.fromkeys(outcomes, 0))
        nothing = {"received": 0, "failures": 0}
        self.assertEqual(told["sqs"], {"bounces": nothing, "complaints": nothing})
        self.assertEqual({"bounces", "sqs"} & set(self.statistics(self.assembled())), set())


class ReportTests(AssemblyCase):
    def test_reports_are_taken_in_where_the_settings_say_where(self) -> None:
        for listen, expected in (({}, False), ({"port": 0}, True), ({"socket": "s"}, True)):
            assembly = self.assembled(verp="bounce@example.com", listen=listen)
            self.assertIs(assembly.reports is not None, expected)
            self.assertEqual({"bounces", "reports"} <= set(self.statistics(assembly)), expected)
        self.assertIsNone(self.assembled().reports)

    def test_a_mail_has_a_return_path_of_its_accounts_own_or_else_the_one_that_smtp_says(self) -> None:
        smtp = {"sender": "Accounts <accounts@example.com>", "returnPath": "returned@example.com"}
        letter = Letter(MailKind.VERIFY, b"u" * 16, "me@example.com", b"c" * 16)
        senders = []
        for bounces in ({}, {"verp": "bounce@example.com"}):
            assembly = self.assembled(smtp=smtp, **bounces)
            assembly.storage.seal.use(b"k" * 32)
            senders.append(assembly._outbox._delivery._compose(letter).sender)
        self.assertEqual(senders[0], "returned@example.com")
        self.assertRegex(senders[1], r"\Abounce\+[a-z2-7]{48}@example\.com\Z")

    def test_what_becomes_of_reports_is_told(self) -> None:
        told = self.statistics(self.assembled(verp="bounce@example.com", listen={"port": 0}))
        self.assertEqual(told["reports"], {"reports": 0, "dropped": 0, "refused": 0, "putOff": 0, "connections": 0})
        self.assertNotIn("sqs", told)

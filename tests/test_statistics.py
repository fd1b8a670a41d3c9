"""The ``op: stat`` lines: each source has one, again and again."""

from __future__ import annotations

import io

from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.assembly import Assembly
from fxa_auth.config import load
from fxa_auth.statistics import INTERVAL_S, Statistics


class StatisticsTests(SynchronousTestCase):
    def test_each_source_has_a_line_every_interval(self) -> None:
        clock, turns = Clock(), iter(range(10))
        statistics = Statistics(clock, [("one", lambda: {"turn": next(turns)}), ("other", lambda: {"a": {"b": 1}})])
        statistics.start()
        with capturedLogs() as events:
            clock.advance(INTERVAL_S)
            clock.advance(INTERVAL_S)
        told = [(event["log_format"], event["stat"], event.get("turn"), event.get("a")) for event in events]
        other = ("stat", "other", None, {"b": 1})
        self.assertEqual(told, [("stat", "one", 0, None), other, ("stat", "one", 1, None), other])

    def test_a_daemon_tells_of_memory_hashes_store_and_mails(self) -> None:
        settings = load([], {"NODE_ENV": "dev", "DB_BACKEND": "memory"}).settings
        sources = dict(Assembly(settings, MemoryReactorClock(), io.StringIO())._statistics())
        self.assertLessEqual({"mem", "scrypt", "store", "mail"}, set(sources))
        self.assertIn("oldestSeconds", sources["mail"]())

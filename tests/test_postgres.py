"""The PostgreSQL of the tests, on a machine that has none and no programs beyond a shell."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from tests.postgres import Server, administer, create_database, dump


class WheelTests(SynchronousTestCase):
    def setUp(self) -> None:
        bare = {"FXA_TEST_POSTGRES_BIN": "wheel", "PATH": self.mktemp()}
        self.patch(os, "environ", {**os.environ, **bare})
        self.server = Server()
        self.addCleanup(self.server.close)
        self.server.start()

    def test_its_binaries_serve_a_database(self) -> None:
        [(programs,)] = administer(self.server.url(), "SELECT setting FROM pg_config WHERE name = 'BINDIR'")
        self.assertIn("pginstall", programs)
        url = create_database(self.server.url())
        administer(url, "CREATE TABLE kept (word TEXT)")
        administer(url, "INSERT INTO kept VALUES ('a word')")
        self.assertEqual(administer(url, "SELECT word FROM kept"), [("a word",)])
        self.assertIn(b"a word", dump(url))

    def test_it_is_frozen_and_killed(self) -> None:
        for _ in range(5):
            self.server.freeze()
            self.server.thaw()
        administer(self.server.url(), "SELECT 1")
        self.server.kill()
        self.server.start()

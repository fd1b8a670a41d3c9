"""The whole suite once more, with daemons that keep their accounts in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.acceptance import (
    test_bounces,
    test_crash,
    test_events,
    test_languages,
    test_limits,
    test_link_pages,
    test_mail,
    test_pyfxa,
    test_races,
    test_registration,
    test_reports,
    test_running,
    test_secrets,
    test_starting,
)
from tests.acceptance.daemon import Daemon

MODULES = (
    test_bounces,
    test_crash,
    test_events,
    test_languages,
    test_limits,
    test_link_pages,
    test_mail,
    test_pyfxa,
    test_races,
    test_registration,
    test_reports,
    test_running,
    test_secrets,
    test_starting,
)
OWN = {"test_on_postgres", "test_postgres"}
"""Modules that are about PostgreSQL anyway."""


class OnPostgres:
    """Before all else, a test says where its daemons keep their accounts."""

    patch: Any

    def setUp(self) -> None:
        self.patch(Daemon, "store", "postgres")
        super().setUp()  # type: ignore[misc]


class StoreTests(OnPostgres, SynchronousTestCase):
    def test_every_module_of_the_suite_is_here(self) -> None:
        found = {path.stem for path in Path(__file__).parent.glob("test_*.py")}
        repeated = {module.__name__.rpartition(".")[2] for module in MODULES}
        self.assertEqual(found - repeated, OWN)

    def test_daemons_are_on_postgres(self) -> None:
        daemon = Daemon()
        self.addCleanup(daemon.close)
        self.assertTrue(daemon.database_url.startswith("postgresql:"))


def _repeat(module: Any) -> None:
    for name, case in list(vars(module).items()):
        if isinstance(case, type) and issubclass(case, SynchronousTestCase) and case.__module__ == module.__name__:
            title = f"{module.__name__.rpartition('test_')[2].title()}{name}"
            globals()[title] = type(title, (OnPostgres, case), {"__module__": __name__})


for _module in MODULES:
    _repeat(_module)

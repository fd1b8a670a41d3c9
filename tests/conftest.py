"""Gives pytest what trial does by itself: a working directory for the tests to litter, which ``mktemp`` uses."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


class ScratchFolder:
    """pytest's hooks around the run of all tests."""

    def pytest_runtestloop(self) -> None:
        self.before = Path.cwd()
        self.folder = tempfile.TemporaryDirectory(prefix="fxa-auth-tests-", ignore_cleanup_errors=True)
        os.chdir(self.folder.name)

    def pytest_sessionfinish(self) -> None:
        if hasattr(self, "folder"):
            os.chdir(self.before)
            self.folder.cleanup()


def pytest_configure(config) -> None:  # type: ignore[no-untyped-def]
    config.pluginmanager.register(ScratchFolder())

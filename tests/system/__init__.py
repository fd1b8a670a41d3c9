"""Tests with the programs that others will run beside this one: Debian's, as root, in temporary folders.

``make test-system`` runs them. ``make test`` does not, since most machines lack the programs: each test is skipped
there, and the reason is printed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

WANTED = "FXA_TEST_SYSTEM"
"""The environment variable by which ``make test-system`` says that these tests are to run."""

SKIP = (
    None
    if os.environ.get(WANTED)
    else "tests of the whole system need Debian's packages and root: run make test-system"
)
"""What a test case of this folder has as its ``skip``."""


def program(name: str) -> str:
    """The path of a program; a test fails that does not find it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        packages = Path(__file__).with_name("packages.txt")
        raise AssertionError(f"no program {name}: make system-packages installs what is listed in {packages}")
    return found

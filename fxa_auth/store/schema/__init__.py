"""The numbered schema files beside this module, and which of them a database still needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources

from fxa_auth.store.database import UnusableDatabase

_FILE_NAME = re.compile(r"(\d{3})_\w+\.sql")

VERSION_TABLE = "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY, applied_at_ms BIGINT NOT NULL)"

MIGRATION_LOCK = 0x66786120
"""The number of PostgreSQL's advisory lock under which a database is given its schema, or filled."""


@dataclass(frozen=True)
class Upgrade:
    """One schema file: its number, counted from 1 without a gap, and its statements."""

    version: int
    statements: tuple[str, ...]


def upgrades() -> tuple[Upgrade, ...]:
    """All schema files of this program, in order."""
    found = []
    for entry in resources.files(__package__).iterdir():
        if match := _FILE_NAME.fullmatch(entry.name):
            found.append(Upgrade(int(match[1]), _statements(entry.read_text("utf-8"))))
    return tuple(sorted(found, key=lambda upgrade: upgrade.version))


def pending_upgrades(current: int) -> tuple[Upgrade, ...]:
    """The schema files that a database at version ``current`` (0 for an empty one) still lacks.

    :raises UnusableDatabase: the database is newer than this program
    """
    known = upgrades()
    if current > known[-1].version:
        raise UnusableDatabase(
            f"the database has schema {current}, this program knows up to {known[-1].version}: "
            "run the newer version that made it, or restore an older backup"
        )
    return known[current:]


def require_current(current: int) -> None:
    """See that a database at version ``current`` can be used as it is.

    :raises UnusableDatabase: it is empty, lacks upgrades, or is newer than this program
    """
    if current == 0:
        raise UnusableDatabase("the database is empty: name the one that the daemon uses, or start a daemon first")
    if pending := pending_upgrades(current):
        raise UnusableDatabase(
            f"the database has schema {current}, this program needs {pending[-1].version}: run fxa-auth db upgrade"
        )


def _statements(script: str) -> tuple[str, ...]:
    without_comments = re.sub(r"--[^\n]*", "", script)
    return tuple(part.strip() for part in without_comments.split(";") if part.strip())

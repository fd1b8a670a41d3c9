"""Which keys seal this database: where the settings say they are, and what the database itself records.

A key is 64 hex digits, in a file or in an environment variable. The database records the id of every key that its
values may be sealed with, so that a daemon without one of them, or with another installation's, is found out before
it does harm. The first key is made with the database, in a file beside it, and never replaced.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from twisted.logger import Logger

from fxa_auth.files import write_new
from fxa_auth.store.database import Database, Statement, UnusableDatabase
from fxa_auth.store.seal import KEY_LENGTH, key_id

_log = Logger()

ENVIRONMENT = "env:"
"""What a place begins with that names an environment variable; any other is a file."""


async def find_keys(
    database: Database, places: Sequence[str], environ: Mapping[str, str], now_ms: int, *, may_record: bool = True
) -> list[bytes]:
    """The keys (32 bytes each) at ``places``, the first of which seals from now on.

    A new database is given a new key if its file is not there yet. Without places (a database in memory) there is a
    new key at each call, which lives as long as the process. Unless it ``may_record`` a key, the first has to be one
    that the database knows.

    :raises UnusableDatabase: a key is missing or damaged, or the database is sealed with one that is not among them
    """
    recorded = await recorded_keys(database)
    if not places:
        key = os.urandom(KEY_LENGTH)
        await _record(database, _next_position(recorded), key_id(key).hex(), now_ms)
        return [key]
    if not recorded and not places[0].startswith(ENVIRONMENT):
        _make_unless_there(Path(places[0]))
    keys = [read_key(place, environ, recorded) for place in places]
    ids = [key_id(key).hex() for key in keys]
    if not recorded:
        recorded = await _record(database, 1, ids[0], now_ms)
    missing = [wanted for wanted in recorded if wanted not in ids]
    if missing:
        found = ", ".join(f"{id_} ({place})" for id_, place in zip(ids, places, strict=True))
        raise _unusable(
            f"the database is sealed with key {', '.join(missing)}, here is only {found}: "
            f"{mend_of_missing(places[0], ids[0] in recorded)}"
        )
    if ids[0] not in recorded and not may_record:
        raise _unusable(f"no daemon seals with key {ids[0]} ({places[0]}) yet: restart the daemons first")
    while ids[0] not in recorded:
        recorded = await _record(database, _next_position(recorded), ids[0], now_ms)
    return keys


def mend_of_missing(first_place: str, is_first_recorded: bool) -> str:
    """How to get a missing key, and where to put it: never behind one that the database does not know."""
    copied = "copy the missing key's file from the host that has it, or from a backup, and "
    if is_first_recorded:
        return f"{copied}name it in sealingKeys, behind the others"
    return f"{copied}put it in place of {first_place}, or name it first in sealingKeys"


def _unusable(problem: str) -> UnusableDatabase:
    return UnusableDatabase(problem, "sealingKeys")


async def recorded_keys(database: Database) -> dict[str, int]:
    """The ids of the recorded keys, in hex, and their positions."""
    rows = await database.query("SELECT key_id, position FROM sealing_keys ORDER BY position", {})
    return {row["key_id"]: row["position"] for row in rows}


def _next_position(recorded: Mapping[str, int]) -> int:
    return max(recorded.values(), default=0) + 1


async def _record(database: Database, position: int, id_: str, now_ms: int) -> dict[str, int]:
    """Record a key unless another daemon was quicker with its own; the answer is what is recorded then."""
    sql = (
        "INSERT INTO sealing_keys (position, key_id, created_at_ms) VALUES (:position, :key_id, :now_ms)"
        " ON CONFLICT DO NOTHING"
    )
    await database.change([Statement(sql, {"position": position, "key_id": id_, "now_ms": now_ms})])
    return await recorded_keys(database)


def read_key(place: str, environ: Mapping[str, str], recorded: Iterable[str]) -> bytes:
    """The key (32 bytes) at a place; ``recorded`` are the ids that the database wants.

    :raises UnusableDatabase: it is not there, or is no key
    """
    if place.startswith(ENVIRONMENT):
        text = environ.get(place.removeprefix(ENVIRONMENT), "")
    else:
        text = _file_text(Path(place), recorded)
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_LENGTH:
        raise _unusable(f"{place} is not a sealing key (64 hex digits){_wanted(recorded)}: restore it from a backup")
    return key


def _file_text(path: Path, recorded: Iterable[str]) -> str:
    try:
        return path.read_text("ascii")
    except FileNotFoundError:
        raise _unusable(
            f"{path} is missing{_wanted(recorded)}: copy it from the host that has it, or from a backup"
        ) from None
    except OSError as error:
        raise _unusable(f"cannot read {path} ({error.strerror}): mend its permissions") from None
    except UnicodeDecodeError:
        return ""


def _wanted(recorded: Iterable[str]) -> str:
    return f"; the database is sealed with key {', '.join(recorded)}" if recorded else ""


def _make_unless_there(path: Path) -> None:
    """Write a new key, never over another one; of daemons that race, one makes it."""
    if path.exists():
        return
    try:
        write_new(path, os.urandom(KEY_LENGTH).hex() + "\n", 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise _unusable(f"cannot write {path} ({error.strerror}): mend the folder's permissions") from None
    _log.info("store.sealing_key_made", path=str(path))

"""Moving whole databases: a copy from one to another, and the backup and restoring of the embedded one.

Everything is read back before it counts, and a target is either as it was or complete. It blocks, and is for commands
that run beside the daemon; what they say to the operator is their own affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fxa_auth.config import Database
from fxa_auth.store import sqlitefile
from fxa_auth.store.bulk import (
    Bulk,
    Digest,
    filling_postgres,
    filling_sqlite,
    known_version,
    reading_postgres,
    reading_sqlite,
    tables,
)
from fxa_auth.store.database import UnusableDatabase
from fxa_auth.store.schema import pending_upgrades
from fxa_auth.store.sqlitefile import Content

Progress = Callable[[str, int, int], None]
"""Is told what is being moved, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Copied:
    """The digest of each table's rows, and the ids (hex) of the sealing keys that they need.

    ``replaced`` is where an SQLite file without rows is now that was there before.
    """

    digests: dict[str, Digest]
    sealing_keys: tuple[str, ...]
    replaced: Path | None = None


def file_of(database: Database) -> Path:
    """The file of an embedded database.

    :raises UnusableDatabase: it is in memory, or on a server
    """
    if database.is_postgres:
        raise UnusableDatabase("this is a PostgreSQL database: use pg_dump and pg_restore")
    if database.path is None:
        raise UnusableDatabase("this database lives in the memory of its daemon: name a file, sqlite:///FILE")
    return Path(database.path)


@contextmanager
def reading(database: Database, *, briefly: bool = False) -> Iterator[Bulk]:
    """One snapshot of either kind of database.

    Read ``briefly``, a file that no daemon uses is left without a trace, but a daemon that starts meanwhile may make
    it look damaged.

    :raises DatabaseUnavailable: it cannot be read
    :raises UnusableDatabase: there is no file to read
    """
    if database.is_postgres:
        source: AbstractContextManager[Bulk] = reading_postgres(database.url)
    else:
        path = file_of(database)
        if not path.is_file():
            raise UnusableDatabase(f"{path}: there is no such file")
        source = reading_sqlite(path, at_rest=briefly and not sqlitefile.has_log(path))
    with source as bulk:
        yield bulk


def copy(source: Database, target: Database, now_ms: int, aside: str, progress: Progress) -> Copied:
    """Copy every row into an empty database, from one snapshot, and read it all back.

    ``aside`` is appended to the name of an SQLite file without rows that the copy takes the place of.

    :raises UnusableDatabase: one of the two is not fit for it, or what arrived is not what was sent
    :raises DatabaseUnavailable: one of the two failed
    """
    with reading(source) as rows:
        _require_current(rows.version(), "FROM_URL")
        keys = tuple(rows.sealing_keys())
        if target.is_postgres:
            return Copied(_copy_to_postgres(rows, target.url, now_ms, progress), keys)
        place = file_of(target)
        replaced = place.with_name(place.name + aside)
        digests, was_there = _copy_to_sqlite(rows, place, now_ms, replaced, progress)
        return Copied(digests, keys, replaced if was_there else None)


def backup(database: Database, file: Path, progress: Progress) -> Content:
    """Write one snapshot of an embedded database into a new file.

    :raises UnusableDatabase: the file is there already, or the database is damaged
    :raises DatabaseUnavailable: the database cannot be read
    """
    source = file_of(database)
    if file.exists():
        raise UnusableDatabase(f"{file} is there already: choose another name")
    with sqlitefile.draft(file) as made:
        sqlitefile.copy_pages(source, made, lambda done, total: progress("pages", done, total))
        sqlitefile.record_digests(made, source)
        content = sqlitefile.inspect(made, source, sqlitefile.recorded_digests(made, source))
        sqlitefile.put(made, file)
    return content


def restore(database: Database, file: Path, aside: str, progress: Progress) -> tuple[Content, Path | None]:
    """Put a backup in place of an embedded database that nobody uses.

    The second answer is where the replaced database is now (its name with ``aside`` appended), if there was one.

    :raises UnusableDatabase: the file is damaged, newer or not a backup, or the database is in use; nothing was changed
    :raises DatabaseUnavailable: the backup cannot be read
    """
    place = file_of(database)
    if place.exists() and file.exists() and place.samefile(file):
        raise UnusableDatabase(f"{file} is the database itself: name a backup of it")
    sqlitefile.refuse_if_open(place)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with sqlitefile.draft(place) as made:
        sqlitefile.copy_pages(file, made, lambda done, total: progress("pages", done, total))
        recorded = sqlitefile.recorded_digests(made, file)
        sqlitefile.drop_recorded_digests(made, file)
        content = sqlitefile.inspect(made, file, recorded)
        replaced = place.with_name(place.name + aside)
        was_there = sqlitefile.replace(made, place, replaced)
    return content, replaced if was_there else None


def _copy_to_postgres(source: Bulk, url: str, now_ms: int, progress: Progress) -> dict[str, Digest]:
    with filling_postgres(url) as target:
        if target.version():
            _require_current(target.version(), "TO_URL")
        else:
            target.upgrade(now_ms)
        target.keep_out_writers(tables())
        _require_empty(target)
        digests = _fill(source, target, progress)
        _require_arrival(target, digests, progress)
        target.commit()
    return digests


def _copy_to_sqlite(
    source: Bulk, place: Path, now_ms: int, aside: Path, progress: Progress
) -> tuple[dict[str, Digest], bool]:
    _require_empty_file(place)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with sqlitefile.draft(place) as made:
        with filling_sqlite(made) as target:
            target.upgrade(now_ms)
            digests = _fill(source, target, progress)
            target.commit()
        sqlitefile.inspect(made, place)
        with reading_sqlite(made) as written:
            _require_arrival(written, digests, progress)
        _require_empty_file(place)
        return digests, sqlitefile.replace(made, place, aside)


def _fill(source: Bulk, target: Bulk, progress: Progress) -> dict[str, Digest]:
    digests = {}
    for table in tables():
        digests[table.name] = digest = Digest()
        total = source.count(table)
        for batch in source.rows(table):
            target.insert(table, batch)
            digest.add(batch)
            progress(table.name, digest.rows, total)
    return digests


def _require_arrival(target: Bulk, sent: dict[str, Digest], progress: Progress) -> None:
    for table in tables():
        progress(f"verifying {table.name}", 0, sent[table.name].rows)
        arrived, wanted = target.digest(table), sent[table.name]
        if (arrived.rows, arrived.checksum) != (wanted.rows, wanted.checksum):
            raise UnusableDatabase(
                f"{table.name}: {arrived.rows} rows ({arrived.checksum}) arrived of {wanted.rows} ({wanted.checksum});"
                " nothing was kept: look for a fault of disk or memory, and try again"
            )


def _require_current(version: int, name: str) -> None:
    if not version:
        raise UnusableDatabase(f"{name} is not a database of fxa-auth, or has never been used")
    if pending_upgrades(version):
        raise UnusableDatabase(
            f"{name} has schema {version}, this program works with {known_version()}:"
            " run fxa-auth db upgrade on it first"
        )


def _require_empty(target: Bulk) -> None:
    for table in tables():
        if target.execute(f"SELECT 1 FROM {table.name} LIMIT 1"):
            raise UnusableDatabase(f"TO_URL is not empty, it has rows in {table.name}: name a new database")


def _require_empty_file(place: Path) -> None:
    if not place.exists() or place.stat().st_size == 0:
        return
    with reading_sqlite(place) as target:
        if target.is_blank():
            return
        _require_current(target.version(), "TO_URL")
        _require_empty(target)

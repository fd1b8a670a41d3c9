"""An SQLite file as a whole: written beside its place, checked there, and put in place at once or not at all.

A crash at any moment leaves what was in the place before; of the work itself no more than a hidden file ending in
``.part`` is left behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fxa_auth.files import sync
from fxa_auth.store.bulk import Digests, SqliteBulk, filling_sqlite, first_line, reading_sqlite, tables, told
from fxa_auth.store.database import DatabaseUnavailable, UnusableDatabase
from fxa_auth.store.schema import pending_upgrades

PAGES = 512
"""Pages copied at a time."""

_LOCKED_BYTES = (0x40000000, 512)
"""Where SQLite keeps its locks in a file (its file format, "the lock-byte page"): a WAL user has some of it always."""

_LOGS = ("-wal", "-journal")
_NO_LINKS_HERE = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)


@dataclass(frozen=True)
class Content:
    """What a sound file holds: its length in bytes, its schema, its accounts, and the ids (hex) of its sealing keys."""

    size: int
    version: int
    accounts: int
    sealing_keys: tuple[str, ...]


@contextmanager
def draft(place: Path) -> Iterator[Path]:
    """An empty file (0600) beside ``place`` to write to; it is gone afterwards unless it was put in place."""
    try:
        descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.", suffix=".part")
    except OSError as error:
        raise UnusableDatabase(f"cannot write in {place.absolute().parent}: {error.strerror}") from error
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        for suffix in ("", "-shm", *_LOGS):
            _beside(Path(name), suffix).unlink(missing_ok=True)


def copy_pages(source: Path, made: Path, progress: Callable[[int, int], None]) -> None:
    """Copy one snapshot of a database, which daemons may go on using, into a draft.

    ``progress`` is told the pages done and their number.

    :raises UnusableDatabase: there is no source, or it is damaged
    :raises DatabaseUnavailable: the source cannot be read
    """
    if not source.is_file():
        raise UnusableDatabase(f"{source}: there is no such file")
    with (
        _corruption_told(source),
        told(str(source)),
        closing(sqlite3.connect(source.absolute().as_uri() + "?mode=ro", uri=True, isolation_level=None)) as reader,
        closing(sqlite3.connect(made, isolation_level=None)) as writer,
    ):
        # Inside a read transaction the pages stay those of one moment; otherwise every write would begin the copy anew.
        reader.execute("BEGIN")
        reader.execute("SELECT 1 FROM sqlite_master").fetchall()
        reader.backup(writer, pages=PAGES, progress=lambda _, left, total: progress(total - left, total))
        # One file that needs no log beside it. The daemon goes back to WAL by itself.
        writer.execute("PRAGMA journal_mode = DELETE")


def record_digests(made: Path, shown: Path) -> None:
    """Make a draft a backup: it names the digest of each of its tables. ``shown`` is how to call it in a complaint.

    :raises UnusableDatabase: it is damaged, not a database of this program, or of a newer version of it
    """
    with _damage_told(shown), filling_sqlite(made) as bulk:
        _require_known_version(bulk, shown)
        bulk.record_digests()
        bulk.commit()


def recorded_digests(made: Path, shown: Path) -> Digests:
    """:raises UnusableDatabase: it is damaged, or not a backup"""
    with _damage_told(shown), reading_sqlite(made) as bulk:
        recorded = bulk.recorded_digests()
    if recorded is None:
        raise UnusableDatabase(f"{shown} is no backup: only what fxa-auth db backup wrote can be restored")
    return recorded


def drop_recorded_digests(made: Path, shown: Path) -> None:
    """Make a backup a database again.

    :raises UnusableDatabase: it is damaged
    """
    with _damage_told(shown), filling_sqlite(made) as bulk:
        bulk.drop_recorded_digests()
        bulk.commit()


def inspect(path: Path, shown: Path, wanted: Digests | None = None) -> Content:
    """Read a draft through and through, and compare its digests with those ``wanted``.

    :raises UnusableDatabase: it is damaged, not a database of this program, or of a newer version of it
    """
    with _damage_told(shown), reading_sqlite(path) as bulk:
        _require_soundness(bulk, shown)
        if wanted is not None:
            _require_digests(bulk, shown, wanted)
        version = bulk.version()
        accounts = next(table for table in tables(version) if table.name == "accounts")
        return Content(path.stat().st_size, version, bulk.count(accounts), tuple(bulk.sealing_keys()))


@contextmanager
def _corruption_told(shown: Path) -> Iterator[None]:
    """As ``_damage_told``, but let pass what says nothing of the file's content: it may be locked, or another's."""
    try:
        yield
    except DatabaseUnavailable as error:
        if type(error.__cause__) is not sqlite3.DatabaseError:
            raise
        raise UnusableDatabase(f"{shown} is damaged ({first_line(error.__cause__)}): use another copy") from error


@contextmanager
def _damage_told(shown: Path) -> Iterator[None]:
    try:
        yield
    except DatabaseUnavailable as error:
        reason = first_line(error.__cause__ or error)
        raise UnusableDatabase(f"{shown} is damaged ({reason}): use another copy") from error


def _require_known_version(bulk: SqliteBulk, shown: Path) -> None:
    version = bulk.version()
    if not version:
        raise UnusableDatabase(f"{shown} is not a database of fxa-auth")
    pending_upgrades(version)


def _require_soundness(bulk: SqliteBulk, shown: Path) -> None:
    _require_known_version(bulk, shown)
    if faults := bulk.faults():
        raise UnusableDatabase(f"{shown} is damaged ({faults[0].splitlines()[0]}): use another copy")
    if strangers := bulk.strangers(bulk.version()):
        raise UnusableDatabase(
            f"{shown} has other tables or indexes than schema {bulk.version()} of fxa-auth ({strangers[0]!r}):"
            " use another copy"
        )


def _require_digests(bulk: SqliteBulk, shown: Path, wanted: Digests) -> None:
    found = bulk.digests()
    for name in sorted(found.keys() | wanted.keys(), key=str):
        if found.get(name) != wanted.get(name):
            raise UnusableDatabase(f"{shown} is damaged (other rows in {name!r} than written): use another copy")


def put(made: Path, place: Path) -> None:
    """Put a draft where nothing is yet.

    :raises UnusableDatabase: something is there
    """
    for suffix in ("", "-shm", *_LOGS):
        if os.path.lexists(_beside(place, suffix)):
            raise UnusableDatabase(f"{_beside(place, suffix)} is there already: move it away, or choose another name")
    sync(made)
    try:
        os.link(made, place)
    except FileExistsError:
        raise UnusableDatabase(f"{place} is there already: choose another name") from None
    except OSError as error:
        if error.errno not in _NO_LINKS_HERE:
            raise
        os.rename(made, place)
    sync(place.parent)


def replace(made: Path, place: Path, aside: Path) -> bool:
    """Put a draft in place of the database there, if there is one, which goes ``aside``; tells whether there was one.

    Made by root, the file will belong to the owner of what it replaces, or else of its folder.

    :raises UnusableDatabase: somebody has the database open
    """
    is_there = place.exists()
    if os.geteuid() == 0:
        owner = (place if is_there else place.parent).stat()
        os.chown(made, owner.st_uid, owner.st_gid)
    if not is_there:
        _move_logs(place, aside)
        put(made, place)
        return False
    sync(made)
    _fold_log(place)
    with _held_alone(place):
        os.link(place, aside)
        _move_logs(place, aside)
        os.replace(made, place)
        sync(place.parent)
    return True


def has_log(path: Path) -> bool:
    """Whether a daemon uses the file, or has left a log beside it when it crashed."""
    return any(_beside(path, suffix).exists() for suffix in _LOGS)


def refuse_if_open(path: Path) -> None:
    """:raises UnusableDatabase: somebody has this database open"""
    if path.exists():
        with _held_alone(path):
            pass


@contextmanager
def _held_alone(path: Path) -> Iterator[None]:
    """Hold SQLite's own locks on a file, sound or not. This process must not have it open by other means."""
    start, length = _LOCKED_BYTES
    with path.open("rb+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        except (BlockingIOError, PermissionError):
            raise UnusableDatabase(f"{path} is in use: stop the daemon first") from None
        yield


def _fold_log(path: Path) -> None:
    """Take into the file what a daemon that crashed left beside it. If that cannot be done it stays in the log."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def _move_logs(place: Path, aside: Path) -> None:
    """Keep the logs of one file from being taken for those of the next."""
    for suffix in _LOGS:
        if _beside(place, suffix).exists():
            os.rename(_beside(place, suffix), _beside(aside, suffix))
    _beside(place, "-shm").unlink(missing_ok=True)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)

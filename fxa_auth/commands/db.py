"""``fxa-auth db``: what an operator does with a database as a whole.

The work is done by ``transfer`` and by the daemon's own adapters; here it is asked for, and told. No password in a URL
is ever printed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from twisted.internet.defer import CancelledError

from fxa_auth import transfer
from fxa_auth.commands import rewrap
from fxa_auth.commands.running import INTERRUPTED, add_settings_options, complain, run_reactor, say
from fxa_auth.config import DECLARED, ConfigError, Database, Loaded, masked_url
from fxa_auth.configfiles import load_settings
from fxa_auth.storage import Storage
from fxa_auth.store.bulk import Bulk, known_version, tables
from fxa_auth.store.database import DatabaseUnavailable, UnusableDatabase
from fxa_auth.store.schema import pending_upgrades
from fxa_auth.store.seal import KEY_ID_LENGTH, SEALED_TABLES, key_id
from fxa_auth.store.sealingkeys import mend_of_missing, read_key

if TYPE_CHECKING:
    from fxa_auth.commands import Subparsers

_URL = next(declared for declared in DECLARED if declared.name == "database.url").kind


def add_parser(subparsers: Subparsers) -> None:
    db = subparsers.add_parser("db", help="look at, upgrade, copy, back up or restore a database")
    actions = db.add_subparsers(metavar="ACTION", required=True)

    def add(name: str, run: Callable[[argparse.Namespace], int], summary: str, details: str) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {details}")
        action.set_defaults(run=lambda options: _told(run, options))
        return action

    status = add("status", _status, "say whether a daemon can use the database", "Nothing is changed.")
    upgrade = add("upgrade", _upgrade, "bring the schema up to date", "A daemon does the same when it starts.")
    upgrade.add_argument("--dry-run", action="store_true", help="only say what would be applied")
    copy = add(
        "copy",
        _copy,
        "copy a database into an empty one",
        "Daemons may serve meanwhile; what they write after the start of the copy is not in it. A password need not "
        "stand in a URL: libpq also takes it from PGPASSWORD or ~/.pgpass.",
    )
    copy.add_argument("source", metavar="FROM_URL", help="sqlite:///FILE or postgresql://…")
    copy.add_argument("target", metavar="TO_URL", help="a database without rows, or a file that is not there yet")
    backup = add("backup", _backup, "write an SQLite database into a new file", "Daemons may serve meanwhile.")
    restore = add(
        "restore",
        _restore,
        "put a backup in place of an SQLite database",
        "No daemon may use the database; what it held is kept beside it.",
    )
    for action in (backup, restore):
        action.add_argument("file", metavar="FILE", type=Path)
    rewrapping = add("rewrap", rewrap.run, "seal all secrets with the newest key", rewrap.DETAILS)
    for action in (status, upgrade, backup, restore, rewrapping):
        add_settings_options(action)


def _told(run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run an action; what keeps it from its end is told in one line."""
    try:
        return run(options)
    except ConfigError as error:
        for complaint in error.complaints:
            complain(complaint)
    except (DatabaseUnavailable, UnusableDatabase) as error:
        complain(masked_url(str(error)))
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    return 1


# What there is.


def _status(options: argparse.Namespace) -> int:
    loaded = _load(options)
    database = loaded.settings.database
    say(f"database: {database.shown_url} ({loaded.sources['database.url']})")
    if not database.is_postgres and (database.path is None or not Path(database.path).exists()):
        say("There is nothing yet: a daemon makes it when it starts.")
        return 0
    with transfer.reading(database, briefly=True) as bulk:
        version = bulk.version()
        say(f"schema: {version} applied, {known_version()} known to this program")
        for upgrade in pending_upgrades(version):
            say(f"schema: {upgrade.version} pending, a daemon applies it when it starts")
        recorded = bulk.sealing_keys() if version else []
        used = _key_ids_in_use(bulk) if version else set()
        faults = _tell_keys(loaded, recorded, sorted(used - set(recorded)))
        _tell_counts(bulk, version)
    return 1 if faults else 0


def _key_ids_in_use(bulk: Bulk) -> set[str]:
    """The ids (hex) with which the sealed values begin, behind one byte of format."""
    found: set[str] = set()
    for table in SEALED_TABLES:
        for column in table.columns:
            sql = f"SELECT DISTINCT substr({column}, 2, {KEY_ID_LENGTH}) FROM {table.name} WHERE {column} IS NOT NULL"
            found.update(bytes(id_).hex() for (id_,) in bulk.execute(sql))
    return found


def _tell_keys(loaded: Loaded, recorded: Sequence[str], unrecorded: Sequence[str]) -> set[str]:
    """Say for each sealing key whether it is at hand; the answer is what must be mended.

    ``recorded`` are the ids (hex) that the database lists, ``unrecorded`` those that are in use though it does not.
    """
    at_hand, missing = {}, set()
    for place in loaded.settings.sealing_keys:
        try:
            at_hand[key_id(read_key(place, os.environ, recorded)).hex()] = place
        except UnusableDatabase as error:
            if recorded or not _will_be_made(loaded, place):
                complain(loaded.complaint(error.setting, error))
                missing.add(place)
    first_place = loaded.settings.sealing_keys[0]
    mend = mend_of_missing(first_place, any(at_hand.get(id_) == first_place for id_ in recorded))
    for id_ in recorded:
        say(f"sealing key: {id_} " + (f"is in {at_hand[id_]}" if id_ in at_hand else f"is missing: {mend}"))
    for id_ in unrecorded:
        where = f"it is in {at_hand[id_]}" if id_ in at_hand else mend
        say(f"sealing key: {id_} seals some values but is not recorded: {where}; then run fxa-auth db rewrap")
    if not recorded:
        say("sealing key: none yet, a daemon records one when it first starts")
    return missing | (set(recorded) - set(at_hand)) | set(unrecorded)


def _will_be_made(loaded: Loaded, place: str) -> bool:
    """Whether a daemon on a new database makes the key itself."""
    return place == loaded.settings.sealing_keys[0] and not place.startswith("env:") and not Path(place).exists()


def _tell_counts(bulk: Bulk, version: int) -> None:
    for table in tables(version):
        say(f"{table.name}: {_counted(bulk.count(table), 'row')}")


# What can be done.


def _upgrade(options: argparse.Namespace) -> int:
    loaded = _load(options)
    database = loaded.settings.database
    pending = pending_upgrades(_version_of(database))
    if not pending:
        say(f"{database.shown_url} is at schema {known_version()}, nothing is pending")
        return 0
    versions = ", ".join(str(upgrade.version) for upgrade in pending)
    if options.dry_run:
        say(f"{database.shown_url} would be given schema {versions}")
        return 0

    async def apply(reactor: Any) -> int:
        adapter = Storage(loaded.settings, reactor).database
        try:
            await adapter.start()
        except (DatabaseUnavailable, UnusableDatabase) as error:
            complain(f"{database.shown_url}: {masked_url(str(error))}")
            return 1
        except CancelledError:
            complain("interrupted")
            return INTERRUPTED
        finally:
            await adapter.stop()
        say(f"{database.shown_url} was given schema {versions}")
        return 0

    return run_reactor(apply)


def _version_of(database: Database) -> int:
    if not database.is_postgres and not transfer.file_of(database).exists():
        return 0
    with transfer.reading(database, briefly=True) as bulk:
        return bulk.version()


def _copy(options: argparse.Namespace) -> int:
    source, target = _database("FROM_URL", options.source), _database("TO_URL", options.target)
    now = datetime.now(UTC)
    with _Progress(sys.stderr) as progress:
        copied = transfer.copy(source, target, int(now.timestamp() * 1000), _aside(now), progress)
    for name, digest in copied.digests.items():
        say(f"{name}: {_counted(digest.rows, 'row')}, SHA-256 {digest.checksum}")
    say(f"{target.shown_url} holds all that {source.shown_url} held, read back and compared")
    if copied.replaced is not None:
        say(f"the file without rows that was there is now {copied.replaced}")
    _tell_needed_keys(copied.sealing_keys)
    return 0


def _backup(options: argparse.Namespace) -> int:
    with _Progress(sys.stderr) as progress:
        content = transfer.backup(_load(options).settings.database, options.file, progress)
    accounts = _counted(content.accounts, "account")
    say(f"{options.file}: {_counted(content.size, 'byte')}, {accounts}, schema {content.version}, read back and sound")
    _tell_needed_keys(content.sealing_keys)
    return 0


def _restore(options: argparse.Namespace) -> int:
    database = _load(options).settings.database
    with _Progress(sys.stderr) as progress:
        content, replaced = transfer.restore(database, options.file, _aside(datetime.now(UTC)), progress)
    accounts = _counted(content.accounts, "account")
    say(f"{database.shown_url} is again what {options.file} holds: {accounts}, schema {content.version}")
    if replaced is not None:
        say(f"what it held before is now {replaced}")
    _tell_needed_keys(content.sealing_keys)
    return 0


def _load(options: argparse.Namespace) -> Loaded:
    return load_settings(options.config, options.profile, os.environ)


def _database(name: str, url: str) -> Database:
    try:
        return Database(url=_URL.check(url))
    except ValueError:
        raise UnusableDatabase(f"{name} must be {_URL.says}") from None


def _aside(now: datetime) -> str:
    return f".replaced-{now:%Y%m%dT%H%M%SZ}"


def _tell_needed_keys(keys: Sequence[str]) -> None:
    if keys:
        say(f"Its secrets can be read only with sealing key {', '.join(keys)}.")
        say("The keys are not in it: keep a copy of the files that sealingKeys names, in another place.")
    else:
        say("It has no sealing key yet.")


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


class _Progress:
    """Says on a terminal how far the work is, always on the same line; anywhere else nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()

    def __call__(self, what: str, done: int, total: int) -> None:
        self._show(f"{what}: {done:,} of {total:,}")

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *reason: object) -> None:
        self._show("")

    def _show(self, text: str) -> None:
        if self._is_terminal:
            print(f"\r{text}\x1b[K", end="", file=self._stream, flush=True)

"""Which key seals this database: the key file beside it, and the key ids that the database itself records.

The file is made with the first database and never replaced. A database without its key can't be read, so a daemon
that finds another key, or none, must not start.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.logger import Logger

from fxa_auth.store.database import Database, Statement, UnusableDatabase
from fxa_auth.store.seal import KEY_LENGTH, key_id

_log = Logger()


async def find_key(database: Database, path: Path | None, now_ms: int) -> bytes:
    """The key (32 bytes) that seals this database, read from ``path``; a new database is given a new key if need be.

    Without a path (a database in memory) the key lives as long as the process.

    :raises UnusableDatabase: the file is damaged, missing, or holds another key than the database wants
    """
    wanted = {row["key_id"] for row in await database.query("SELECT key_id FROM sealing_keys", {})}
    if path is None:
        return os.urandom(KEY_LENGTH)
    if not wanted:
        _make_unless_there(path)
    key = _read(path, wanted)
    found = key_id(key).hex()
    if not wanted:
        sql = "INSERT INTO sealing_keys (key_id, created_at_ms) SELECT :key_id, :now_ms WHERE NOT EXISTS"
        sql += " (SELECT 1 FROM sealing_keys)"
        await database.change([Statement(sql, {"key_id": found, "now_ms": now_ms})])
        wanted = {row["key_id"] for row in await database.query("SELECT key_id FROM sealing_keys", {})}
    if found not in wanted:
        raise UnusableDatabase(
            f"sealingKeyFile: {path} holds key {found}, the database is sealed with key {', '.join(sorted(wanted))}: "
            "put that key's file there"
        )
    return key


def _read(path: Path, wanted: set[str]) -> bytes:
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except FileNotFoundError:
        raise UnusableDatabase(
            f"sealingKeyFile: {path} is missing, the database is sealed with key {', '.join(sorted(wanted))}: "
            "restore that file from your backup of it"
        ) from None
    except OSError as error:
        raise UnusableDatabase(f"sealingKeyFile: cannot read {path} ({error.strerror}): mend its permissions") from None
    except ValueError:
        key = b""
    if len(key) != KEY_LENGTH:
        raise UnusableDatabase(f"sealingKeyFile: {path} is not a sealing key (64 hex digits): restore it from a backup")
    return key


def _make_unless_there(path: Path) -> None:
    """Write a new key so that the file is there whole or not at all, and never over another one."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(os.urandom(KEY_LENGTH).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        finally:
            draft.unlink()
        _sync_folder(path.parent)
    except OSError as error:
        raise UnusableDatabase(
            f"sealingKeyFile: cannot write {path} ({error.strerror}): mend the folder's permissions"
        ) from None
    _log.info("store.sealing_key_made", path=str(path))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

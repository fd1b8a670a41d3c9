"""The sealing keys of a database: made once, never replaced, and asked for by name when it is not the right one."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from fxa_auth.store import sealingkeys
from fxa_auth.store.database import UnusableDatabase
from fxa_auth.store.seal import key_id
from fxa_auth.store.sealingkeys import find_keys
from tests.store.contract import OnSqliteFile, all_of

NOW_MS = 1_700_000_000_000
ROOT = Path(__file__).resolve().parent.parent.parent
KEY, OTHER_KEY = b"\x01" * 32, b"\x02" * 32


class SealingKeyTests(OnSqliteFile, TestCase):
    """With an SQLite file; nothing here depends on the kind of database."""

    async def setUp(self) -> None:
        self.database = await self.make_database()
        self.key_path = self.scratch() / "keys" / "sealing.key"

    async def find(self) -> bytes:
        [key] = await find_keys(self.database, [str(self.key_path)], {}, NOW_MS)
        return key

    async def recorded(self) -> list[str]:
        return [
            row["key_id"] for row in await self.database.query("SELECT key_id FROM sealing_keys ORDER BY position", {})
        ]

    def put(self, text: str | bytes) -> None:
        self.key_path.parent.mkdir(parents=True, exist_ok=True)
        self.key_path.write_bytes(text.encode() if isinstance(text, str) else text)

    async def complaint(self) -> str:
        """The one line by which the database is refused."""
        error = await self.assertFailure(Deferred.fromCoroutine(self.find()), UnusableDatabase)
        self.assertEqual(len(str(error).splitlines()), 1)
        self.assertEqual(error.setting, "sealingKeys")
        self.assertFalse(str(error).startswith("sealingKeys"), "whoever tells it names the setting, with its source")
        self.assertIn(str(self.key_path), str(error))
        return str(error)

    async def test_a_new_database_is_given_a_new_key(self) -> None:
        key = await self.find()
        self.assertEqual(len(key), 32)
        self.assertEqual(self.key_path.read_text(), key.hex() + "\n")
        self.assertEqual(self.key_path.stat().st_mode & 0o7777, 0o600)
        self.assertEqual(self.key_path.parent.stat().st_mode & 0o7777, 0o700)
        self.assertEqual(await self.recorded(), [key_id(key).hex()])
        self.assertEqual(os.listdir(self.key_path.parent), [self.key_path.name], "no draft is left")

    async def test_the_key_is_private_whatever_the_umask(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        await self.find()
        self.assertEqual(self.key_path.stat().st_mode & 0o7777, 0o600)

    async def test_the_key_stays_the_same(self) -> None:
        first = await self.find()
        before = self.key_path.stat()
        self.assertEqual(await self.find(), first)
        self.assertEqual(
            (self.key_path.stat().st_ino, self.key_path.stat().st_mtime_ns), (before.st_ino, before.st_mtime_ns)
        )

    async def test_every_database_is_given_another_key(self) -> None:
        first = await self.find()
        self.database = await self.make_database()
        self.key_path = self.key_path.with_name("another.key")
        self.assertNotEqual(await self.find(), first)

    async def test_a_key_that_was_there_before_its_database_is_used(self) -> None:
        """As after a crash between writing the file and recording its id."""
        self.put(KEY.hex())
        self.assertEqual(await self.find(), KEY)
        self.assertEqual(await self.recorded(), [key_id(KEY).hex()])

    async def test_a_crash_while_the_file_is_written_leaves_none(self) -> None:
        def crash(*_: object) -> None:
            raise OSError(5, "Input/output error")

        patch = self.patch(os, "fsync", crash)
        self.assertIn("Input/output error", await self.complaint())
        self.assertFalse(self.key_path.exists())
        self.assertEqual(await self.recorded(), [])
        patch.restore()
        self.assertEqual(len(await self.find()), 32)

    async def test_another_key_is_refused_by_name(self) -> None:
        wanted = key_id(await self.find()).hex()
        self.put(OTHER_KEY.hex())
        complaint = await self.complaint()
        self.assertIn(wanted, complaint)
        self.assertIn(key_id(OTHER_KEY).hex(), complaint)
        self.assertNotIn(OTHER_KEY.hex(), complaint)
        self.assertIn(f"put it in place of {self.key_path}, or name it first in sealingKeys", complaint)
        self.assertEqual(await self.recorded(), [wanted])

    async def test_a_missing_key_is_asked_for_by_name_and_not_made_anew(self) -> None:
        wanted = key_id(await self.find()).hex()
        self.key_path.unlink()
        self.assertIn(wanted, await self.complaint())
        self.assertFalse(self.key_path.exists())

    async def test_a_damaged_key_is_refused_by_name_and_left_alone(self) -> None:
        key = await self.find()
        for damaged in ("", "\n", key.hex()[:-1], key.hex()[:-2], key.hex() + "00", "x" * 64, key, "é" * 64):
            self.put(damaged)
            before = self.key_path.read_bytes()
            complaint = await self.complaint()
            self.assertIn(key_id(key).hex(), complaint, repr(damaged))
            self.assertNotIn(key.hex()[:60], complaint)
            self.assertEqual(self.key_path.read_bytes(), before)

    async def test_a_damaged_key_is_not_recorded_for_a_new_database(self) -> None:
        self.put("00")
        await self.complaint()
        self.assertEqual(await self.recorded(), [])

    async def test_a_key_that_cannot_be_read_is_a_complaint(self) -> None:
        self.key_path.mkdir(parents=True)
        self.assertIn("cannot read", await self.complaint())

    async def test_a_folder_that_cannot_be_made_is_a_complaint(self) -> None:
        self.put("")
        self.key_path = self.key_path / "sealing.key"
        self.assertIn("cannot", await self.complaint())

    async def test_a_database_in_memory_has_a_key_of_its_own_and_no_file(self) -> None:
        memory = await self.open(None)
        [key] = await find_keys(memory, [], {}, NOW_MS)
        self.assertEqual(len(key), 32)
        self.assertNotEqual([key], await find_keys(memory, [], {}, NOW_MS))
        self.assertFalse(self.key_path.parent.exists())

    async def test_a_key_may_come_from_the_environment(self) -> None:
        keys = await find_keys(self.database, ["env:SEALING_KEY"], {"SEALING_KEY": f" {KEY.hex()}\n"}, NOW_MS)
        self.assertEqual(keys, [KEY])
        for environ in ({}, {"SEALING_KEY": ""}, {"SEALING_KEY": "x"}):
            call = Deferred.fromCoroutine(find_keys(self.database, ["env:SEALING_KEY"], environ, NOW_MS))
            error = await self.assertFailure(call, UnusableDatabase)
            self.assertIn("env:SEALING_KEY", str(error))
            self.assertIn(key_id(KEY).hex(), str(error))

    async def test_a_new_key_in_front_of_the_old_ones_is_recorded_too(self) -> None:
        old = await self.find()
        places, environ = ["env:NEW", str(self.key_path)], {"NEW": KEY.hex()}
        for _ in range(2):
            self.assertEqual(await find_keys(self.database, places, environ, NOW_MS), [KEY, old])
        self.assertEqual(await self.recorded(), [key_id(old).hex(), key_id(KEY).hex()])
        complaint = await self.complaint()
        self.assertIn(key_id(KEY).hex(), complaint, "the old key alone no longer opens everything")
        self.assertIn("name it in sealingKeys, behind the others", complaint)

    async def test_to_follow_the_complaint_about_another_key_leaves_that_one_unrecorded(self) -> None:
        """Were the other key first, it would become the newest, and other daemons could not read what it seals."""
        right = await self.find()
        wanted = key_id(right).hex()
        places, environ = [str(self.key_path), "env:OTHER"], {"OTHER": OTHER_KEY.hex()}
        self.assertEqual(await find_keys(self.database, places[:1], environ, NOW_MS), [right])
        error = await self.assertFailure(
            Deferred.fromCoroutine(find_keys(self.database, places[1:], environ, NOW_MS)), UnusableDatabase
        )
        self.assertIn("in place of env:OTHER, or name it first in sealingKeys", str(error))
        self.assertEqual(await find_keys(self.database, places, environ, NOW_MS), [right, OTHER_KEY])
        self.assertEqual(await self.recorded(), [wanted])

    async def test_a_key_written_by_another_in_the_last_moment_is_used(self) -> None:
        """The other daemon's file appears after this one has looked for it."""
        link = os.link

        def lose_the_race(draft: Path, path: Path) -> None:
            self.put(OTHER_KEY.hex())
            link(draft, path)

        self.patch(sealingkeys.os, "link", lose_the_race)
        self.assertEqual(await self.find(), OTHER_KEY)
        self.assertEqual(os.listdir(self.key_path.parent), [self.key_path.name])

    async def test_daemons_that_start_at_once_on_a_new_database_agree_on_one_key(self) -> None:
        folder = self.scratch()
        paths = [str(folder / "db" / "auth.sqlite"), str(folder / "sealing.key")]

        async def start() -> str:
            arguments = ["-m", "tests.store.first_start", *paths]
            out, err, code = await getProcessOutputAndValue(sys.executable, arguments, os.environ, str(ROOT), reactor)
            self.assertEqual((err, code), (b"", 0))
            return str(out.decode().strip())

        printed = await all_of([start() for _ in range(4)])
        key = bytes.fromhex((folder / "sealing.key").read_text())
        self.assertEqual(set(printed), {key_id(key).hex()})
        self.assertTrue(re.fullmatch("[0-9a-f]{16}", printed[0]), printed)
        self.assertEqual(sorted(os.listdir(folder)), ["db", "sealing.key"])

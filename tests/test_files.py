"""That what is to be safe on disk is handed to the disk, and that nothing stays open."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.files import sync


class SyncTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.file = self.folder / "file"
        self.file.touch()

    def test_files_and_folders_are_synced(self) -> None:
        for path in (self.folder, self.file):
            synced: list[int] = []
            with mock.patch.object(
                os, "fsync", lambda descriptor, seen=synced: seen.append(os.fstat(descriptor).st_ino)
            ):
                sync(path)
            self.assertEqual(synced, [path.stat().st_ino])

    def test_a_failure_is_told_and_leaves_nothing_open(self) -> None:
        before = os.listdir("/proc/self/fd")
        with mock.patch.object(os, "fsync", side_effect=OSError(28, "No space left on device")):
            self.assertRaises(OSError, sync, self.folder)
        self.assertEqual(os.listdir("/proc/self/fd"), before)

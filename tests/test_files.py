"""That what is to be safe on disk is handed to the disk, and that nothing stays open."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.files import remove_dead_socket, sync, write_new


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


class NewFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "a" / "file"

    def test_it_has_its_text_its_mode_and_a_folder_of_its_own(self) -> None:
        write_new(self.path, "text\n", 0o640)
        self.assertEqual(self.path.read_text(), "text\n")
        self.assertEqual(self.path.stat().st_mode & 0o7777, 0o640)
        self.assertEqual(self.path.parent.stat().st_mode & 0o7777, 0o700)

    def test_it_takes_nobodys_place_and_leaves_no_draft(self) -> None:
        write_new(self.path, "first", 0o600)
        self.assertRaises(FileExistsError, write_new, self.path, "second", 0o600)
        self.assertEqual(self.path.read_text(), "first")
        self.assertEqual(list(self.path.parent.iterdir()), [self.path])


class DeadSocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()  # mktemp's names are too long for a socket
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "socket"

    def bound(self) -> socket.socket:
        bound = socket.socket(socket.AF_UNIX)
        self.addCleanup(bound.close)
        bound.bind(str(self.path))
        return bound

    def test_one_that_nobody_listens_on_is_removed(self) -> None:
        self.bound().close()
        remove_dead_socket(self.path)
        self.assertFalse(self.path.exists())

    def test_one_that_somebody_listens_on_is_left(self) -> None:
        self.bound().listen(0)
        for _ in range(5):  # the later ones find no room to wait in
            waiting = socket.socket(socket.AF_UNIX)
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(str(self.path))
            remove_dead_socket(self.path)
            self.assertTrue(self.path.is_socket())

    def test_what_is_no_socket_is_left_and_what_is_not_there_is_no_matter(self) -> None:
        remove_dead_socket(self.path)
        self.path.write_text("text")
        remove_dead_socket(self.path)
        self.assertEqual(self.path.read_text(), "text")

"""The data folders are found in an installed package and in a checkout."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.data import data_dir


class DataDirTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.package = Path(self.mktemp()) / "fxa_auth"
        self.package.mkdir(parents=True)

    def test_a_folder_inside_the_package_is_found(self) -> None:
        (self.package / "templates").mkdir()
        self.assertEqual(data_dir("templates", self.package), self.package / "templates")

    def test_a_folder_beside_the_package_is_found(self) -> None:
        (self.package.parent / "templates").mkdir()
        self.assertEqual(data_dir("templates", self.package), self.package.parent / "templates")

    def test_the_installed_folder_wins_over_the_one_beside_the_package(self) -> None:
        (self.package / "templates").mkdir()
        (self.package.parent / "templates").mkdir()
        self.assertEqual(data_dir("templates", self.package), self.package / "templates")

    def test_a_file_of_that_name_is_no_folder(self) -> None:
        (self.package / "templates").touch()
        with self.assertRaises(FileNotFoundError):
            data_dir("templates", self.package)

    def test_the_error_names_both_places(self) -> None:
        with self.assertRaises(FileNotFoundError) as raised:
            data_dir("templates", self.package)
        self.assertIn(str(self.package / "templates"), str(raised.exception))
        self.assertIn(str(self.package.parent / "templates"), str(raised.exception))

    def test_the_folders_of_this_very_program_are_found(self) -> None:
        for name in ("templates", "locales"):
            self.assertTrue(data_dir(name).is_dir(), name)

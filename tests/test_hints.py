"""What the log of a daemon tells its operator to type, and to change."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.config import Layer, Loaded, load
from fxa_auth.hints import how_to_begin_inviting, how_to_invite

CLOSED = Layer("a.toml", {"registration": {"mode": ["closed"]}})


class InvitingTests(SynchronousTestCase):
    def line(self, loaded: Loaded, config_files: Sequence[str] = ()) -> str:
        return str(how_to_invite(loaded, config_files)["run"])

    def test_the_line_names_program_folder_files_and_a_profile_that_no_file_names(self) -> None:
        folder = Path(self.mktemp(), "it's here").absolute()
        folder.mkdir(parents=True)
        program = folder / "fxa-auth"
        program.touch()
        self.patch(sys, "executable", str(folder / "python"))
        self.patch(os, "getcwd", lambda: "/var/lib/fxa auth")
        for environ, profile, more in (
            ({}, None, ""),
            ({"NODE_ENV": "stage"}, None, " --profile stage"),
            ({"NODE_ENV": "stage"}, "prod", " --profile prod"),
        ):
            line = self.line(load([], environ, profile), ["/etc/a.toml", "/etc/b.toml"])
            files = "--config /etc/a.toml --config /etc/b.toml"
            command = f"{shlex.quote(str(program))} invite create --email ADDRESS {files}{more}"
            self.assertEqual(line, f"cd '/var/lib/fxa auth' && {command}")

    def test_where_the_program_is_not_beside_the_interpreter_it_is_left_to_the_path(self) -> None:
        self.patch(sys, "executable", "/nowhere/python")
        self.assertIn(" && fxa-auth invite create --email ADDRESS", self.line(load([], {})))

    def test_the_environment_that_the_line_needs(self) -> None:
        self.patch(os, "environ", {"PGPASSWORD": "secret", "PGHOST": "db", "HOME": "/"})
        keys = Layer("a.toml", {"sealingKeys": ["env:SEAL", "var/old.key"]})
        for layers, environ, needed in (
            ([], {"PORT": "1"}, []),
            ([], {"DATABASE_URL": "sqlite:///x"}, ["DATABASE_URL"]),
            ([keys], {"DB_BACKEND": "sqlite"}, ["DB_BACKEND", "SEAL"]),
            ([keys], {"DB_BACKEND": "postgres"}, ["DB_BACKEND", "PGHOST", "PGPASSWORD", "SEAL"]),
        ):
            self.assertEqual(how_to_invite(load(layers, environ), [])["environment"], needed)

    def test_the_user_is_the_daemons_own_by_name_if_it_has_one(self) -> None:
        for uid, user in ((0, pwd.getpwuid(0).pw_name), (2**31 - 2, str(2**31 - 2))):
            self.patch(os, "geteuid", lambda uid=uid: uid)
            self.assertEqual(how_to_invite(load([], {}), [])["user"], user)


class OpeningTests(SynchronousTestCase):
    def test_the_file_to_change_is_the_one_that_closes_the_server_or_else_wins(self) -> None:
        other, later = Layer("other.toml", {}), Layer("later.toml", {})
        for layers, where in (
            ([CLOSED, other], "in /etc/a.toml, restart"),
            ([other, CLOSED], "in /etc/a.toml, restart"),
            ([other, later], "in /etc/later.toml, restart"),
            ([], "in a settings file, name that with --config, restart"),
        ):
            told = how_to_begin_inviting(load(layers, {}), [f"/etc/{layer.name}" for layer in layers])
            self.assertEqual(told, f'write mode = ["invite"] below [registration] {where}, and type what run says')

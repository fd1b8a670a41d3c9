"""What the log tells the operator of this very daemon to type and to change, to the letter.

It knows the process: its folder, its user, its environment, its program and its settings files. What comes of the
command is no matter here.
"""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fxa_auth.config import Loaded
from fxa_auth.store.sealingkeys import ENVIRONMENT


def how_to_invite(loaded: Loaded, config_files: Sequence[str]) -> Mapping[str, object]:
    """The line by which somebody is invited (``run``), good in whatever folder, and as which ``user`` to type it.

    ``environment`` names the variables by which the daemon finds its store, and without which that line does not.
    ``config_files`` are the absolute paths of ``loaded.files``.
    """
    return {
        "run": _invite_line(loaded, config_files),
        "user": _user_name(os.geteuid()),
        "environment": _needed_environment(loaded),
    }


def how_to_begin_inviting(loaded: Loaded, config_files: Sequence[str]) -> str:
    """What to change on a server that is closed: in the file that closes it, or else in the one that wins."""
    files = dict(zip(loaded.files, config_files, strict=True))
    file = files.get(loaded.sources["registration.mode"]) or (config_files[-1] if config_files else None)
    where = f"in {file}" if file is not None else "in a settings file, name that with --config"
    return f'write mode = ["invite"] below [registration] {where}, restart, and type what run says'


def _invite_line(loaded: Loaded, config_files: Sequence[str]) -> str:
    program = Path(sys.executable).with_name("fxa-auth")
    words = [str(program) if program.exists() else program.name, "invite", "create", "--email", "ADDRESS"]
    for name in config_files:
        words += ["--config", name]
    if loaded.sources["env"] in ("--profile", "environment NODE_ENV"):
        words += ["--profile", loaded.settings.env]
    return f"cd {shlex.quote(os.getcwd())} && {shlex.join(words)}"


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _needed_environment(loaded: Loaded) -> list[str]:
    settings = loaded.settings
    kind, _, variable = loaded.sources["database.url"].partition(" ")
    of_url = [variable] if kind == "environment" else []
    of_libpq = sorted(name for name in os.environ if name.startswith("PG")) if settings.database.is_postgres else []
    of_keys = [place.removeprefix(ENVIRONMENT) for place in settings.sealing_keys if place.startswith(ENVIRONMENT)]
    return [*of_url, *of_libpq, *of_keys]

"""The command ``fxa-auth``: what an operator does beside the server with settings, database, accounts and the rest.

Each command adds its own parser and names the function that runs it; a new one is a function more in ``COMMANDS``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from fxa_auth import demo
from fxa_auth.commands import account, ban, db, events, invite, limits, mail
from fxa_auth.config import DECLARED, ConfigError, Declared, Loaded, doubts
from fxa_auth.configfiles import check_named_files, load_settings
from fxa_auth.extras import missing_extras
from fxa_auth.texts import check_texts

if TYPE_CHECKING:
    from fxa_auth.commands import Subparsers

_REFERENCE_INTRO = """\
# Settings

*This page is made by `fxa-auth config reference`; edit the declarations in `fxa_auth/config/tree.py` instead.*

Every setting has a default, so that the server starts without any. A value comes from the last of these that has one:

1. the default;
2. the default of the profile, where the tables below name one for dev (test has the same; stage is like prod);
3. the settings files: those in `CONFIG_FILES`, separated by commas, in their order, then each `--config FILE`;
4. the environment. A variable that is set to nothing counts as not set.

The profile is `--profile`, else `NODE_ENV`, else `env` in a file, else prod. A file is TOML or JSON, as the end of its
name (`.toml`, `.json`) says. Dotted names are tables within tables; a later file changes only what it names:

```toml
publicUrl = "https://accounts.example.com"

[smtp]
host = "mail.example.com"
port = 465
secure = true
```

The database can also be chosen by `DB_BACKEND`: `sqlite` is the default file, `memory` forgets everything at the end.
`DATABASE_URL` wins over it.

The server does not start with a name it does not know or a value it cannot use: it says which, where it came from and
what to write instead. `fxa-auth config check` says the same without starting anything, and `fxa-auth config show`
prints every value with its source. Both take `--config FILE` (repeatable) and `--profile NAME`.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the answer is the exit code. A usage error leaves by SystemExit, as argparse does."""
    parser = argparse.ArgumentParser(prog="fxa-auth", description="A Firefox Accounts authentication server.")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(subparsers)
    options = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] = options.run
    return run(options)


def add_config(subparsers: Subparsers) -> None:
    config = subparsers.add_parser("config", help="check, show or describe the settings")
    actions = config.add_subparsers(metavar="ACTION", required=True)
    for name, run, summary in (
        ("check", config_check, "say whether the server could start with these settings"),
        ("show", config_show, "print every setting with its source"),
        ("reference", config_reference, "print docs/configuration.md"),
    ):
        action = actions.add_parser(name, help=summary, description=summary)
        action.add_argument(
            "--config", metavar="FILE", action="append", default=[], help="a settings file; repeatable, later ones win"
        )
        action.add_argument("--profile", metavar="NAME", help="dev, test, stage or prod")
        action.set_defaults(run=run)


def config_check(options: argparse.Namespace) -> int:
    loaded = _load(options)
    if loaded is None:
        return 1
    complaints = [*check_named_files(loaded), *missing_extras(loaded), *check_texts(loaded)]
    if complaints:
        return _complain(complaints)
    for doubt in doubts(loaded):
        print(f"warning: {doubt}", file=sys.stderr)
    print(f"ok: the settings are good (profile {loaded.settings.env})")
    return 0


def config_show(options: argparse.Namespace) -> int:
    loaded = _load(options)
    if loaded is None:
        return 1
    for declared in DECLARED:
        shown = declared.shown(declared.value_in(loaded.settings))
        print(f"{declared.name} = {shown}  # {loaded.sources[declared.name]}")
    return 0


def config_reference(options: argparse.Namespace) -> int:
    print(reference(), end="")
    return 0


def reference() -> str:
    """The text of docs/configuration.md: the introduction, and a table for each group of settings."""
    parts = [_REFERENCE_INTRO]
    by_group = sorted(DECLARED, key=_group)
    for group, members in groupby(by_group, key=_group):
        parts.append("\n".join([f"## {group or 'General'}", "", *_table(members), ""]))
    return "\n".join(parts)


def _group(declared: Declared) -> str:
    table, dot, _ = declared.name.partition(".")
    return table if dot else ""


def _table(members: Iterable[Declared]) -> Iterator[str]:
    yield "| name | environment | value | default | default in dev | meaning |"
    yield "|---|---|---|---|---|---|"
    for declared in members:
        setting = declared.setting
        default, dev = (declared.shown(declared.default_in(profile)) for profile in ("prod", "dev"))
        cells = (
            f"`{declared.name}`",
            f"`{setting.env}`" if setting.env else "",
            declared.kind.says + (" (secret)" if setting.secret else ""),
            f"`{default}`",
            f"`{dev}`" if dev != default else "",
            setting.help,
        )
        yield "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    """Kept from breaking the table, and from being taken for HTML where it is not code."""
    text = text.replace("|", "\\|")
    return text if text.startswith("`") else text.replace("<", "&lt;")


def _load(options: argparse.Namespace) -> Loaded | None:
    """The settings, or None once what is wrong with them has been told."""
    try:
        return load_settings(options.config, options.profile, os.environ)
    except ConfigError as error:
        _complain(error.complaints)
        return None


def _complain(complaints: Iterable[str]) -> int:
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1


COMMANDS: tuple[Callable[[Subparsers], None], ...] = (
    add_config,
    account.add_parser,
    ban.add_parser,
    db.add_parser,
    demo.add_parser,
    events.add_parser,
    invite.add_parser,
    limits.add_parser,
    mail.add_parser,
)
"""Each adds the parser of one command, with ``set_defaults(run=…)``: a function from the options to the exit code."""

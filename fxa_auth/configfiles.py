"""Settings files: found by CONFIG_FILES and the command line, read as TOML or JSON, and handed to ``config``.

What a setting means and whether its value is good is for ``config`` to say; here are only the files: the settings
files themselves, and those that settings name.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fxa_auth.config import DECLARED, ConfigError, Layer, Loaded, literal, load
from fxa_auth.mailing import mail_server
from fxa_auth.store.sealingkeys import ENVIRONMENT
from fxa_auth.tls import TlsFileError


def load_settings(config_files: Sequence[str], profile: str | None, environ: Mapping[str, str]) -> Loaded:
    """Read the files of CONFIG_FILES (separated by commas), then ``config_files``; later ones win.

    Raises ConfigError: with every file that cannot be read, or else with every setting that is wrong.
    """
    listed = [name.strip() for name in environ.get("CONFIG_FILES", "").split(",")]
    layers: list[Layer] = []
    complaints: list[str] = []
    for name in [*filter(None, listed), *config_files]:
        try:
            layers.append(read_layer(name))
        except ConfigError as error:
            complaints += error.complaints
    if complaints:
        raise ConfigError(*complaints)
    return load(layers, environ, profile)


def read_layer(name: str) -> Layer:
    """Read one file; raises ConfigError naming it, and the line where it is malformed."""
    parse = _PARSERS.get(Path(name).suffix)
    if parse is None:
        raise ConfigError(f"{name}: the name of a settings file must end in .toml or .json")
    try:
        values = parse(Path(name).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: is not UTF-8 text") from None
    except RecursionError:
        raise ConfigError(f"{name}: is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{name}: {error.msg} (at line {error.lineno}, column {error.colno})") from None
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{name}: must hold one object of settings")
    return Layer(name, values)


def check_named_files(loaded: Loaded) -> list[str]:
    """One complaint for each file that the settings name and that cannot be read.

    The TLS files must be there if they are used; the key files are made at the first start, so a missing one is fine.
    """
    settings = loaded.settings
    needed = {"keyPath", "certPath"} if settings.use_https else set()
    complaints = []
    for declared in DECLARED:
        if declared.name not in needed | {"secretKeyFile", "publicKeyFile", "sealingKeys"}:
            continue
        value = declared.value_in(settings)
        for name in (value,) if isinstance(value, str) else value:
            if name.startswith(ENVIRONMENT):
                continue
            try:
                with open(name, "rb"):
                    pass
            except OSError as error:
                if declared.name in needed or not isinstance(error, FileNotFoundError):
                    where = f"{declared.name} = {literal(name)} ({loaded.sources[declared.name]})"
                    complaints.append(f"{where}: cannot be read: {error.strerror}")
    try:
        mail_server(settings)
    except TlsFileError as error:
        complaints.append(loaded.complaint(error.setting, error))
    return complaints


def _parse_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_without_repetition)


def _without_repetition(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """TOML refuses a name that is given twice; here JSON does too."""
    table = dict(members)
    if len(table) < len(members):
        names = [name for name, _ in members]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{literal(repeated)} is given twice in one object")
    return table


_PARSERS: Mapping[str, Callable[[str], Any]] = {".toml": tomllib.loads, ".json": _parse_json}

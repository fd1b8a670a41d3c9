"""From files and environment to checked settings, each with its source.

``load`` lays defaults, profile, files and environment over each other, checks every value that counts and remembers
where it came from; what is wrong is told in lines that name the setting, the source and the mend. It takes and gives
values only: it opens no file, and it does not know who uses a setting.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fxa_auth.config.kinds import Refused, literal, region_of_queue
from fxa_auth.config.tree import DECLARED, DEFAULT_DATABASE_URL, DEFAULT_PROFILE, Declared, Settings

_BY_NAME = {declared.name: declared for declared in DECLARED}
_TABLES = {name[: dot.start()] for name in _BY_NAME for dot in re.finditer(r"\.", name)}
_BACKEND_URLS = {"sqlite": DEFAULT_DATABASE_URL, "memory": "sqlite://", "postgres": "postgresql://"}


class ConfigError(Exception):
    """What is wrong with the settings: ``complaints`` holds one line for each fault, ``str()`` all of them."""

    def __init__(self, *complaints: str) -> None:
        self.complaints = tuple(" ".join(complaint.splitlines()) for complaint in complaints)
        super().__init__("\n".join(self.complaints))


@dataclass(frozen=True)
class Layer:
    """What one file says: ``name`` is the file's, ``values`` its tables within tables."""

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Loaded:
    """The settings, for each dotted name its source, and the names of all files that were read, in their order.

    A source is ``default``, ``profile dev``, the name of a file, ``environment PORT`` or ``--profile``.
    """

    settings: Settings
    sources: Mapping[str, str]
    files: tuple[str, ...] = ()

    def shown(self, name: str) -> str:
        """A setting with its value and source, for people to read."""
        declared = _BY_NAME[name]
        return f"{name} = {declared.shown(declared.value_in(self.settings))} ({self.sources[name]})"

    def complaint(self, name: str, problem: object) -> str:
        """One line about a setting: its name, value and source, and the problem, which says what mends it."""
        return f"{self.shown(name)}: {problem}"


@dataclass(frozen=True)
class _Offer:
    value: Any
    source: str
    from_text: bool = False


def load(layers: Sequence[Layer], environ: Mapping[str, str], profile: str | None = None) -> Loaded:
    """Lay the layers over the defaults (later ones win, table by table), the environment over them, and check.

    ``profile`` is the one asked for on the command line: it wins over NODE_ENV, which wins over ``env`` in a file.
    Only the value that counts is checked. Raises ConfigError with every complaint.
    """
    offers: dict[str, _Offer] = {}
    complaints: list[str] = []
    for layer in layers:
        complaints += _read_table(layer.values, "", layer.name, offers)
    complaints += _read_environment(environ, offers)
    if profile is not None:
        offers["env"] = _Offer(profile, "--profile")
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for declared in DECLARED:
        offer = offers.get(declared.name) or _default_offer(declared, values.get("env", DEFAULT_PROFILE))
        sources[declared.name] = offer.source
        try:
            values[declared.name] = _checked(declared, offer)
        except ValueError as error:
            mend = str(error) if isinstance(error, Refused) else f"must be {declared.kind.says}"
            complaints.append(f"{declared.name} = {_quoted(declared, offer.value)} ({offer.source}): {mend}")
    complaints += _check_together(values, sources)
    if complaints:
        raise ConfigError(*complaints)
    return Loaded(msgspec.convert(_nested(values), Settings), sources, tuple(layer.name for layer in layers))


def _read_table(table: Mapping[str, Any], prefix: str, source: str, offers: dict[str, _Offer]) -> Iterator[str]:
    """Take over what the table offers; yields the complaints."""
    for key, value in table.items():
        name = f"{prefix}{key}"
        if "." in key:
            yield f'{name} ({source}): a name with a dot is a table within a table: write {{"smtp": {{"port": 25}}}}'
        elif name in _BY_NAME:
            offers[name] = _Offer(value, source)
        elif name in _TABLES and isinstance(value, Mapping):
            yield from _read_table(value, f"{name}.", source, offers)
        elif name in _TABLES:
            yield f"{name} ({source}): must be a table of settings"
        else:
            near = difflib.get_close_matches(name, _BY_NAME, n=1)
            yield f"{name} ({source}): no such setting" + (f", did you mean {near[0]}?" if near else ": remove it")


def _read_environment(environ: Mapping[str, str], offers: dict[str, _Offer]) -> Iterator[str]:
    """Take over the variables that are set and not empty; yields the complaints."""
    for declared in DECLARED:
        variable = declared.setting.env
        if variable and environ.get(variable):
            offers[declared.name] = _Offer(environ[variable], f"environment {variable}", from_text=True)
    backend = environ.get("DB_BACKEND")
    if not backend or environ.get("DATABASE_URL"):
        return
    if backend in _BACKEND_URLS:
        offers["database.url"] = _Offer(_BACKEND_URLS[backend], "environment DB_BACKEND")
    else:
        shown = _quoted(_BY_NAME["database.url"], backend)
        yield (
            f"database.url = {shown} (environment DB_BACKEND): must be sqlite, postgres or memory;"
            " or set DATABASE_URL=sqlite:///FILE instead"
        )


def _default_offer(declared: Declared, profile: str) -> _Offer:
    value = declared.default_in(profile)
    return _Offer(value, "default" if value is declared.default else f"profile {profile}")


def _checked(declared: Declared, offer: _Offer) -> Any:
    """The value to use; raises ValueError (which msgspec's ValidationError is)."""
    return declared.kind.check(msgspec.convert(offer.value, declared.type, strict=not offer.from_text))


def _quoted(declared: Declared, value: Any) -> str:
    """A refused value for a complaint, without what may be a credential in a URL, and not too long."""
    if declared.setting.secret:
        return "***"
    text = literal(value)
    if not declared.setting.repeated:
        word = re.match(r'"?\w*"?', text)
        text = text if word and word[0] == text else f'{word[0] if word else ""}…"'
    if "://" in text:
        text = re.sub(r"\?.*", '?…"', re.sub(r"://.*@", "://***@", text))
    return text if len(text) <= 120 else f"{text[:120]}…"


def _check_together(values: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[str]:
    for name in ("keyPath", "certPath"):
        if values.get("useHttps") and name in values and values[name] is None:
            yield f"{name} = unset ({sources[name]}): useHttps = true ({sources['useHttps']}) needs a PEM file here"
    pairs = (("smtp.user", "smtp.password"), ("basket.apiUrl", "basket.apiKey"))
    for name, other in (pair for one in pairs for pair in (one, one[::-1])):
        if values.get(name) is not None and other in values and values[other] is None:
            yield f"{other} = unset ({sources[other]}): {name} ({sources[name]}) is set: set both or neither"
    first, longest = "smtp.retryDelay", "smtp.maxRetryDelay"
    if first in values and longest in values and values[first] > values[longest]:
        yield (
            f"{longest} = {values[longest]} ({sources[longest]}): must not be less than"
            f" {first} = {values[first]} ({sources[first]})"
        )
    yield from _check_registration(values, sources)
    yield from _check_queues(values, sources)
    for name in ("bounces.listen.port", "bounces.listen.socket"):
        if values.get(name) is not None and "bounces.verp" in values and values["bounces.verp"] is None:
            mend = f"{name} ({sources[name]}) is set: name the address that reports come back to, or set neither"
            yield f"bounces.verp = unset ({sources['bounces.verp']}): {mend}"


def _check_queues(values: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[str]:
    """The region of each queue has to be known, and one only."""
    for name in ("bounces.bounceQueueUrl", "bounces.complaintQueueUrl"):
        if (url := values.get(name)) is None or "bounces.region" not in values:
            continue
        region, named = values["bounces.region"], region_of_queue(url)
        if region is None and named is None:
            mend = f"{name} ({sources[name]}) is set but names no region: say here which it is, such as us-east-1"
            yield f"bounces.region = unset ({sources['bounces.region']}): {mend}"
        elif region is not None and named is not None and region != named:
            mend = f"{name} ({sources[name]}) is in {named}: leave this out, or mend the one that is wrong"
            yield f"bounces.region = {literal(region)} ({sources['bounces.region']}): {mend}"


def _check_registration(values: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[str]:
    """A rule needs its setting, and its setting needs the rule: else somebody takes the server for shut or open."""

    def shown(name: str) -> str:
        return f"{name} = {_BY_NAME[name].shown(values[name])} ({sources[name]})"

    mode = "registration.mode"
    for rule, wanted in (("domains", "a domain here"), ("first", "a number here, 1 or more")):
        name = f"registration.{rule}"
        if mode not in values or name not in values:
            continue
        if rule in values[mode] and not values[name]:
            yield f"{shown(name)}: {shown(mode)} needs {wanted}"
        elif values[name] and rule not in values[mode]:
            yield f"{shown(name)}: counts only if {shown(mode)} names {rule}: name it there, or leave this out"


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *tables, leaf = name.split(".")
        table = tree
        for step in tables:
            table = table.setdefault(step, {})
        table[leaf] = value
    return tree

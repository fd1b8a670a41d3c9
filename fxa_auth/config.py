"""The settings: one frozen tree in which each setting declares its type, defaults, environment variable and meaning.

``load`` lays defaults, profile, files and environment over each other, checks every value that counts and remembers
where it came from; what is wrong is told in lines that name the setting, the source and the mend. This module takes
and gives values only: it opens no file, and it does not know who uses a setting.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import SplitResult, urlsplit

import msgspec

from fxa_auth.records import TokenKind

Profile = Literal["dev", "test", "stage", "prod"]
DEV_PROFILES = ("dev", "test")
DEFAULT_PROFILE: Profile = "prod"
DEFAULT_DATABASE_URL = "sqlite:///var/fxa-auth.sqlite"

_LONGEST_MS = 10**12

_PLACE = r'(\[[^\s"#@/?\]]*\]|[^\s"#@/?:,\[]*)(:[0-9]*)?'
_PARAMETER = r'[a-z_]+=[^\s"#@&=]*'
_POSTGRES_URL = re.compile(
    rf'postgres(ql)?://([^\s"#@/?]*@)?{_PLACE}(,{_PLACE})*(/[^\s"#@?]*)?(\?({_PARAMETER}(&{_PARAMETER})*)?)?'
)
"""Stricter than libpq, which takes the rest of a password with a raw ``@`` or ``/`` for a host or a database."""

_SAME_AS_DEFAULT: Any = object()
_Mark = TypeVar("_Mark")


class ConfigError(Exception):
    """What is wrong with the settings: ``complaints`` holds one line for each fault, ``str()`` all of them."""

    def __init__(self, *complaints: str) -> None:
        self.complaints = tuple(" ".join(complaint.splitlines()) for complaint in complaints)
        super().__init__("\n".join(self.complaints))


class _Refused(ValueError):
    """A value that needs a mend of its own; the message is the mend."""


@dataclass(frozen=True)
class Kind:
    """What a setting's values look like beyond their Python type.

    ``says`` completes the sentence "must be …". ``check`` gets a value of the right Python type and answers the value
    to use, or raises ValueError.
    """

    says: str
    check: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True)
class Setting:
    """What is declared beside a setting's type: one sentence of help, and the rest where it applies.

    ``env`` is its environment variable, ``dev`` its default in the dev and test profiles, ``secret`` keeps its value
    out of everything that is printed, and ``repeated=False`` keeps a refused one out of the complaint.
    """

    help: str
    env: str | None = None
    dev: Any = _SAME_AS_DEFAULT
    secret: bool = False
    repeated: bool = True


def _line(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise _Refused("must not contain control characters or lone surrogates")
    return text


def _text(text: str | None) -> str | None:
    if text == "":
        raise _Refused("must not be empty: leave it out instead")
    return text if text is None else _line(text)


def _within(lowest: int, highest: int) -> Callable[[int], int]:
    def check(number: int) -> int:
        if not lowest <= number <= highest:
            raise ValueError
        return number

    return check


def _key_places(places: tuple[str, ...]) -> tuple[str, ...]:
    if not places or len(set(places)) < len(places):
        raise ValueError
    for place in places:
        _text(place)
        if place.startswith("env:") and not re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*", place):
            raise ValueError
    return places


def _lifetime(ms: int) -> int:
    if ms == 0 or abs(ms) > _LONGEST_MS:
        raise ValueError
    return ms


def _host(host: str) -> str:
    _line(host)
    if ":" in host or re.fullmatch(r"[0-9.]+", host):
        ipaddress.ip_address(host)
    elif not re.fullmatch(r"\w[\w-]*(\.\w[\w-]*)*", host, re.ASCII):
        raise ValueError
    return host


def _split_url(url: str) -> SplitResult:
    if not re.fullmatch(r"[\w.~:/?#\[\]@!$&'()*+,;=%-]+", url, re.ASCII):
        raise ValueError
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.netloc.endswith(":") or parts.port == 0:
        raise ValueError
    _host(parts.hostname or "")
    return parts


def _base_url(url: str) -> str:
    """Scheme and host in lower case, no slash at the end: paths are appended to it."""
    if "?" in url or "#" in url:
        raise ValueError
    parts = _split_url(url)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _customs_url(url: str) -> str:
    if url == "builtin":
        raise _Refused('the builtin policy is not built yet: use "none" or the http(s) URL of a customs server')
    return url if url == "none" else _base_url(url)


def _jku_list(urls: tuple[str, ...]) -> tuple[str, ...]:
    """Left as they are: a token's jku must equal one of them to the letter."""
    for url in urls:
        _split_url(url)
        if "#" in url:
            raise ValueError
    return urls


def _trusted(proxies: int | tuple[str, ...] | str) -> int | tuple[str, ...] | str:
    if isinstance(proxies, int):
        return _within(0, 100)(proxies)
    if isinstance(proxies, str):
        return proxies
    return tuple(str(ipaddress.ip_network(network)) for network in proxies)


def _database_url(url: str) -> str:
    _line(url)
    if not (re.fullmatch(r"sqlite://(/[^?#]*[^?#/])?", url) or _POSTGRES_URL.fullmatch(url)):
        raise ValueError
    return url


def masked_url(text: str) -> str:
    """The text with user and password, and a password in a query, taken out of any URL in it."""
    without_user = re.sub(r"(postgres(ql)?://)[^\s\"]*@|(://)[^\s\"/?#]*@", r"\1\3***@", text)
    return re.sub(r"([?&](?:ssl)?password=)[^&\s\"]*", r"\1***", without_user)


def _mailbox(text: str) -> str:
    name = r'("[^"\\]*"|[^\s"<>@,;:\\()\[\]][^"<>@,;:\\()\[\]]*)'
    address = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9][A-Za-z0-9.-]*"
    if not re.fullmatch(rf"{address}|{name}?\s*<{address}>", _line(text)):
        raise ValueError
    return text


def _domain(domain: str) -> str:
    return _host(domain).lower() if domain else domain


Port = Annotated[int, Kind("a port number, 0 to 65535", _within(0, 65535))]
Pause = Annotated[int, Kind("a whole number of ms, 0 or more", _within(0, _LONGEST_MS))]
Interval = Annotated[int, Kind("a whole number of ms, 1 or more", _within(1, _LONGEST_MS))]
Lifetime = Annotated[int, Kind("a whole number of ms, not 0; a negative one expires at once", _lifetime)]
Count = Annotated[int, Kind("a whole number, 0 or more", _within(0, 2**31 - 1))]
PoolSize = Annotated[int, Kind("a whole number, 1 to 1000", _within(1, 1000))]
Host = Annotated[str, Kind("a host name or IP address", _host)]
FilePath = Annotated[str, Kind("a file name", _text)]
KeyPlaces = Annotated[tuple[str, ...], Kind('a list of file names or "env:NAME", one at least', _key_places)]
OptionalFilePath = Annotated[str | None, Kind("a file name", _text)]
Text = Annotated[str, Kind("text on one line", _line)]
OptionalText = Annotated[str | None, Kind("text on one line", _text)]
BaseUrl = Annotated[str, Kind("an http(s) URL without user, query and fragment", _base_url)]
CustomsUrl = Annotated[str, Kind('"none" or an http(s) URL without user, query and fragment', _customs_url)]
JkuList = Annotated[tuple[str, ...], Kind("a list of http(s) URLs without user and fragment", _jku_list)]
DatabaseUrl = Annotated[
    str,
    Kind(
        "sqlite:///relative, sqlite:////absolute, sqlite:// (memory) or postgresql://…, with special signs of names and"
        " passwords written as %40 and the like",
        _database_url,
    ),
]
Mailbox = Annotated[str, Kind("one ASCII mail address, with or without a name: Name <user@host>", _mailbox)]
Domain = Annotated[str, Kind('a domain name, or "" for none', _domain)]
TrustedProxies = Annotated[
    int | tuple[str, ...] | Literal["loopback"],
    Kind('a number of hops, a list of networks such as ["10.0.0.0/8"] without host bits, or "loopback"', _trusted),
]


class SettingsGroup(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A table of settings. Its ``repr`` shows no secret."""

    def __repr__(self) -> str:
        fields = msgspec.structs.fields(type(self))
        secret = {field.name for field in fields if any(mark.secret for mark in _marks(field.type, Setting))}
        shown = (f"{f.name}={'***' if f.name in secret else repr(getattr(self, f.name))}" for f in fields)
        return f"{type(self).__name__}({', '.join(shown)})"


class Log(SettingsGroup, frozen=True):
    level: Annotated[
        Literal["fatal", "error", "warn", "info", "debug", "trace"],
        Setting("The least grave level that is logged.", env="LOG_LEVEL"),
    ] = "info"


class Listen(SettingsGroup, frozen=True):
    host: Annotated[Host, Setting("The address the API listens on; 0.0.0.0 is every one.", env="IP_ADDRESS")] = (
        "127.0.0.1"
    )
    port: Annotated[Port, Setting("The port the API listens on; 0 is any free one.", env="PORT")] = 9000


class ContentServer(SettingsGroup, frozen=True):
    url: Annotated[
        BaseUrl, Setting("The content server, where mailed links and redirects lead.", env="CONTENT_SERVER_URL")
    ] = "http://127.0.0.1:3030"


class Database(SettingsGroup, frozen=True):
    url: Annotated[
        DatabaseUrl,
        Setting(
            "The database; instead, DB_BACKEND may be sqlite (this default), memory, or postgres (by libpq's own PG…"
            " variables).",
            env="DATABASE_URL",
            repeated=False,
        ),
    ] = DEFAULT_DATABASE_URL
    pool_size: Annotated[PoolSize, Setting("The most connections open at once (PostgreSQL).")] = 10
    statement_timeout: Annotated[
        Interval, Setting("Time in ms after which the server ends a statement, and a call gives up (PostgreSQL).")
    ] = 5_000
    lock_timeout: Annotated[
        Interval, Setting("Time in ms after which the server ends a wait for a lock (PostgreSQL).")
    ] = 3_000

    prune_interval: Annotated[
        Pause, Setting("Time in ms between two removals of expired tokens, give or take a quarter; 0 is never.")
    ] = 900_000

    @property
    def is_postgres(self) -> bool:
        return self.url.startswith("postgres")

    @property
    def shown_url(self) -> str:
        """The URL without a password, for people to read."""
        return masked_url(self.url)

    @property
    def path(self) -> str | None:
        """The SQLite file; None for a database in memory or on a server."""
        if self.url.startswith("postgres"):
            return None
        path = self.url.removeprefix("sqlite://").removeprefix("/")
        return None if path in ("", ":memory:") else path


class SmtpApi(SettingsGroup, frozen=True):
    host: Annotated[
        Host, Setting("The address of the mail helper's HTTP (dev and test profiles).", env="MAILER_HOST")
    ] = "127.0.0.1"
    port: Annotated[
        Port,
        Setting("The port of the mail helper's HTTP; 0 is any free one.", env="MAILER_PORT"),
    ] = 9001


class Smtp(SettingsGroup, frozen=True):
    host: Annotated[
        Host,
        Setting("The server mail is handed to; in dev and test the address the mail sink listens on.", env="SMTP_HOST"),
    ] = "127.0.0.1"
    port: Annotated[Port, Setting("Its port; in dev and test that of the mail sink.", env="SMTP_PORT", dev=9999)] = 25
    secure: Annotated[
        bool, Setting("Whether to speak TLS from the first byte; false is no TLS.", env="SMTP_SECURE")
    ] = False
    user: Annotated[OptionalText, Setting("The user to log in as.", env="SMTP_USER")] = None
    password: Annotated[OptionalText, Setting("The password to log in with.", env="SMTP_PASS", secret=True)] = None
    sender: Annotated[Mailbox, Setting("The From of every mail.", env="SMTP_SENDER")] = (
        "Firefox Accounts <accounts@localhost>"
    )
    redirect_domain: Annotated[
        Domain, Setting("The domain (with its subdomains) that a request's redirectTo must lie in; empty allows any.")
    ] = "firefox.com"
    resend_blackout_period: Annotated[
        Pause, Setting("Time in ms after a password is set in which no verification mail is resent.", dev=0)
    ] = 600_000
    retry_delay: Annotated[Interval, Setting("Pause in ms before a failed mail is tried again.", dev=1_000)] = 30_000
    timeout: Annotated[Interval, Setting("The longest that handing over one mail may take, in ms.")] = 30_000
    api: SmtpApi = msgspec.field(default_factory=SmtpApi)


class TokenLifetimes(SettingsGroup, frozen=True):
    account_reset_token: Annotated[Lifetime, Setting("How long an accountResetToken lives, in ms.")] = 900_000
    password_forgot_token: Annotated[Lifetime, Setting("How long a passwordForgotToken lives, in ms.")] = 3_600_000
    password_change_token: Annotated[Lifetime, Setting("How long a passwordChangeToken lives, in ms.")] = 900_000

    @property
    def by_kind(self) -> dict[TokenKind, int]:
        return {
            TokenKind.ACCOUNT_RESET: self.account_reset_token,
            TokenKind.PASSWORD_FORGOT: self.password_forgot_token,
            TokenKind.PASSWORD_CHANGE: self.password_change_token,
        }


class Scrypt(SettingsGroup, frozen=True):
    max_pending: Annotated[
        Count,
        Setting("Password hashes that may wait or run at once; 0 is no limit.", env="SCRYPT_MAX_PENDING"),
    ] = 0


class Toobusy(SettingsGroup, frozen=True):
    max_lag: Annotated[
        Pause, Setting("Event loop lag in ms from which requests are refused; 0 is never.", env="TOOBUSY_MAX_LAG")
    ] = 0


class Hawk(SettingsGroup, frozen=True):
    mode: Annotated[
        Literal["compat", "strict"],
        Setting("Strict refuses clocks more than 60 s off and repeated requests; compat lets both pass."),
    ] = "compat"


class Settings(SettingsGroup, frozen=True):
    """The whole tree. ``env`` comes first: the defaults of all others depend on it."""

    env: Annotated[
        Profile,
        Setting("The profile, which sets defaults: test is like dev, stage is like prod.", env="NODE_ENV"),
    ] = DEFAULT_PROFILE
    log: Log = msgspec.field(default_factory=Log)
    public_url: Annotated[
        BaseUrl,
        Setting("The URL clients use: signatures, certificates and routes depend on it.", env="PUBLIC_URL"),
    ] = "http://127.0.0.1:9000"
    listen: Listen = msgspec.field(default_factory=Listen)
    trust_proxies: Annotated[
        TrustedProxies,
        Setting(
            "Whose X-Forwarded-For counts: so many proxies, those in these networks (read from the right), or, as "
            "loopback, the whole chain if the peer is this machine; an empty list is nobody's.",
            dev="loopback",
        ),
    ] = ()
    use_https: Annotated[bool, Setting("Whether the API itself speaks TLS; needs keyPath and certPath.")] = False
    key_path: Annotated[OptionalFilePath, Setting("The PEM file of the TLS private key.")] = None
    cert_path: Annotated[OptionalFilePath, Setting("The PEM file of the TLS certificate and its chain.")] = None
    customs_url: Annotated[
        CustomsUrl, Setting("The customs server that guards against abuse; none asks nobody.", env="CUSTOMS_SERVER_URL")
    ] = "none"
    content_server: ContentServer = msgspec.field(default_factory=ContentServer)
    secret_key_file: Annotated[FilePath, Setting("The private key that signs certificates; made on first start.")] = (
        "var/secret-key.json"
    )
    public_key_file: Annotated[FilePath, Setting("Its public half; made on first start.")] = "var/public-key.json"
    sealing_keys: Annotated[
        KeyPlaces,
        Setting(
            "Where the keys are that secret columns are encrypted with: files, or env:NAME for an environment variable."
            " The first one encrypts (its file is made with the database), all of them decrypt."
        ),
    ] = ("var/sealing.key",)
    trusted_jkus: Annotated[
        JkuList,
        Setting(
            "The JWK sets whose keys may sign a preVerifyToken.",
            dev=("http://127.0.0.1:8080/.well-known/public-keys",),
        ),
    ] = msgspec.field(default=(), name="trustedJKUs")
    database: Database = msgspec.field(default_factory=Database)
    smtp: Smtp = msgspec.field(default_factory=Smtp)
    token_lifetimes: TokenLifetimes = msgspec.field(default_factory=TokenLifetimes)
    verifier_version: Annotated[
        Literal[0, 1],
        Setting("How new passwords are stretched: 1 is scrypt, 0 is cheap and for development only.", dev=0),
    ] = 1
    lockout_enabled: Annotated[
        bool, Setting("Whether an account is locked when the abuse policy says so.", dev=True)
    ] = False
    scrypt: Scrypt = msgspec.field(default_factory=Scrypt)
    toobusy: Toobusy = msgspec.field(default_factory=Toobusy)
    hawk: Hawk = msgspec.field(default_factory=Hawk)
    reported_version: Annotated[
        Text, Setting("The version that / and /__version__ show; empty is this server's own.")
    ] = ""

    @property
    def development(self) -> bool:
        """Whether the profile is dev or test."""
        return self.env in DEV_PROFILES


@dataclass(frozen=True)
class Declared:
    """One setting of the tree: its dotted name as files have it, and its attribute path as the code has it."""

    name: str
    path: tuple[str, ...]
    type: Any
    kind: Kind
    setting: Setting
    default: Any

    def default_in(self, profile: str) -> Any:
        own = profile in DEV_PROFILES and self.setting.dev is not _SAME_AS_DEFAULT
        return self.setting.dev if own else self.default

    def value_in(self, settings: Settings) -> Any:
        value: Any = settings
        for attribute in self.path:
            value = getattr(value, attribute)
        return value

    def shown(self, value: Any) -> str:
        """A checked value as a file would have it; an absent one is ``unset``, a secret ``***``."""
        if value is None:
            return "unset"
        return "***" if self.setting.secret else masked_url(literal(value))


def _marks(hint: Any, sort: type[_Mark]) -> list[_Mark]:
    """What stands beside a type in ``Annotated``, of one sort."""
    return [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, sort)]


def _kind_of(hint: Any) -> Kind:
    kinds = _marks(hint, Kind)
    if kinds:
        return kinds[0]
    bare = get_args(hint)[0]
    return Kind("true or false") if bare is bool else Kind("one of " + ", ".join(map(str, get_args(bare))))


def _declared(group: type[SettingsGroup], name: str = "", path: tuple[str, ...] = ()) -> Iterator[Declared]:
    for field in msgspec.structs.fields(group):
        field_name, field_path = f"{name}{field.encode_name}", (*path, field.name)
        if isinstance(field.type, type) and issubclass(field.type, SettingsGroup):
            yield from _declared(field.type, f"{field_name}.", field_path)
        else:
            (setting,) = _marks(field.type, Setting)
            bare = get_args(field.type)[0]
            yield Declared(field_name, field_path, bare, _kind_of(field.type), setting, field.default)


DECLARED = tuple(_declared(Settings))
"""Every setting, in the order of the tree."""

_BY_NAME = {declared.name: declared for declared in DECLARED}
_TABLES = {name.rpartition(".")[0] for name in _BY_NAME if "." in name}
_NOT_BUILT = ("i18n", "bounces", "basket", "snsTopicArn")
_BACKEND_URLS = {"sqlite": DEFAULT_DATABASE_URL, "memory": "sqlite://", "postgres": "postgresql://"}


@dataclass(frozen=True)
class Layer:
    """What one file says: ``name`` is the file's, ``values`` its tables within tables."""

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Loaded:
    """The settings, and for each dotted name its source.

    A source is ``default``, ``profile dev``, the name of a file, ``environment PORT`` or ``--profile``.
    """

    settings: Settings
    sources: Mapping[str, str]

    def complaint(self, name: str, problem: object) -> str:
        """One line about a setting: its name, value and source, and the problem, which says what mends it."""
        declared = _BY_NAME[name]
        return f"{name} = {declared.shown(declared.value_in(self.settings))} ({self.sources[name]}): {problem}"


@dataclass(frozen=True)
class _Offer:
    value: Any
    source: str
    from_text: bool = False


def literal(value: Any) -> str:
    """The value on one line, much as a file would have it."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
        return text if text.isprintable() else json.dumps(value, default=str)
    except (TypeError, ValueError, RecursionError):
        return f"<{type(value).__name__}>"


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
            mend = str(error) if isinstance(error, _Refused) else f"must be {declared.kind.says}"
            complaints.append(f"{declared.name} = {_quoted(declared, offer.value)} ({offer.source}): {mend}")
    complaints += _check_together(values, sources)
    if complaints:
        raise ConfigError(*complaints)
    return Loaded(msgspec.convert(_nested(values), Settings), sources)


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
        elif name in _NOT_BUILT:
            yield from _not_built(name, value, source)
        else:
            near = difflib.get_close_matches(name, _BY_NAME, n=1)
            yield f"{name} ({source}): no such setting" + (f", did you mean {near[0]}?" if near else ": remove it")


def _not_built(name: str, value: Any, source: str) -> Iterator[str]:
    if name == "snsTopicArn":
        if value != "disabled":
            yield f'{name} ({source}): not built yet: leave it out or set it to "disabled"'
        return
    for member in value if isinstance(value, Mapping) and value else [None]:
        yield f"{name if member is None else f'{name}.{member}'} ({source}): not built yet: leave it out"


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
    pair = ("smtp.user", "smtp.password")
    for name, other in (pair, pair[::-1]):
        if values.get(name) is not None and other in values and values[other] is None:
            yield f"{other} = unset ({sources[other]}): {name} ({sources[name]}) is set: set both or neither"


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *tables, leaf = name.split(".")
        table = tree
        for step in tables:
            table = table.setdefault(step, {})
        table[leaf] = value
    return tree

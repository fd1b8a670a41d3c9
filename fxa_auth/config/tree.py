"""The settings: one frozen tree in which each setting declares its type, defaults, environment variable and meaning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec

from fxa_auth.config.kinds import (
    SAME_AS_DEFAULT,
    BaseUrl,
    Colour,
    Connections,
    Count,
    CustomsUrl,
    DatabaseUrl,
    Domain,
    EhloName,
    EventKinds,
    FilePath,
    Host,
    Interval,
    JkuList,
    KeyPlaces,
    Kind,
    LanguageTag,
    LanguageTags,
    Lifetime,
    Mailbox,
    MailDomains,
    Name,
    OptionalBaseUrl,
    OptionalFilePath,
    OptionalPort,
    OptionalQueueUrl,
    OptionalRegion,
    OptionalSocketPath,
    OptionalText,
    OptionalUrl,
    Pause,
    PoolSize,
    Port,
    RegistrationMode,
    ReturnPath,
    Setting,
    SomeEventKinds,
    Text,
    TopicArn,
    TrustedProxies,
    Verp,
    literal,
    masked_url,
    region_of_queue,
)
from fxa_auth.records import TokenKind

Profile = Literal["dev", "test", "stage", "prod"]
DEV_PROFILES = ("dev", "test")
DEFAULT_PROFILE: Profile = "prod"
DEFAULT_DATABASE_URL = "sqlite:///var/fxa-auth.sqlite"

_Mark = TypeVar("_Mark")


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
        Pause, Setting("Time in ms between two removals of what has expired, give or take a quarter; 0 is never.")
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
        bool,
        Setting(
            "Whether to speak TLS from the first byte, as on port 465; else startTls says whether TLS begins later.",
            env="SMTP_SECURE",
        ),
    ] = False
    start_tls: Annotated[
        Literal["required", "opportunistic", "off"],
        Setting(
            "Whether to ask for TLS by STARTTLS: always; where it is offered, whatever certificate is shown; or never, "
            "so that a password is sent in clear. Opportunistic is required where there is a user and the server is "
            "another machine."
        ),
    ] = "opportunistic"
    ca_file: Annotated[
        OptionalFilePath,
        Setting("The PEM file of those who may vouch for the server's certificate, instead of the system's."),
    ] = None
    user: Annotated[OptionalText, Setting("The user to log in as.", env="SMTP_USER")] = None
    password: Annotated[OptionalText, Setting("The password to log in with.", env="SMTP_PASS", secret=True)] = None
    sender: Annotated[Mailbox, Setting("The From of every mail.", env="SMTP_SENDER")] = (
        "Firefox Accounts <accounts@localhost>"
    )
    return_path: Annotated[
        ReturnPath, Setting("Where undeliverable mails go back to (the envelope's sender); unset is the From address.")
    ] = None
    ehlo_name: Annotated[
        EhloName, Setting("What the server is told as our name in EHLO; unset is the domain of the From address.")
    ] = None
    redirect_domain: Annotated[
        Domain, Setting("The domain (with its subdomains) that a request's redirectTo must lie in; empty allows any.")
    ] = "firefox.com"
    resend_blackout_period: Annotated[
        Pause, Setting("Time in ms after a password is set in which no verification mail is resent.", dev=0)
    ] = 600_000
    retry_delay: Annotated[
        Interval,
        Setting(
            "Pause in ms before a failed mail is tried again; it doubles each time, and chance has a say in it.",
            dev=1_000,
        ),
    ] = 30_000
    max_retry_delay: Annotated[
        Interval, Setting("The longest pause in ms between two attempts at a mail, give or take a quarter.")
    ] = 900_000
    max_age: Annotated[
        Interval, Setting("Time in ms after which a mail that no server has taken over becomes a dead letter.")
    ] = 259_200_000
    dead_letter_age: Annotated[
        Interval, Setting("Time in ms for which dead letters are kept; they are removed as expired tokens are.")
    ] = 2_592_000_000
    max_connections: Annotated[
        Connections, Setting("How many mails are handed over at once, each on a connection of its own.")
    ] = 4
    connect_timeout: Annotated[Interval, Setting("The longest that connecting may take, in ms.")] = 10_000
    reply_timeout: Annotated[Interval, Setting("The longest that the server may take for one answer, in ms.")] = 20_000
    timeout: Annotated[Interval, Setting("The longest that handing over one mail may take, in ms.")] = 30_000
    api: SmtpApi = msgspec.field(default_factory=SmtpApi)


class Branding(SettingsGroup, frozen=True):
    product_name: Annotated[Name, Setting("The name of the service, as mails and pages tell it.")] = "Firefox Accounts"
    support_url: Annotated[
        OptionalUrl, Setting("Where readers find help; unset, mails and pages say nothing of that.")
    ] = None
    button_color: Annotated[Colour, Setting("The colour of buttons in mails and on pages.")] = "#0a5dc2"
    button_text_color: Annotated[Colour, Setting("The colour of the text on them.")] = "#ffffff"
    overrides_dir: Annotated[
        OptionalFilePath,
        Setting("A folder whose `templates` and `locales` stand in for those of the same name, file by file."),
    ] = None


class I18n(SettingsGroup, frozen=True):
    default_language: Annotated[
        LanguageTag, Setting("The language for readers whose own languages are not on offer.")
    ] = "en"
    supported_languages: Annotated[LanguageTags, Setting("The languages on offer; unset, all that there are.")] = None


class ReportListening(SettingsGroup, frozen=True):
    host: Annotated[Host, Setting("The address that the listener for reports has its port on.")] = "127.0.0.1"
    port: Annotated[
        OptionalPort,
        Setting("The port where reports are taken in by SMTP; unset is none, 0 is any free one. Needs bounces.verp."),
    ] = None
    socket: Annotated[
        OptionalSocketPath,
        Setting(
            "The Unix socket where reports are taken in, by LMTP or SMTP, from its owner and its group; unset is none."
            " Needs bounces.verp."
        ),
    ] = None


class Bounces(SettingsGroup, frozen=True):
    bounce_queue_url: Annotated[
        OptionalQueueUrl,
        Setting("The SQS queue to which SES reports bounces, by way of SNS; unset is none.", env="BOUNCE_QUEUE_URL"),
    ] = None
    complaint_queue_url: Annotated[
        OptionalQueueUrl, Setting("The SQS queue to which SES reports complaints.", env="COMPLAINT_QUEUE_URL")
    ] = None
    region: Annotated[
        OptionalRegion,
        Setting("The region of both queues; unset is the one that a queue's URL names.", env="BOUNCE_REGION"),
    ] = None
    verp: Annotated[
        Verp,
        Setting(
            "What the return path of each mail is made of, so that reports about it can be told from others:"
            " bounce@example.com makes bounce+CODE@example.com; unset, mails have the return path that smtp says."
        ),
    ] = None
    listen: ReportListening = msgspec.field(default_factory=ReportListening)
    suppression_time: Annotated[
        Pause,
        Setting(
            "Time in ms for which a verified account gets no mail after one bounced for good or was called abuse; 0 is"
            " not at all."
        ),
    ] = 604_800_000

    def region_of(self, queue_url: str) -> str:
        """The region of a queue of these settings, which has been checked to be known."""
        return self.region or region_of_queue(queue_url) or ""


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
    max_pending_per_address: Annotated[
        Count,
        Setting("Password hashes that may wait at once for one client (an IPv6 client is a /64); 0 is no limit."),
    ] = 100


class Toobusy(SettingsGroup, frozen=True):
    max_lag: Annotated[
        Pause, Setting("Event loop lag in ms from which requests are refused; 0 is never.", env="TOOBUSY_MAX_LAG")
    ] = 0


class Registration(SettingsGroup, frozen=True):
    mode: Annotated[
        RegistrationMode,
        Setting("Who may make an account: whoever one of these lets in (docs/registration.md).", dev=("open",)),
    ] = ("closed",)
    domains: Annotated[
        MailDomains, Setting("The domains whose addresses the mode domains lets in; a subdomain is another domain.")
    ] = ()
    first: Annotated[
        Count, Setting("With how many accounts on the server the mode first lets nobody in any more; 0 is unset.")
    ] = 0


class Hawk(SettingsGroup, frozen=True):
    mode: Annotated[
        Literal["compat", "strict"],
        Setting("Strict refuses clocks more than 60 s off and repeated requests; compat lets both pass."),
    ] = "compat"


_REPORT_ONLY = "Whether this rule only has logged what it would have blocked."


class MailLimit(SettingsGroup, frozen=True):
    max: Annotated[
        Count,
        Setting(
            "Mails to one address that may be asked for within the window; one more, and none is sent for that long."
        ),
    ] = 3
    window: Annotated[Interval, Setting("The window for mails, in ms.")] = 900_000
    report_only: Annotated[bool, Setting(_REPORT_ONLY)] = False


class LoginLimit(SettingsGroup, frozen=True):
    max: Annotated[
        Count,
        Setting(
            "Wrong passwords for one address from one client within the window; one more, and the client may try no "
            "password for that address for that long."
        ),
    ] = 2
    window: Annotated[Interval, Setting("The window for wrong passwords from one client, in ms.")] = 900_000
    report_only: Annotated[bool, Setting(_REPORT_ONLY)] = False
    wait: Annotated[
        Pause,
        Setting(
            "How long in ms a password waits at most for those that the same client is just trying; then it is refused."
        ),
    ] = 15_000


class Lockout(SettingsGroup, frozen=True):
    max: Annotated[
        Count,
        Setting("Wrong passwords for one address from anywhere within the window; one more calls for a lockout."),
    ] = 20
    window: Annotated[Interval, Setting("The window for wrong passwords from anywhere, in ms.")] = 10_800_000
    report_only: Annotated[
        bool, Setting("Whether this rule only has logged that it would have had an account locked.")
    ] = False


class Bans(SettingsGroup, frozen=True):
    length: Annotated[Interval, Setting("How long in ms a ban lasts for which the operator names no time.")] = (
        86_400_000
    )
    report_only: Annotated[bool, Setting(_REPORT_ONLY)] = False


class Limits(SettingsGroup, frozen=True):
    """The rules of the builtin abuse policy."""

    mails: MailLimit = msgspec.field(default_factory=MailLimit)
    logins: LoginLimit = msgspec.field(default_factory=LoginLimit)
    lockout: Lockout = msgspec.field(default_factory=Lockout)
    bans: Bans = msgspec.field(default_factory=Bans)


class EventsOnSns(SettingsGroup, frozen=True):
    kinds: Annotated[SomeEventKinds, Setting("The events that are published to snsTopicArn.")] = ("verified", "delete")


class EventsOnStdout(SettingsGroup, frozen=True):
    kinds: Annotated[
        EventKinds, Setting("The events that are written to stdout, a line of JSON each; an empty list is none.")
    ] = ()


class Events(SettingsGroup, frozen=True):
    retention: Annotated[
        Pause, Setting("Time in ms for which events are kept at least; longer while a publisher is not done with them.")
    ] = 604_800_000
    sns: EventsOnSns = msgspec.field(default_factory=EventsOnSns)
    stdout: EventsOnStdout = msgspec.field(default_factory=EventsOnStdout)


class Basket(SettingsGroup, frozen=True):
    api_url: Annotated[
        OptionalBaseUrl,
        Setting("The Basket service that is told of verified addresses; unset is none.", env="BASKET_API_URL"),
    ] = None
    api_key: Annotated[
        OptionalText, Setting("The key by which Basket knows this server.", env="BASKET_API_KEY", secret=True)
    ] = None


class Aws(SettingsGroup, frozen=True):
    endpoint_url: Annotated[
        OptionalBaseUrl, Setting("A service that is asked instead of Amazon's, and speaks like them; unset is none.")
    ] = None


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
        CustomsUrl,
        Setting(
            "Who guards against abuse: the builtin policy (see limits), the customs server at a URL, or none.",
            env="CUSTOMS_SERVER_URL",
            dev="none",
        ),
    ] = "builtin"
    limits: Limits = msgspec.field(default_factory=Limits)
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
    branding: Branding = msgspec.field(default_factory=Branding)
    i18n: I18n = msgspec.field(default_factory=I18n)
    bounces: Bounces = msgspec.field(default_factory=Bounces)
    token_lifetimes: TokenLifetimes = msgspec.field(default_factory=TokenLifetimes)
    sns_topic_arn: Annotated[
        TopicArn, Setting("The Amazon SNS topic that events are published to; disabled is none.", env="SNS_TOPIC_ARN")
    ] = "disabled"
    events: Events = msgspec.field(default_factory=Events)
    basket: Basket = msgspec.field(default_factory=Basket)
    aws: Aws = msgspec.field(default_factory=Aws)
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
    registration: Registration = msgspec.field(default_factory=Registration)
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
        own = profile in DEV_PROFILES and self.setting.dev is not SAME_AS_DEFAULT
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

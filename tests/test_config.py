"""The settings tree and its loader, on values alone: no file is read here but the project's own source."""

from __future__ import annotations

import ast
import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import fxa_auth
from fxa_auth.config import (
    DECLARED,
    ConfigError,
    Database,
    Layer,
    Loaded,
    Profile,
    Settings,
    SettingsGroup,
    Smtp,
    doubts,
    load,
    masked_url,
)
from fxa_auth.records import EventKind

PACKAGE = Path(fxa_auth.__file__).parent
QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/123456789012/bounces"
BY_NAME = {declared.name: declared for declared in DECLARED}


def table(name: str, value: Any) -> dict[str, Any]:
    """``smtp.port`` and 25 as the tables of a file: ``{"smtp": {"port": 25}}``."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


def load_value(name: str, value: Any, profile: str | None = None) -> Loaded:
    return load([Layer("a.toml", table(name, value))], {}, profile)


def value_of(loaded: Loaded, name: str) -> Any:
    return BY_NAME[name].value_in(loaded.settings)


TOPIC = "arn:aws:sns:eu-west-1:123456789012:fxa-accounts"


class Complaining(SynchronousTestCase):
    def complaints(
        self, values: Mapping[str, Any], environ: Mapping[str, str] | None = None, profile: str | None = None
    ) -> tuple[str, ...]:
        with self.assertRaises(ConfigError) as caught:
            load([Layer("a.toml", values)], environ or {}, profile)
        return caught.exception.complaints

    def complaint(
        self, values: Mapping[str, Any], environ: Mapping[str, str] | None = None, profile: str | None = None
    ) -> str:
        complaints = self.complaints(values, environ, profile)
        self.assertEqual(len(complaints), 1, complaints)
        return complaints[0]


class DefaultsTests(SynchronousTestCase):
    def test_the_defaults_are_those_of_production(self) -> None:
        loaded = load([], {})
        self.assertEqual(loaded.settings, Settings())
        self.assertEqual(set(loaded.sources.values()), {"default"})
        self.assertFalse(loaded.settings.development)

    def test_stage_differs_from_prod_in_its_name_only(self) -> None:
        stage = load([], {}, "stage").settings
        self.assertEqual(msgspec.structs.replace(stage, env="prod"), load([], {}, "prod").settings)

    def test_dev_and_test_have_the_defaults_of_development(self) -> None:
        expected = {
            "trustProxies": "loopback",
            "customsUrl": "none",
            "trustedJKUs": ("http://127.0.0.1:8080/.well-known/public-keys",),
            "smtp.port": 9999,
            "smtp.resendBlackoutPeriod": 0,
            "smtp.retryDelay": 1000,
            "verifierVersion": 0,
            "lockoutEnabled": True,
            "registration.mode": ("open",),
        }
        for profile in ("dev", "test"):
            loaded = load([], {}, profile)
            self.assertTrue(loaded.settings.development)
            for name, declared in BY_NAME.items():
                if name == "env":
                    continue
                source = f"profile {profile}" if name in expected else "default"
                self.assertEqual(value_of(loaded, name), expected.get(name, declared.default), name)
                self.assertEqual(loaded.sources[name], source, name)

    def test_every_name_outside_is_camel_case_and_unique(self) -> None:
        self.assertEqual(len(BY_NAME), len(DECLARED))
        for name in BY_NAME:
            self.assertRegex(name, r"^[a-z][A-Za-z0-9]*(\.[a-z][A-Za-z]*)*$")

    def test_every_default_passes_its_own_check(self) -> None:
        for profile in get_args(Profile):
            load([], {}, profile)

    def test_every_setting_has_one_sentence_of_help(self) -> None:
        for declared in DECLARED:
            self.assertRegex(declared.setting.help, r"^[A-Z].*[^.]\.$", declared.name)

    def test_settings_cannot_be_changed(self) -> None:
        with self.assertRaises(AttributeError):
            load([], {}).settings.env = "dev"  # type: ignore[misc]


class PrecedenceTests(SynchronousTestCase):
    def test_a_later_file_wins_and_changes_only_what_it_names(self) -> None:
        first = Layer("first.toml", {"smtp": {"host": "one", "port": 1}, "listen": {"port": 3}})
        second = Layer("second.json", {"smtp": {"port": 2}})
        loaded = load([first, second], {})
        self.assertEqual((loaded.settings.smtp.host, loaded.settings.smtp.port), ("one", 2))
        self.assertEqual(loaded.settings.listen.port, 3)
        self.assertEqual(loaded.sources["smtp.host"], "first.toml")
        self.assertEqual(loaded.sources["smtp.port"], "second.json")

    def test_a_file_wins_over_the_profile(self) -> None:
        loaded = load_value("smtp.port", 26, "dev")
        self.assertEqual((loaded.settings.smtp.port, loaded.sources["smtp.port"]), (26, "a.toml"))

    def test_the_environment_wins_over_a_file(self) -> None:
        loaded = load([Layer("a.toml", {"listen": {"port": 1}})], {"PORT": "2"})
        self.assertEqual((loaded.settings.listen.port, loaded.sources["listen.port"]), (2, "environment PORT"))

    def test_an_empty_variable_counts_as_unset(self) -> None:
        loaded = load([], {declared.setting.env: "" for declared in DECLARED if declared.setting.env})
        self.assertEqual(loaded, load([], {}))

    def test_the_profile_is_the_option_then_the_variable_then_the_file(self) -> None:
        layers, environ = [Layer("a.toml", {"env": "stage"})], {"NODE_ENV": "test"}
        for profile, variables, expected, source in (
            ("dev", environ, "dev", "--profile"),
            (None, environ, "test", "environment NODE_ENV"),
            (None, {}, "stage", "a.toml"),
        ):
            loaded = load(layers, variables, profile)
            self.assertEqual((loaded.settings.env, loaded.sources["env"]), (expected, source))

    def test_the_profile_a_file_names_sets_the_defaults(self) -> None:
        loaded = load([Layer("a.toml", {"env": "dev"})], {})
        self.assertEqual((loaded.settings.smtp.port, loaded.sources["smtp.port"]), (9999, "profile dev"))

    def test_a_bad_value_that_is_overridden_does_not_count(self) -> None:
        layers = [Layer("a.toml", {"database": {"url": "postgresql://h/d"}})]
        self.assertEqual(load(layers, {"DATABASE_URL": "sqlite://"}).settings.database.url, "sqlite://")


class EnvironmentTests(Complaining):
    EXAMPLES: Mapping[str, tuple[str, str, Any]] = {
        "NODE_ENV": ("env", "stage", "stage"),
        "LOG_LEVEL": ("log.level", "trace", "trace"),
        "PUBLIC_URL": ("publicUrl", "https://a.example/base/", "https://a.example/base"),
        "IP_ADDRESS": ("listen.host", "0.0.0.0", "0.0.0.0"),
        "PORT": ("listen.port", "0", 0),
        "CUSTOMS_SERVER_URL": ("customsUrl", "http://127.0.0.1:7000", "http://127.0.0.1:7000"),
        "CONTENT_SERVER_URL": ("contentServer.url", "https://content.example", "https://content.example"),
        "DATABASE_URL": ("database.url", "sqlite:////srv/a.sqlite", "sqlite:////srv/a.sqlite"),
        "MAILER_HOST": ("smtp.api.host", "::1", "::1"),
        "MAILER_PORT": ("smtp.api.port", "65535", 65535),
        "SMTP_HOST": ("smtp.host", "mail.example", "mail.example"),
        "SMTP_PORT": ("smtp.port", "587", 587),
        "SMTP_SECURE": ("smtp.secure", "true", True),
        "SMTP_USER": ("smtp.user", "null", "null"),
        "SMTP_PASS": ("smtp.password", "12345", "12345"),
        "SMTP_SENDER": ("smtp.sender", "Me <me@example.com>", "Me <me@example.com>"),
        "BOUNCE_QUEUE_URL": ("bounces.bounceQueueUrl", QUEUE_URL, QUEUE_URL),
        "COMPLAINT_QUEUE_URL": ("bounces.complaintQueueUrl", QUEUE_URL, QUEUE_URL),
        "BOUNCE_REGION": ("bounces.region", "eu-west-1", "eu-west-1"),
        "TOOBUSY_MAX_LAG": ("toobusy.maxLag", "70", 70),
        "SCRYPT_MAX_PENDING": ("scrypt.maxPending", "100", 100),
        "SNS_TOPIC_ARN": ("snsTopicArn", TOPIC, TOPIC),
        "BASKET_API_URL": ("basket.apiUrl", "https://basket.example/news/", "https://basket.example/news"),
        "BASKET_API_KEY": ("basket.apiKey", "12345", "12345"),
    }
    PARTNERS: Mapping[str, Mapping[str, str]] = {
        "SMTP_USER": {"SMTP_PASS": "x"},
        "SMTP_PASS": {"SMTP_USER": "x"},
        "BASKET_API_URL": {"BASKET_API_KEY": "x"},
        "BASKET_API_KEY": {"BASKET_API_URL": "http://x"},
    }

    def test_the_examples_are_every_variable(self) -> None:
        self.assertEqual(set(self.EXAMPLES), {declared.setting.env for declared in DECLARED} - {None})

    def test_each_variable_sets_its_setting(self) -> None:
        for variable, (name, text, expected) in self.EXAMPLES.items():
            loaded = load([], {**self.PARTNERS.get(variable, {}), variable: text})
            self.assertEqual(value_of(loaded, name), expected, variable)
            self.assertIs(type(value_of(loaded, name)), type(expected), variable)
            self.assertEqual(loaded.sources[name], f"environment {variable}")

    def test_text_of_the_wrong_type_is_refused_with_the_name_of_the_variable(self) -> None:
        for variable, text in (
            ("PORT", "http"),
            ("PORT", " 9000"),
            ("PORT", "9000.5"),
            ("PORT", "9" * 5000),
            ("MAILER_PORT", "-1"),
            ("SMTP_PORT", "65536"),
            ("SMTP_SECURE", "yes"),
            ("SCRYPT_MAX_PENDING", "-1"),
            ("TOOBUSY_MAX_LAG", "fast"),
            ("LOG_LEVEL", "INFO"),
            ("NODE_ENV", "production"),
            ("PUBLIC_URL", "accounts.example.com"),
            ("IP_ADDRESS", "127.0.0.0.1"),
            ("SMTP_SENDER", "nobody"),
        ):
            complaint = self.complaint({}, {variable: text})
            name = self.EXAMPLES[variable][0]
            self.assertIn(f"{name} = ", complaint)
            self.assertIn(f"(environment {variable}): must be {BY_NAME[name].kind.says}", complaint)

    def test_db_backend_chooses_a_database(self) -> None:
        layers = [Layer("a.toml", {"database": {"url": "sqlite:///other.sqlite"}})]
        for backend, expected in (("sqlite", "sqlite:///var/fxa-auth.sqlite"), ("memory", "sqlite://")):
            loaded = load(layers, {"DB_BACKEND": backend})
            self.assertEqual(loaded.settings.database.url, expected)
            self.assertEqual(loaded.sources["database.url"], "environment DB_BACKEND")

    def test_database_url_wins_over_db_backend_whatever_that_says(self) -> None:
        for backend in ("memory", "mysql"):
            loaded = load([], {"DB_BACKEND": backend, "DATABASE_URL": "sqlite:///x"})
            self.assertEqual(loaded.settings.database.url, "sqlite:///x")

    def test_other_backends_are_refused_in_favour_of_database_url(self) -> None:
        for backend in ("mysql", "httpdb", "nonsense"):
            self.assertEqual(
                self.complaint({}, {"DB_BACKEND": backend}),
                f'database.url = "{backend}" (environment DB_BACKEND): must be sqlite, postgres or memory; '
                "or set DATABASE_URL=sqlite:///FILE instead",
            )


class ValueTests(Complaining):
    REFUSED: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("env", ("", "PROD", "development", None, 1, True, [])),
        ("log.level", ("", "verbose", None, 3)),
        (
            "publicUrl",
            (
                "", "accounts.example", "ftp://a", "http://", "http:///v1", "http://a?b", "http://a?", "http://a#b",
                "http://a#", "http://u@a", "http://u:p@a", "http://a:0", "http://a:", "http://a:65536", "http://a:x",
                "http://a b", "http://a\\b", "http://a\n", "http://[::1", "http://[zz]", "http://ä.example",
                "http://1.2.3.4.5", "http://.a", "http://a..b", None, 9000, ["http://a"],
            ),
        ),
        ("listen.host", ("", "a b", "1.2.3", "::g", "-a", "a/b", "::1%a\nb", None, 0)),
        ("listen.port", (-1, 65536, "9000", 9000.5, 9000.0, True, None, [], {}, float("nan"), 10**30, 0xF**6000)),
        (
            "trustProxies",
            (-1, 101, True, "10.0.0.0/8", "", ["loopback"], ["10.0.0.1/8"], ["10.0.0.0/33"], ["x"], [1], None, {}),
        ),
        ("useHttps", ("true", 1, None)),
        ("keyPath", ("", "a\0b", "a\ud800", 1)),
        ("certPath", ("", "a\nb", [])),
        ("customsUrl", ("", "None", "127.0.0.1:7000", "http://a?b", None, False)),
        *((f"limits.{rule}.max", (-1, 2**31, "3", 2.5, True, None)) for rule in ("mails", "logins", "lockout")),
        *((f"limits.{rule}.window", (0, -1, 10**13, "1", None)) for rule in ("mails", "logins", "lockout")),
        *((f"limits.{rule}.reportOnly", ("true", 1, None)) for rule in ("mails", "logins", "lockout", "bans")),
        ("limits.logins.wait", (-1, 10**13, "1", None)),
        ("limits.bans.length", (0, -1, 10**13, "1d", None)),
        ("contentServer.url", ("", "content.example", "http://a?b=c", None)),
        ("secretKeyFile", ("", "a\0b", None, 1)),
        ("publicKeyFile", ("", "a\0b", None, 1)),
        ("sealingKeys", ("", [], [""], ["a\0b"], ["env:"], ["env:A B"], ["a", "a"], None, 1)),
        ("trustedJKUs", ("http://a", [""], ["a"], ["http://a", "ftp://b"], ["http://a#"], ["http://u:p@a"], [1], None)),
        (
            "database.url",
            (
                "", "var/a.sqlite", "sqlite:a", "sqlite:/a", "sqlite:///", "sqlite:////", "sqlite:///var/",
                "sqlite://host/a", "sqlite:///a?mode=ro", "sqlite:///a#b", "sqlite:///a\0", "mysql://h/d", None, 1,
                "postgresql://me:sec/ret@h/d", "postgresql://me:sec?ret@h/d", "postgresql://me:12/34@h/d",
                "postgresql://me:s@cret@h/d", 'postgresql://me:se"cret@h/d', "postgresql://me:se#cret@h/d",
                "postgresql://h:port/d", "postgresql://h:1,i:x/d", "postgresql://::1/d", "postgresql://h/d?user=a@b",
                "postgresql://h/d?password=a=b", "postgresql://h/d?password=a&b", "postgresql://h/a\u00a0b",
            ),
        ),
        ("database.poolSize", (0, -1, 1001, "10", None)),
        ("database.statementTimeout", (0, -1, 10**13, None)),
        ("database.lockTimeout", (0, -1, 10**13, None)),
        ("database.pruneInterval", (-1, 10**13, "1", None)),
        ("smtp.host", ("", "a b", "mail.example:25", None)),
        ("smtp.port", (-1, 65536, "25", None)),
        ("smtp.secure", ("false", 0, None)),
        ("smtp.startTls", ("", "on", True, None)),
        ("smtp.caFile", ("", "a\nb", 1)),
        ("smtp.user", ("", "a\nb", 1)),
        ("smtp.password", ("", "a\nb", 1)),
        (
            "smtp.sender",
            (
                "", "nobody", "a@", "@a", "a@b, c@d", "A <a@b>, B <c@d>", "A <a@b", "A a@b", "a@b>", "<>", "ä@b",
                "a@ä.example", "A <a@b>\r\nBcc: c@d", "group: a@b;", "A, B <a@b>", None, 1,
            ),
        ),
        ("smtp.returnPath", ("", "a", "@a", "A <a@b>", "<a@b>", "a@b\r\n", "ä@b", "a b@c", 1)),
        (
            "smtp.ehloName",
            ("", "a b", "::1", "192.0.2.1", "[::1]", "[IPv6:192.0.2.1]", "[mail]", "[]", "a\r\nb", "ä.example", 1),
        ),
        ("smtp.redirectDomain", ("a b", "http://a", "a/b", "a:80", ".a", None)),
        ("smtp.resendBlackoutPeriod", (-1, 10**13, "1", 1.5, None)),
        ("smtp.retryDelay", (0, -1, 10**13, None)),
        ("smtp.maxRetryDelay", (0, -1, 10**13, None)),
        ("smtp.maxAge", (0, -1, 10**13, None)),
        ("smtp.deadLetterAge", (0, -1, 10**13, None)),
        ("smtp.maxConnections", (0, -1, 101, "4", 1.5, None)),
        ("smtp.connectTimeout", (0, -1, 10**13, None)),
        ("smtp.replyTimeout", (0, -1, 10**13, None)),
        ("smtp.timeout", (0, -1, 10**13, None)),
        ("smtp.api.host", ("", "a b", None)),
        ("smtp.api.port", (-1, 65536, None)),
        (
            "bounces.bounceQueueUrl",
            (
                "", "bounces", "arn:aws:sqs:us-east-1:123456789012:bounces", "https://sqs.us-east-1.amazonaws.com",
                "https://sqs.us-east-1.amazonaws.com/", f"{QUEUE_URL}?a=b", f"{QUEUE_URL}#a", "https://u:p@a/q", 1, [],
            ),
        ),
        ("bounces.complaintQueueUrl", ("", "ftp://a/q", "https://a b/q", 1)),
        ("bounces.region", ("", "US East", "us_east_1", "us-east-1.amazonaws.com", 1)),
        ("bounces.suppressionTime", (-1, 10**13, "1", 1.5, None)),
        (
            "bounces.verp",
            (
                "", "bounce", "@a.example", "bounce@", "Me <bounce@a.example>", "<bounce@a.example>", "b c@a.example",
                "bounce@a.example\n", "bounce@a b", "bounce@1.2.3.4", "bounce@[1.2.3.4]", "bounce@::1", "ä@a.example",
                "bounce@ä.example", ".bounce@a.example", "boun..ce@a.example", '"b"@a.example', f"{'b' * 16}@a.example",
                "a@b@c", 1, [],
            ),
        ),
        ("bounces.listen.host", ("", "a b", None)),
        ("bounces.listen.port", (-1, 65536, "25", True)),
        ("bounces.listen.socket", ("", "a\nb", "a\0", "s" * 108, "ä" * 54, 1)),
        ("tokenLifetimes.accountResetToken", (0, 10**13, -(10**13), "900000", None)),
        ("tokenLifetimes.passwordForgotToken", (0, True)),
        ("tokenLifetimes.passwordChangeToken", (0, 1.5)),
        (
            "snsTopicArn",
            (
                "", "accounts", "Disabled", "arn:aws:sns:eu-west-1:123456789012:", "arn:aws:sns::123456789012:a",
                "arn:aws:sns:eu-west-1:12345:a", "arn:aws:sqs:eu-west-1:123456789012:a", f"{TOPIC}\n", f"{TOPIC}/a",
                f"{TOPIC}.fifo.fifo", None, 1,
            ),
        ),
        ("events.retention", (-1, 10**13, "1", None)),
        ("events.sns.kinds", ([], ["created", "created"], ["Verified"], ["verified", "x"], "verified", None, 1)),
        ("events.stdout.kinds", (["created", "created"], ["x"], [1], "verified", True, None)),
        ("basket.apiUrl", ("", "basket.example", "http://a?b=c", "http://u@a", 1)),
        ("basket.apiKey", ("", "a\nb", 1)),
        ("aws.endpointUrl", ("", "localhost:4566", "http://a#b", 1)),
        ("verifierVersion", (2, -1, "1", True, None)),
        ("lockoutEnabled", ("true", 1, None)),
        ("scrypt.maxPending", (-1, 2**31, "1", None)),
        ("scrypt.maxPendingPerAddress", (-1, 2**31, "1", None)),
        ("toobusy.maxLag", (-1, "1", None)),
        ("hawk.mode", ("", "lax", None)),
        (
            "registration.mode",
            (
                "", "open", [], ["shut"], ["open", "invite"], ["closed", "invite"], ["open", "closed"],
                ["invite", "invite"], [""], [None], None, True, {},
            ),
        ),
        (
            "registration.domains",
            (
                "a.example", [""], ["a@b.example"], ["@a.example"], ["*.a.example"], [".a.example"], ["a.example."],
                ["a..example"], ["a b"], ["https://a.example"], ["a.example,b.example"], [1], None,
            ),
        ),
        ("registration.first", (-1, 2**31, "1", 1.5, True, None)),
        ("branding.productName", ("", "a\nb", "a\ud800", None, 1)),
        ("branding.supportUrl", ("", "help.example", "ftp://a", "http://u:p@a", "javascript:alert(1)", "http://a b")),
        ("branding.buttonColor", ("", "red", "#fff", "0a67c4", "#0a67c4;", "#0a67cg", "#0a67c4\n", None, 1)),
        ("branding.buttonTextColor", ("", "white", "#ffffff00", None)),
        ("branding.overridesDir", ("", "a\nb", 1)),
        ("i18n.defaultLanguage", ("", "pt_BR", "français", "x", "en-", "en\n", None, 1, ["en"])),
        ("i18n.supportedLanguages", ("", "en", [], [""], ["en", "pt_BR"], [1], {}, 1)),
        ("reportedVersion", ("1\n2", None, 1)),
    )  # fmt: skip

    TAKEN: tuple[tuple[str, Any, Any], ...] = (
        ("publicUrl", "HTTPS://Accounts.Example:8443/Base/", "https://accounts.example:8443/Base"),
        ("publicUrl", "http://[::1]:9000/", "http://[::1]:9000"),
        ("publicUrl", "http://localhost", "http://localhost"),
        ("listen.port", 0, 0),
        ("listen.port", 65535, 65535),
        ("listen.host", "::", "::"),
        ("listen.host", "localhost", "localhost"),
        ("trustProxies", 0, 0),
        ("trustProxies", 2, 2),
        ("trustProxies", "loopback", "loopback"),
        ("trustProxies", ["10.0.0.0/8", "192.0.2.7", "::1/128"], ("10.0.0.0/8", "192.0.2.7/32", "::1/128")),
        ("customsUrl", "none", "none"),
        ("customsUrl", "builtin", "builtin"),
        ("limits.logins.wait", 0, 0),
        ("limits.mails.max", 0, 0),
        ("trustedJKUs", ["https://A.example/Keys/?a=b"], ("https://A.example/Keys/?a=b",)),
        ("database.url", "sqlite:///:memory:", "sqlite:///:memory:"),
        *(
            ("database.url", url, url)
            for url in (
                "postgresql://",
                "postgres:///fxa?host=/run/postgresql",
                "postgresql://fxa-auth:pass:wo%40rd,x@db.example.com:5432/fxa?sslmode=verify-full&sslrootcert=/a/b.pem",
                "postgresql://a@a.example.com,b.example.com:5433,[::1]:5434,10.0.0.1:/fxa?target_session_attrs=any",
                "postgresql://%2Frun%2Fpostgresql/fxa?options=-c%20geqo%3Doff",
            )
        ),
        ("smtp.sender", "accounts@localhost", "accounts@localhost"),
        ("smtp.sender", "<a@b.example>", "<a@b.example>"),
        ("smtp.sender", '"Firefox, Inc." <a@b.example>', '"Firefox, Inc." <a@b.example>'),
        ("smtp.sender", "Comptes Firefox é <a@b.example>", "Comptes Firefox é <a@b.example>"),
        ("smtp.redirectDomain", "", ""),
        ("smtp.redirectDomain", "Firefox.com", "firefox.com"),
        ("smtp.user", None, None),
        ("smtp.returnPath", None, None),
        ("smtp.returnPath", "<>", "<>"),
        ("smtp.returnPath", "bounces+fxa@Example.com", "bounces+fxa@Example.com"),
        ("smtp.ehloName", None, None),
        ("smtp.ehloName", "accounts.example.com", "accounts.example.com"),
        ("smtp.ehloName", "[192.0.2.1]", "[192.0.2.1]"),
        ("smtp.ehloName", "[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
        ("smtp.maxConnections", 100, 100),
        ("branding.buttonColor", "#0A67C4", "#0a67c4"),
        ("branding.supportUrl", "https://help.example/a?b=c#d", "https://help.example/a?b=c#d"),
        ("branding.supportUrl", None, None),
        ("i18n.defaultLanguage", "pt-BR", "pt-BR"),
        ("i18n.supportedLanguages", ["en", "sr-LATN", "zh-Hant-TW"], ("en", "sr-LATN", "zh-Hant-TW")),
        ("i18n.supportedLanguages", None, None),
        ("bounces.bounceQueueUrl", QUEUE_URL, QUEUE_URL),
        ("bounces.bounceQueueUrl", None, None),
        ("bounces.region", "local", "local"),
        ("bounces.suppressionTime", 0, 0),
        ("bounces.verp", "Bounce.x+y_@Bounces.example", "Bounce.x+y_@Bounces.example"),
        ("bounces.verp", f"{'b' * 15}@localhost", f"{'b' * 15}@localhost"),
        ("bounces.listen.port", None, None),
        ("bounces.listen.socket", None, None),
        ("tokenLifetimes.accountResetToken", -1, -1),
        ("registration.mode", ["open"], ("open",)),
        ("registration.mode", ["invite"], ("invite",)),
        ("snsTopicArn", TOPIC, TOPIC),
        *(("snsTopicArn", arn, arn) for arn in ("arn:aws-cn:sns:cn-north-1:123456789012:a_-B1", f"{TOPIC}.fifo")),
        ("snsTopicArn", "disabled", "disabled"),
        ("events.retention", 0, 0),
        ("events.sns.kinds", ["delete", "login"], ("delete", "login")),
        ("events.stdout.kinds", [], ()),
        ("aws.endpointUrl", "http://127.0.0.1:4566/", "http://127.0.0.1:4566"),
        ("reportedVersion", "", ""),
    )

    def test_the_refused_values_cover_every_setting(self) -> None:
        self.assertEqual([name for name, _ in self.REFUSED if name not in BY_NAME], [])
        self.assertEqual(set(BY_NAME) - {name for name, _ in self.REFUSED}, set())

    def test_each_refused_value_gives_one_line_naming_setting_and_file(self) -> None:
        for name, values in self.REFUSED:
            for value in values:
                complaint = self.complaint(table(name, value))
                self.assertTrue(complaint.startswith(f"{name} = "), complaint)
                self.assertRegex(complaint, r"\(a\.toml\): (must|PostgreSQL is not)", complaint)
                self.assertEqual(len(complaint.splitlines()), 1, complaint)

    def test_good_values_are_taken_in_their_normal_form(self) -> None:
        for name, value, expected in self.TAKEN:
            loaded = load_value(name, value)
            self.assertEqual(value_of(loaded, name), expected)
            self.assertEqual(loaded.sources[name], "a.toml")

    def test_a_complaint_says_setting_value_source_and_mend(self) -> None:
        self.assertEqual(
            self.complaint({"listen": {"port": 70000}}),
            "listen.port = 70000 (a.toml): must be a port number, 0 to 65535",
        )

    def test_https_demands_a_key_and_a_certificate(self) -> None:
        complaints = self.complaints({"useHttps": True})
        self.assertEqual([complaint.split()[0] for complaint in complaints], ["keyPath", "certPath"])
        self.assertIn("certPath = unset (default)", self.complaint({"useHttps": True, "keyPath": "k.pem"}))
        loaded = load([Layer("a.toml", {"useHttps": True, "keyPath": "k.pem", "certPath": "c.pem"})], {})
        self.assertTrue(loaded.settings.use_https)

    def test_a_user_and_a_password_come_together(self) -> None:
        self.assertIn("smtp.password = unset", self.complaint(table("smtp.user", "me")))
        complaint = self.complaint({}, {"SMTP_PASS": "hunter2"})
        self.assertIn("smtp.user = unset (default): smtp.password (environment SMTP_PASS) is set", complaint)
        self.assertNotIn("hunter2", complaint)

    def test_the_longest_pause_between_attempts_at_a_mail_is_not_below_the_first(self) -> None:
        complaint = self.complaint({"smtp": {"retryDelay": 900_001}})
        self.assertEqual(
            complaint,
            "smtp.maxRetryDelay = 900000 (default): must not be less than smtp.retryDelay = 900001 (a.toml)",
        )
        load([Layer("a.toml", {"smtp": {"retryDelay": 5, "maxRetryDelay": 5}})], {})

    def test_a_rule_of_registration_and_its_own_setting_come_together(self) -> None:
        good = {"mode": ["domains", "first"], "domains": ["A.example", "bücher.example"], "first": 3}
        rules = load([Layer("a.toml", {"registration": good})], {}).settings.registration
        self.assertEqual((rules.domains, rules.first), (("a.example", "bücher.example"), 3))
        for registration, complaint in (
            (
                {"mode": ["invite", "domains"]},
                "registration.domains = [] (default): "
                'registration.mode = ["invite", "domains"] (a.toml) needs a domain here',
            ),
            (
                {"mode": ["first"], "first": 0},
                "registration.first = 0 (a.toml): "
                'registration.mode = ["first"] (a.toml) needs a number here, 1 or more',
            ),
            (
                {"domains": ["a.example"]},
                'registration.domains = ["a.example"] (a.toml): counts only if '
                'registration.mode = ["closed"] (default) names domains: name it there, or leave this out',
            ),
            (
                {"mode": ["invite"], "first": 5},
                'registration.first = 5 (a.toml): counts only if registration.mode = ["invite"] (a.toml) names first: '
                "name it there, or leave this out",
            ),
        ):
            self.assertEqual(self.complaint({"registration": registration}), complaint)

    def test_only_development_lets_everybody_in_by_default(self) -> None:
        for profile, mode in (("prod", "closed"), ("stage", "closed"), ("dev", "open"), ("test", "open")):
            self.assertEqual(load([], {}, profile).settings.registration.mode, (mode,), profile)

    def test_the_url_of_basket_and_its_key_come_together(self) -> None:
        self.assertIn("basket.apiKey = unset", self.complaint(table("basket.apiUrl", "https://basket.example")))
        complaint = self.complaint({}, {"BASKET_API_KEY": "hunter2"})
        self.assertIn("basket.apiUrl = unset (default): basket.apiKey (environment BASKET_API_KEY) is set", complaint)
        self.assertNotIn("hunter2", complaint)

    def test_every_kind_of_event_can_be_chosen(self) -> None:
        kinds = [kind.value for kind in EventKind]
        for name in ("events.sns.kinds", "events.stdout.kinds"):
            self.assertEqual(value_of(load_value(name, kinds), name), tuple(kinds))
            self.assertIn(", ".join(kinds), self.complaint(table(name, ["x"])))

    def test_a_queue_without_a_region_is_complained_about(self) -> None:
        for name in ("bounceQueueUrl", "complaintQueueUrl"):
            queue = {name: "http://127.0.0.1:9324/000000000000/q"}
            self.assertEqual(
                self.complaint({"bounces": queue}),
                f"bounces.region = unset (default): bounces.{name} (a.toml) is set but names no region: say here which"
                " it is, such as us-east-1",
            )
            loaded = load([Layer("a.toml", {"bounces": {**queue, "region": "elasticmq"}})], {})
            self.assertEqual(loaded.settings.bounces.region_of(queue[name]), "elasticmq")

    def test_the_region_of_a_queue_is_the_one_that_its_url_names(self) -> None:
        for host, region in (
            ("sqs.us-east-1.amazonaws.com", "us-east-1"),
            ("SQS.eu-central-1.amazonaws.com", "eu-central-1"),
            ("sqs-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("sqs.ap-southeast-2.api.aws", "ap-southeast-2"),
            ("eu-west-1.queue.amazonaws.com", "eu-west-1"),
            ("vpce-0123456789abcdef0-01234567.sqs.us-west-2.vpce.amazonaws.com", "us-west-2"),
        ):
            loaded = load_value("bounces.bounceQueueUrl", f"https://{host}/123456789012/q")
            self.assertEqual(loaded.settings.bounces.region_of(f"https://{host}/123456789012/q"), region)
        for host in ("queue.amazonaws.com", "us-east-1.example.com", "sqs.us-east-1.amazonaws.com.example.com"):
            self.assertIn("names no region", self.complaint(table("bounces.bounceQueueUrl", f"https://{host}/1/q")))

    def test_a_region_that_is_not_that_of_the_queue_is_complained_about(self) -> None:
        self.assertEqual(
            self.complaint({"bounces": {"bounceQueueUrl": QUEUE_URL, "region": "eu-west-1"}}),
            'bounces.region = "eu-west-1" (a.toml): bounces.bounceQueueUrl (a.toml) is in us-east-1: leave this out, or'
            " mend the one that is wrong",
        )
        load([Layer("a.toml", {"bounces": {"bounceQueueUrl": QUEUE_URL, "region": "us-east-1"}})], {})

    def test_a_listener_for_reports_needs_the_address_that_they_come_back_to(self) -> None:
        for name, value in (("port", 0), ("socket", "s" * 107)):
            self.assertEqual(
                self.complaint({"bounces": {"listen": {name: value}}}),
                f"bounces.verp = unset (default): bounces.listen.{name} (a.toml) is set: name the address that reports"
                " come back to, or set neither",
            )
            bounces = {"listen": {name: value}, "verp": "bounce@example.com"}
            self.assertEqual(value_of(load([Layer("a", {"bounces": bounces})], {}), f"bounces.listen.{name}"), value)

    def test_every_fault_is_told_on_a_line_of_its_own(self) -> None:
        values = {"listen": {"port": -1}, "smpt": {}, "log": {"level": "loud"}}
        complaints = self.complaints(values, {"SMTP_PORT": "x"}, "nowhere")
        self.assertEqual(len(complaints), 5)
        self.assertEqual(str(ConfigError(*complaints)), "\n".join(complaints))

    def test_the_path_of_a_database_url(self) -> None:
        for url, path in (
            ("sqlite:///var/a.sqlite", "var/a.sqlite"),
            ("sqlite:////srv/a.sqlite", "/srv/a.sqlite"),
            ("sqlite://", None),
            ("sqlite:///:memory:", None),
        ):
            self.assertEqual(load_value("database.url", url).settings.database.path, path)
            self.assertEqual(Database(url=url).path, path)


class NameTests(Complaining):
    def test_an_unknown_name_is_refused_with_the_nearest_known_one(self) -> None:
        for name, nearest in (
            ("smtp.prot", "smtp.port"),
            ("public_url", "publicUrl"),
            ("smtp.api.prt", "smtp.api.port"),
        ):
            self.assertEqual(
                self.complaint(table(name, 1)), f"{name} (a.toml): no such setting, did you mean {nearest}?"
            )

    def test_an_unknown_name_unlike_any_other_is_to_be_removed(self) -> None:
        self.assertEqual(self.complaint({"xyzzy": {"q": 1}}), "xyzzy (a.toml): no such setting: remove it")
        self.assertEqual(self.complaint({"": 1}), " (a.toml): no such setting: remove it")

    def test_a_dotted_name_is_refused(self) -> None:
        self.assertIn("smtp.port (a.toml): a name with a dot", self.complaint({"smtp.port": 25}))

    def test_a_value_where_a_table_belongs_is_refused(self) -> None:
        for name in ("smtp", "smtp.api", "listen"):
            for value in (25, None, [], "x"):
                self.assertEqual(self.complaint(table(name, value)), f"{name} (a.toml): must be a table of settings")

    def test_a_name_with_a_line_break_still_gives_one_line(self) -> None:
        self.assertEqual(len(self.complaint({"a\nb": 1}).splitlines()), 1)


class SecretTests(Complaining):
    def test_a_bad_password_is_not_in_the_complaint(self) -> None:
        for value in ("hunter2\n", ["hunter2"], {"x": "hunter2"}):
            complaint = self.complaint(table("smtp.password", value))
            self.assertNotIn("hunter2", complaint)
            self.assertIn("smtp.password = *** (a.toml)", complaint)

    def test_credentials_in_a_refused_url_are_not_in_the_complaint(self) -> None:
        for name, url in (
            ("database.url", "mysql://me:hunter2@host/name"),
            ("database.url", "postgresql://me:hun@ter2/hunter2@host/na me"),
            ("database.url", "postgresql://host/na me?user=me&password=hunter2"),
            ("publicUrl", "https://me:hunter2@host"),
            ("customsUrl", "https://me:hunter2@host"),
            ("listen.host", "https://me:hunter2@host"),
        ):
            self.assertNotIn("hunter2", self.complaint(table(name, url)))
        self.assertNotIn("hunter2", self.complaint({}, {"DB_BACKEND": "mysql://me:hunter2@host"}))

    @given(st.text(min_size=4, max_size=20) | st.text("ab1:/?@#&=%\\\"' ,[]", min_size=4, max_size=20))
    def test_no_password_put_raw_into_a_database_url_is_shown(self, password: str) -> None:
        for before, after in (("://me:", "@host:5432/name"), ("://host/name?password=", "&user=me")):
            if password in f"postgresql{before}{after}***":
                continue
            try:
                loaded = load_value("database.url", f"postgresql{before}{password}{after}")
            except ConfigError as error:
                told = str(error)
            else:
                told = loaded.settings.database.shown_url + loaded.complaint("database.url", "")
            own = ("database.url", "a.toml", BY_NAME["database.url"].kind.says)
            if not any(password in words for words in own):
                self.assertNotIn(password, told)

    def test_a_password_is_masked_wherever_it_stands(self) -> None:
        for text, shown in (
            ("postgresql://me:sec/r?t@h@host/d: no", "postgresql://***@host/d: no"),
            ("postgresql://host/d?user=me&password=a/b?c&port=1", "postgresql://host/d?user=me&password=***&port=1"),
            ("postgresql://host/d?sslpassword=a: no", "postgresql://host/d?sslpassword=*** no"),
            ('"postgresql://me@host/d" and "a@b"', '"postgresql://***@host/d" and "a@b"'),
            ("sqlite:///var/a@b.sqlite", "sqlite:///var/a@b.sqlite"),
            ("https://a.example/@keys https://me:secret@host", "https://a.example/@keys https://***@host"),
        ):
            self.assertEqual(masked_url(text), shown)

    def test_a_refused_database_url_is_not_repeated(self) -> None:
        complaint = self.complaint(table("database.url", "postgresql://me:sec/ret@host/name"))
        self.assertEqual(
            complaint, f'database.url = "postgresql…" (a.toml): must be {BY_NAME["database.url"].kind.says}'
        )
        self.assertIn("%40", complaint)

    def test_repr_shows_no_password(self) -> None:
        loaded = load([Layer("a.toml", {"smtp": {"user": "me", "password": "hunter2"}})], {})
        self.assertEqual(loaded.settings.smtp.password, "hunter2")
        for thing in (loaded, loaded.settings, loaded.settings.smtp, Smtp(password="hunter2")):
            self.assertNotIn("hunter2", repr(thing))
            self.assertNotIn("hunter2", str(thing))
        self.assertIn("password=***", repr(loaded.settings))

    def test_a_setting_whose_name_sounds_secret_is_marked_so(self) -> None:
        marked = {declared.name for declared in DECLARED if declared.setting.secret}
        self.assertEqual(marked, {"smtp.password", "basket.apiKey"})


GARBAGE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([datetime.date(2020, 1, 1), datetime.time(1), "\ud800", "http://[", "sqlite:///"])
    | st.from_regex(r"(https?|sqlite|postgres)://[a-z@:?#/\[\]%.0-9]*"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from(list(BY_NAME)), inner),
    max_leaves=6,
)


class GarbageTests(SynchronousTestCase):
    def check(self, layers: list[Layer], environ: dict[str, str], profile: str | None = None) -> None:
        try:
            load(layers, environ, profile)
        except ConfigError as error:
            self.assertTrue(error.complaints)
            for complaint in error.complaints:
                self.assertEqual(len(complaint.splitlines()), 1, complaint)

    @settings(database=None, deadline=None)
    @given(st.sampled_from(list(BY_NAME)), GARBAGE)
    def test_any_value_of_any_setting_is_taken_or_complained_about(self, name: str, value: Any) -> None:
        self.check([Layer("a.toml", table(name, value))], {})

    @settings(database=None, deadline=None)
    @given(
        st.dictionaries(st.sampled_from(["smtp", "i18n", "basket", "snsTopicArn", "log"]) | st.text(), GARBAGE),
        st.text(),
    )
    def test_any_file_is_taken_or_complained_about(self, values: dict[str, Any], name: str) -> None:
        self.check([Layer(name, values)], {})

    @settings(database=None, deadline=None)
    @given(
        st.dictionaries(st.sampled_from([*EnvironmentTests.EXAMPLES, "DB_BACKEND"]), st.text()),
        st.none() | st.text(),
    )
    def test_any_environment_is_taken_or_complained_about(self, environ: dict[str, str], profile: str | None) -> None:
        self.check([], environ, profile)

    def test_deep_nesting_is_complained_about(self) -> None:
        value: Any = []
        for _ in range(5000):
            value = [value]
        self.check([Layer("a.toml", table("listen.port", value))], {})


def reads(source: str) -> set[tuple[str, str]]:
    """Which (table, setting) pairs the Python source reads, by their attribute names.

    ``settings.smtp.port`` reads ("smtp", "port"), and so does ``mail.port`` where ``mail`` was bound to something that
    ends in ``.smtp`` or is declared as ``mail: Smtp``.
    """
    groups = {group.__name__: name for name, group in _groups(Settings, "settings")}
    tree = ast.parse(source)
    bound = {"settings": "settings", "self": "self"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            pairs = [pair for target in targets for pair in _pairs(target, node.value)]
            bound.update(
                {
                    target.id: value.attr.lstrip("_")
                    for target, value in pairs
                    if isinstance(target, ast.Name) and isinstance(value, ast.Attribute)
                }
            )
        if isinstance(node, ast.arg) and node.annotation is not None:
            sort = ast.unparse(node.annotation).strip("'\"").rpartition(".")[2]
            if sort in groups:
                bound[node.arg] = groups[sort]
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        if isinstance(node.value, ast.Attribute):
            found.add((node.value.attr, node.attr))
        elif isinstance(node.value, ast.Name) and node.value.id in bound:
            found.add((bound[node.value.id], node.attr))
    return found


def _pairs(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """What is bound to what: ``a, b = x, y`` binds a to x and b to y."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        yield from zip(target.elts, value.elts, strict=False)
    else:
        yield target, value


def _groups(group: type[SettingsGroup], name: str) -> Iterator[tuple[str, type[SettingsGroup]]]:
    yield name, group
    for field in msgspec.structs.fields(group):
        if isinstance(field.type, type) and issubclass(field.type, SettingsGroup):
            yield from _groups(field.type, field.name)


def derived() -> dict[tuple[str, str], set[str]]:
    """The fields that each property of a group is made of: reading ``database.path`` reads ``database.url``."""
    names = {group.__name__: name for name, group in _groups(Settings, "settings")}
    tree = ast.parse((PACKAGE / "config" / "tree.py").read_text())
    return {
        (names[group.name], method.name): {name for table, name in reads(ast.unparse(method)) if table == "self"}
        for group in tree.body
        if isinstance(group, ast.ClassDef) and group.name in names
        for method in group.body
        if isinstance(method, ast.FunctionDef)
    }


class DoubtTests(SynchronousTestCase):
    def doubts(self, url: str, profile: str = "prod") -> list[str]:
        return doubts(load([Layer("a.toml", {"contentServer": {"url": url}})], {}, profile))

    def test_a_content_server_on_the_readers_own_machine_is_doubtful_in_production(self) -> None:
        for url in (
            "http://127.0.0.1:3030",
            "http://127.9.9.9",
            "http://[::1]/x",
            "https://localhost",
            "http://LOCALHOST:1/",
            "http://accounts.localhost",
            "http://0.0.0.0",
            "http://[::]",
        ):
            for profile in ("prod", "stage"):
                (doubt,) = self.doubts(url, profile)
                self.assertRegex(doubt, r'^contentServer\.url = "http.*" \(a\.toml\): links in mails lead to')
            for profile in ("dev", "test"):
                self.assertEqual(self.doubts(url, profile), [])

    def test_other_places_are_not(self) -> None:
        for url in (
            "https://accounts.example.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "http://[fd00::1]",
        ):
            self.assertEqual(self.doubts(url), [])

    def test_a_content_server_that_differs_from_this_one_by_its_scheme_alone_is_doubtful(self) -> None:
        for public, content, is_doubtful in (
            ("https://accounts.example.com", "http://accounts.example.com", True),
            ("http://accounts.example.com/a", "https://Accounts.example.com:443/a/", True),
            ("https://accounts.example.com", "https://accounts.example.com", False),
            ("https://accounts.example.com/a", "http://accounts.example.com", False),
            ("https://accounts.example.com", "http://www.accounts.example.com", False),
            ("https://accounts.example.com", "http://accounts.example.com:8080", False),
            ("https://accounts.example.com:8000", "http://accounts.example.com", False),
        ):
            values = {"publicUrl": public, "contentServer": {"url": content}, "trustProxies": 1}
            found = doubts(load([Layer("a.toml", values)], {}))
            self.assertEqual(len(found), is_doubtful, (public, content))
            if is_doubtful:
                self.assertRegex(
                    found[0], rf'^contentServer\.url = .*this is that of publicUrl = "{public}" \(a\.toml\)'
                )

    def test_a_proxy_that_nobody_trusts_is_doubtful_in_production(self) -> None:
        content_server = {"url": "https://www.example.com"}
        tls = {"useHttps": True, "keyPath": "k", "certPath": "c"}
        for values, profile, is_doubtful in (
            ({"publicUrl": "https://a.example"}, "prod", True),
            ({"publicUrl": "HTTPS://a.example", "trustProxies": 0}, "stage", True),
            ({"publicUrl": "https://a.example", "trustProxies": []}, "dev", False),
            ({"publicUrl": "https://a.example", "trustProxies": 1}, "prod", False),
            ({"publicUrl": "https://a.example", "trustProxies": ["10.0.0.0/8"]}, "prod", False),
            ({"publicUrl": "https://a.example", **tls}, "prod", False),
            ({"publicUrl": "http://a.example"}, "prod", False),
        ):
            found = doubts(load([Layer("a.toml", {"contentServer": content_server, **values})], {}, profile))
            self.assertEqual([doubt.partition(" ")[0] for doubt in found], ["trustProxies"] * is_doubtful, values)


class ReaderTests(SynchronousTestCase):
    def test_every_setting_has_a_reader(self) -> None:
        """A setting that nothing reads is a promise nobody keeps."""
        found: set[tuple[str, str]] = set()
        for module in sorted(PACKAGE.rglob("*.py")):
            if module.relative_to(PACKAGE).parts[0] not in ("config", "configfiles.py", "cli.py"):
                found |= reads(module.read_text())
        for (group, name), fields in derived().items():
            if (group, name) in found:
                found |= {(group, field) for field in fields}
        unread = [declared.name for declared in DECLARED if ("settings", *declared.path)[-2:] not in found]
        self.assertEqual(unread, [])

    def test_a_chain_of_attributes_is_a_reader(self) -> None:
        found = reads("def f(loaded):\n    return loaded.settings.smtp.retry_delay + self.settings.verifier_version")
        self.assertIn(("smtp", "retry_delay"), found)
        self.assertIn(("settings", "verifier_version"), found)

    def test_a_bound_table_is_a_reader(self) -> None:
        self.assertIn(("smtp", "port"), reads("mail = settings.smtp\nconnect(mail.port)"))
        self.assertIn(("smtp", "port"), reads("host, mail = x.host, self._settings.smtp\nconnect(mail.port)"))
        self.assertIn(("settings", "env"), reads("tree = self._settings\nuse(tree.env)"))
        self.assertIn(("smtp", "port"), reads("def f(mail: Smtp): return mail.port"))
        self.assertIn(("smtp", "port"), reads("def f(mail: 'config.Smtp'): return mail.port"))
        self.assertIn(("settings", "env"), reads("def f(tree: Settings): return tree.env"))

    def test_the_same_name_elsewhere_and_an_assignment_are_no_readers(self) -> None:
        for source in (
            "x.port",
            "def f(port): return port",
            "settings.smtp.port = 1",
            "settings.listen.port",
            "import smtp; smtp.port",
        ):
            self.assertNotIn(("smtp", "port"), reads(source), source)

    def test_a_property_stands_for_the_fields_it_is_made_of(self) -> None:
        self.assertEqual(derived()["database", "path"], {"url"})
        self.assertEqual(derived()["settings", "development"], {"env"})

"""Settings files as an operator writes them: real files in a temporary directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.config import DECLARED, ConfigError, Loaded
from fxa_auth.configfiles import check_named_files, load_settings, read_layer
from tests.certificates import issue

EVERY_SETTING = """
env = "test"
publicUrl = "https://accounts.example/base"
trustProxies = ["10.0.0.0/8", "192.0.2.1/32"]
useHttps = true
keyPath = "tls/key.pem"
certPath = "tls/cert.pem"
customsUrl = "http://127.0.0.1:7000"
snsTopicArn = "arn:aws:sns:eu-central-1:123456789012:accounts"
secretKeyFile = "/etc/fxa/secret.json"
publicKeyFile = "/etc/fxa/public.json"
sealingKeys = ["/etc/fxa/sealing.key", "env:OLD_KEY"]
trustedJKUs = ["https://one.example/keys", "https://two.example/keys"]
verifierVersion = 1
lockoutEnabled = false
reportedVersion = "1.36.0"

[limits.mails]
max = 4
window = 1000
reportOnly = true

[limits.logins]
max = 5
window = 2000
reportOnly = true
wait = 3000

[limits.lockout]
max = 6
window = 4000
reportOnly = true

[limits.bans]
length = 5000
reportOnly = true

[log]
level = "debug"

[listen]
host = "0.0.0.0"
port = 8080

[contentServer]
url = "https://content.example"

[database]
url = "sqlite:////srv/fxa.sqlite"
poolSize = 3
statementTimeout = 1000
lockTimeout = 500
pruneInterval = 60000

[smtp]
host = "mail.example"
port = 465
secure = true
startTls = "required"
caFile = "/etc/fxa/mail-ca.pem"
user = "me"
password = "hunter2"
sender = "Accounts <accounts@example.com>"
returnPath = "bounces@example.com"
ehloName = "accounts.example.com"
redirectDomain = "example.com"
resendBlackoutPeriod = 1
retryDelay = 2
maxRetryDelay = 3
maxAge = 4
deadLetterAge = 5
maxConnections = 5
connectTimeout = 6
replyTimeout = 7
timeout = 3

[smtp.api]
host = "127.0.0.2"
port = 9002

[tokenLifetimes]
accountResetToken = -1
passwordForgotToken = 5
passwordChangeToken = 6

[branding]
productName = "Example Accounts"
supportUrl = "https://help.example"
buttonColor = "#123456"
buttonTextColor = "#fedcba"
overridesDir = "/etc/fxa-auth"

[i18n]
defaultLanguage = "de"
supportedLanguages = ["de", "fr"]

[events]
retention = 1

[events.sns]
kinds = ["login"]

[events.stdout]
kinds = ["lock"]

[basket]
apiUrl = "https://basket.example"
apiKey = "hunter2"

[aws]
endpointUrl = "https://aws.example"

[bounces]
bounceQueueUrl = "https://sqs.us-east-1.amazonaws.com/1/bounces"
complaintQueueUrl = "https://sqs.us-east-1.amazonaws.com/1/complaints"
region = "us-east-1"
verp = "bounce@example.com"
suppressionTime = 1

[bounces.listen]
host = "127.0.0.3"
port = 2525
socket = "/run/fxa-auth/reports"

[scrypt]
maxPending = 7
maxPendingPerAddress = 8

[toobusy]
maxLag = 8

[hawk]
mode = "strict"

[registration]
mode = ["first", "domains"]
domains = ["example.com"]
first = 9
"""


def as_file(loaded: Loaded) -> dict[str, Any]:
    """The settings as the tables of a file."""
    tree: dict[str, Any] = {}
    for declared in DECLARED:
        *tables, leaf = declared.name.split(".")
        table = tree
        for name in tables:
            table = table.setdefault(name, {})
        table[leaf] = declared.value_in(loaded.settings)
    return tree


class FilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)

    def write(self, name: str, content: str | bytes) -> str:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def complaint(self, name: str) -> str:
        with self.assertRaises(ConfigError) as caught:
            load_settings([name], None, {})
        (complaint,) = caught.exception.complaints
        self.assertTrue(complaint.startswith(name), complaint)
        return complaint.removeprefix(name)

    def test_a_file_with_every_setting_is_read_back_whole(self) -> None:
        name = self.write("every.toml", EVERY_SETTING)
        loaded = load_settings([name], None, {})
        self.assertEqual(set(loaded.sources.values()), {name})
        again = load_settings([self.write("again.json", json.dumps(as_file(loaded)))], None, {})
        self.assertEqual(again.settings, loaded.settings)
        for profile in ("prod", "test"):
            for declared in DECLARED:
                if declared.name not in ("env", "verifierVersion", "lockoutEnabled"):
                    value = declared.value_in(loaded.settings)
                    self.assertNotEqual(value, declared.default_in(profile), declared.name)

    def test_toml_and_json_overlay_each_other_in_order(self) -> None:
        toml = self.write("one.toml", '[smtp]\nhost = "one"\nport = 1\n[listen]\nport = 5')
        js = self.write("two.json", '{"smtp": {"port": 2, "timeout": 9}}')
        loaded = load_settings([toml, js], "dev", {})
        smtp = loaded.settings.smtp
        self.assertEqual((smtp.host, smtp.port, smtp.timeout, loaded.settings.listen.port), ("one", 2, 9, 5))
        self.assertEqual((loaded.sources["smtp.host"], loaded.sources["smtp.port"]), (toml, js))
        self.assertEqual(load_settings([js, toml], "dev", {}).settings.smtp.port, 1)

    def test_config_files_come_before_those_of_the_command_line(self) -> None:
        names = [self.write(f"{number}.toml", f"[listen]\nport = {number}") for number in (1, 2, 3)]
        environ = {"CONFIG_FILES": f" {names[0]} ,, {names[1]},"}
        self.assertEqual(load_settings([], None, environ).settings.listen.port, 2)
        self.assertEqual(load_settings([names[2]], None, environ).settings.listen.port, 3)
        self.assertEqual(load_settings([names[2]], None, {**environ, "PORT": "4"}).settings.listen.port, 4)

    def test_without_files_the_defaults_stand(self) -> None:
        self.assertEqual(load_settings([], None, {"CONFIG_FILES": ""}).settings.listen.port, 9000)

    def test_a_byte_order_mark_is_passed_over(self) -> None:
        for name, text in (("a.toml", "[listen]\nport = 1"), ("a.json", '{"listen": {"port": 1}}')):
            loaded = load_settings([self.write(name, b"\xef\xbb\xbf" + text.encode())], None, {})
            self.assertEqual(loaded.settings.listen.port, 1)

    def test_a_file_that_is_not_there_or_not_a_file_is_one_line(self) -> None:
        self.assertEqual(self.complaint(str(self.folder / "no.toml")), ": cannot be read: No such file or directory")
        (self.folder / "dir.json").mkdir()
        self.assertEqual(self.complaint(str(self.folder / "dir.json")), ": cannot be read: Is a directory")

    def test_a_syntax_error_names_the_line(self) -> None:
        self.assertIn("at line 2, column", self.complaint(self.write("a.toml", "env = 'dev'\nport 5")))
        self.assertIn("at line 3, column", self.complaint(self.write("a.json", '{\n"env": "dev",\nport')))

    def test_other_malformed_files_are_one_line(self) -> None:
        for name, content, expected in (
            ("a.yaml", b"", "must end in .toml or .json"),
            ("a", b"", "must end in .toml or .json"),
            ("a.toml", b"env = '\xff'", "is not UTF-8"),
            ("a.json", b"\xff\xfe{\0}\0", "is not UTF-8"),
            ("b.json", b"[]", "must hold one object"),
            ("c.json", b"null", "must hold one object"),
            ("d.json", b"", "at line 1"),
            ("e.json", b'{"a":' * 100_000, "nested too deeply"),
            ("f.json", b'{"a": ' + b"9" * 5000 + b"}", "digits"),
            ("g.toml", b"a = " + b"9" * 5000, "digits"),
            ("h.json", b'{"smtp": {"port": 1, "port": 2}}', '"port" is given twice'),
            ("i.toml", b"env = 'dev'\nenv = 'dev'\n", "(at "),
        ):
            self.assertIn(expected, self.complaint(self.write(name, content)))

    def test_every_bad_file_is_told(self) -> None:
        names = [str(self.folder / "no.toml"), self.write("a.json", "{"), self.write("good.json", "{}")]
        with self.assertRaises(ConfigError) as caught:
            load_settings(names[1:], None, {"CONFIG_FILES": names[0]})
        self.assertEqual([complaint.partition(": ")[0] for complaint in caught.exception.complaints], names[:2])

    def test_a_bad_value_names_the_file(self) -> None:
        name = self.write("a.toml", "[listen]\nport = 70000")
        with self.assertRaises(ConfigError) as caught:
            load_settings([name], None, {})
        self.assertIn(f"listen.port = 70000 ({name}): must be", str(caught.exception))

    @settings(database=None, deadline=None)
    @given(
        st.sampled_from(["a.toml", "a.json"]), st.binary() | st.text().map(lambda text: text.encode("utf-8", "replace"))
    )
    def test_any_bytes_are_read_or_complained_about(self, name: str, content: bytes) -> None:
        try:
            read_layer(self.write(name, content))
        except ConfigError as error:
            self.assertEqual(len(str(error).splitlines()), 1, str(error))


class NamedFilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def check(self, **values: Any) -> list[str]:
        config = self.folder / "settings.json"
        config.write_text(json.dumps(values))
        return check_named_files(load_settings([str(config)], None, {}))

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def test_key_files_that_will_be_made_may_be_missing(self) -> None:
        names = ("secretKeyFile", "publicKeyFile")
        keys = [self.path("sealing.key"), "env:NOT_A_FILE"]
        self.assertEqual(self.check(sealingKeys=keys, **{name: self.path(name) for name in names}), [])

    def test_a_key_file_that_cannot_be_read_is_told(self) -> None:
        folder = str(self.folder)
        for name, value in (("secretKeyFile", folder), ("publicKeyFile", folder), ("sealingKeys", [folder])):
            (complaint,) = self.check(**{name: value})
            self.assertTrue(complaint.startswith(f'{name} = "{self.folder}" ({self.path("settings.json")}): '))
            self.assertIn("cannot be read: Is a directory", complaint)

    def test_tls_files_must_be_there_if_they_are_used(self) -> None:
        Path(self.path("key.pem")).write_text("")
        files = {"keyPath": self.path("key.pem"), "certPath": self.path("cert.pem")}
        (complaint,) = self.check(useHttps=True, **files)
        self.assertIn("certPath = ", complaint)
        self.assertIn("cannot be read: No such file or directory", complaint)
        self.assertEqual(self.check(useHttps=False, **files), [])

    def test_the_authorities_for_the_mail_server_must_be_some(self) -> None:
        Path(self.path("ca.pem")).write_bytes(issue("authority", is_authority=True).pem)
        Path(self.path("key.pem")).write_bytes(issue("authority").key_pem)
        self.assertEqual(self.check(smtp={"caFile": self.path("ca.pem")}), [])
        source = self.path("settings.json")
        for name, problem in (
            ("key.pem", "holds no certificate in PEM; name one that does"),
            ("none.pem", "cannot be read (No such file or directory); name a readable PEM file"),
        ):
            (complaint,) = self.check(smtp={"caFile": self.path(name)})
            self.assertEqual(complaint, f'smtp.caFile = "{self.path(name)}" ({source}): {problem}')

"""A daemon that cannot start says why in one line, and its exit code says that it did not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.acceptance.daemon import PLUGIN, Daemon, eventually, started
from tests.acceptance.wire import Wire, credentials, new_email

SEALING_KEYS = 'sealingKeys = ["var/sealing.key"] (default): '
DAEMONIZED = ("--pidfile=daemon.pid", "fxa-auth")


class RefusalCase(SynchronousTestCase):
    def daemon(self, profile: str = "dev", **options: Any) -> Daemon:
        daemon = Daemon(profile, **options)
        self.addCleanup(daemon.close)
        return daemon

    def used(self) -> Daemon:
        """A daemon with one account, stopped."""
        daemon = started(self)
        created = Wire(daemon).post("/account/create", credentials(new_email()))
        self.assertEqual(created.outcome, (200, 0))
        daemon.stop()
        return daemon

    def assertRefuses(self, daemon: Daemon, *words: str) -> None:
        """It ends by itself, and says why in one plain line, in which the words stand; the log does not repeat it."""
        before = len(daemon.log) if daemon.process is not None else 0
        daemon.spawn()
        self.assertGreater(daemon.wait(), 0)
        output = daemon.log[before:]
        self.assertNotIn("Traceback", output)
        said = [line for line in output.splitlines() if not line.startswith("{")]
        self.assertEqual(len(said), 1, output)
        for word in ("fxa-auth: ", *words):
            self.assertIn(word, said[0])
        self.assertNotIn("cannot_start", output)

    def fatal(self, daemon: Daemon, log_file: str) -> str:
        """The reason in the only fatal line of a log file."""
        entries = map(json.loads, (daemon.folder / log_file).read_text("utf-8").splitlines())
        [entry] = [entry for entry in entries if entry["level"] == 60]
        self.assertEqual(entry["op"], "server.cannot_start")
        return str(entry["reason"])

    def occupy(self, port: int) -> None:
        occupant = socket.create_server(("127.0.0.1", port))
        self.addCleanup(occupant.close)


class SettingsTests(RefusalCase):
    def test_a_bad_value(self) -> None:
        self.assertRefuses(self.daemon(environ={"PORT": "ninethousand"}), "listen.port", "environment PORT")

    def test_an_unknown_name(self) -> None:
        daemon = self.daemon(files={"my.toml": "[listen]\nprot = 1\n"}, environ={"CONFIG_FILES": "my.toml"})
        self.assertRefuses(daemon, "listen.prot", "my.toml", "listen.port")

    def test_a_file_that_is_not_there(self) -> None:
        self.assertRefuses(self.daemon(environ={"CONFIG_FILES": "none.toml"}), "none.toml")

    def test_a_certificate_that_is_not_there(self) -> None:
        text = 'useHttps = true\nkeyPath = "none.pem"\ncertPath = "none.pem"\n'
        daemon = self.daemon(files={"tls.toml": text}, environ={"CONFIG_FILES": "tls.toml"})
        self.assertRefuses(daemon, 'keyPath = "none.pem" (tls.toml): cannot be read', "name a readable PEM file")

    def test_authorities_for_the_mail_server_that_are_none(self) -> None:
        for arguments in (PLUGIN, DAEMONIZED):
            files = {"mail.toml": '[smtp]\ncaFile = "mail.toml"\n'}
            daemon = self.daemon(files=files, environ={"CONFIG_FILES": "mail.toml"}, arguments=arguments)
            self.assertRefuses(daemon, 'smtp.caFile = "mail.toml" (mail.toml): holds no certificate in PEM; name one')

    def test_a_template_that_cannot_be_filled_in(self) -> None:
        broken = '[branding]\noverridesDir = "mine"\n'
        files = {"my.toml": broken, "layout.txt": "Hello!\n{{ nothing }}\n"}
        for arguments in (("--nodaemon", "--pidfile=", "fxa-auth"), DAEMONIZED):
            daemon = self.daemon(files=files, environ={"CONFIG_FILES": "my.toml"}, arguments=arguments)
            (daemon.folder / "mine" / "templates").mkdir(parents=True)
            (daemon.folder / "layout.txt").rename(daemon.folder / "mine" / "templates" / "layout.txt")
            where = 'branding.overridesDir = "mine" (my.toml): mine/templates/layout.txt:2: '
            self.assertRefuses(daemon, f"{where}'nothing' is undefined")

    def test_a_language_that_is_not_there(self) -> None:
        files = {"my.toml": '[i18n]\nsupportedLanguages = ["en", "tlh"]\n'}
        daemon = self.daemon(files=files, environ={"CONFIG_FILES": "my.toml"})
        self.assertRefuses(daemon, "i18n.supportedLanguages", "(my.toml): there is no tlh: name some of ca, cs")

    def test_a_database_that_cannot_be_opened(self) -> None:
        daemon = self.daemon(environ={"DATABASE_URL": "sqlite:///folder"})
        (daemon.folder / "folder").mkdir()
        self.assertRefuses(
            daemon, 'database.url = "sqlite:///folder" (environment DATABASE_URL): cannot open folder', "name a file"
        )


class ReadyTests(RefusalCase):
    def test_it_is_not_healthy_before_it_has_its_keys(self) -> None:
        """An account made before the signing key is on the disk would keep the daemon from ever starting again."""
        daemon = self.daemon()
        daemon.start()
        daemon.kill()
        self.assertTrue((daemon.folder / "var" / "secret-key.json").exists())
        daemon.start()


class PortTests(RefusalCase):
    def test_each_port_in_use_is_named_by_its_setting(self) -> None:
        for setting, variable, attribute in (
            ("listen.port", "PORT", "port"),
            ("smtp.port", "SMTP_PORT", "smtp_port"),
            ("smtp.api.port", "MAILER_PORT", "helper_port"),
        ):
            daemon = self.daemon()
            port = getattr(daemon, attribute)
            self.occupy(port)
            self.assertRefuses(daemon, f"{setting} = {port} ", f"environment {variable}", "in use", "end what uses it")

    def test_no_pid_file_is_left_behind(self) -> None:
        daemon = self.daemon(arguments=("--nodaemon", "--pidfile=auth.pid", "fxa-auth"))
        self.occupy(daemon.port)
        self.assertRefuses(daemon, "in use")
        self.assertFalse((daemon.folder / "auth.pid").exists())

    def test_each_address_that_is_not_this_machines_is_named_by_its_setting(self) -> None:
        for setting, variable, host in (
            ("listen", "IP_ADDRESS", "203.0.113.9"),
            ("listen", "IP_ADDRESS", "nowhere.invalid"),
            ("smtp", "SMTP_HOST", "2001:db8::9"),
            ("smtp.api", "MAILER_HOST", "203.0.113.9"),
        ):
            where = f'{setting}.host = "{host}" (environment {variable}): cannot listen on '
            self.assertRefuses(self.daemon(environ={variable: host}), where, "name an address of this machine")


class FilesTests(RefusalCase):
    """Against files that another daemon has used."""

    def test_a_database_of_a_newer_program(self) -> None:
        daemon = self.used()
        daemon.sql("INSERT INTO schema_versions VALUES (999, 0)")
        self.assertRefuses(daemon, "database.url", "999", "newer version")

    def test_another_sealing_key(self) -> None:
        daemon = self.used()
        (daemon.folder / "var" / "sealing.key").write_text("ab" * 32)
        self.assertRefuses(daemon, SEALING_KEYS, self.wanted_key(daemon), "in place of var/sealing.key")

    def test_no_sealing_key(self) -> None:
        daemon = self.used()
        (daemon.folder / "var" / "sealing.key").unlink()
        self.assertRefuses(daemon, SEALING_KEYS, "var/sealing.key is missing", self.wanted_key(daemon))
        self.assertFalse((daemon.folder / "var" / "sealing.key").exists())

    def test_a_copy_of_the_database_without_the_key(self) -> None:
        daemon = self.used()
        copied = daemon.copy()
        self.addCleanup(copied.close)
        self.assertRefuses(copied, SEALING_KEYS, "var/sealing.key is missing", self.wanted_key(daemon))
        self.assertFalse((copied.folder / "var" / "sealing.key").exists())
        (copied.folder / "var").mkdir(exist_ok=True)
        (copied.folder / "var" / "sealing.key").write_bytes((daemon.folder / "var" / "sealing.key").read_bytes())
        self.assertRefuses(copied, "secretKeyFile")

    def test_a_damaged_sealing_key(self) -> None:
        daemon = self.used()
        (daemon.folder / "var" / "sealing.key").write_text("no key at all")
        self.assertRefuses(daemon, SEALING_KEYS, "var/sealing.key is not a sealing key")

    def test_no_signing_key_though_there_are_accounts(self) -> None:
        daemon = self.used()
        (daemon.folder / "var" / "secret-key.json").unlink()
        self.assertRefuses(daemon, 'secretKeyFile = "var/secret-key.json" (default): is not there', "accounts")
        self.assertFalse((daemon.folder / "var" / "secret-key.json").exists())

    def test_a_damaged_signing_key(self) -> None:
        daemon = self.used()
        (daemon.folder / "var" / "secret-key.json").write_text("{")
        self.assertRefuses(daemon, 'secretKeyFile = "var/secret-key.json" (default): is not JSON; restore it')

    def test_another_public_key(self) -> None:
        daemon = self.used()
        (daemon.folder / "var" / "public-key.json").write_text("{}")
        self.assertRefuses(daemon, 'publicKeyFile = "var/public-key.json" (default): has no', "remove it")

    def test_the_files_as_they_were(self) -> None:
        daemon = self.used()
        daemon.start()

    def wanted_key(self, daemon: Daemon) -> str:
        [(key_id,)] = daemon.sql("SELECT key_id FROM sealing_keys")
        return str(key_id)


class LogFileTests(RefusalCase):
    """In the foreground, with the log elsewhere: the log has the line too."""

    ARGUMENTS = ("--nodaemon", "--pidfile=", "--logfile=server.log", "fxa-auth")

    def test_a_port_in_use(self) -> None:
        daemon = self.daemon(arguments=self.ARGUMENTS)
        self.occupy(daemon.port)
        self.assertRefuses(daemon, "listen.port")
        self.assertEqual(daemon.log, f"fxa-auth: {self.fatal(daemon, 'server.log')}\n")

    def test_a_database_that_cannot_be_opened(self) -> None:
        daemon = self.daemon(environ={"DATABASE_URL": "sqlite:////proc/nope/x.sqlite"}, arguments=self.ARGUMENTS)
        self.assertRefuses(daemon, "database.url", "create or mend its folder")
        self.assertEqual(daemon.log, f"fxa-auth: {self.fatal(daemon, 'server.log')}\n")


class DaemonizedTests(RefusalCase):
    """In the background the log is a file, but nobody has looked at that yet."""

    def test_a_bad_setting_is_told_where_it_was_started(self) -> None:
        self.assertRefuses(self.daemon(environ={"PORT": "x"}, arguments=DAEMONIZED), "listen.port")

    def test_a_port_in_use_is_told_where_it_was_started(self) -> None:
        daemon = self.daemon(arguments=DAEMONIZED)
        self.occupy(daemon.port)
        daemon.spawn()
        self.assertGreater(daemon.wait(), 0)
        self.assertIn("listen.port", daemon.log)
        self.assertIn("listen.port", self.fatal(daemon, "twistd.log"))

    def test_it_serves_in_the_background(self) -> None:
        daemon = self.daemon(arguments=DAEMONIZED)
        self.addCleanup(self.end_background, daemon)
        daemon.spawn()
        self.assertEqual(daemon.wait(), 0)
        eventually(daemon.is_healthy, "a daemon that serves")
        created = Wire(daemon).post("/account/create", credentials(new_email()))
        self.assertEqual(created.outcome, (200, 0))
        self.assertIn("request.summary", (daemon.folder / "twistd.log").read_text("utf-8"))

    def end_background(self, daemon: Daemon) -> None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((daemon.folder / "daemon.pid").read_text()), signal.SIGTERM)
        eventually(lambda: not (daemon.folder / "daemon.pid").exists(), "the end of the daemon")

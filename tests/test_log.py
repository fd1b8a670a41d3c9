"""What is logged comes out as one line of bunyan's JSON, or readably, and never takes the program down."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.logger import Logger, LogLevel, LogPublisher, globalLogPublisher
from twisted.python import log as legacy_log
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from fxa_auth import log

SECRET = "5ecce7" * 8


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    encoding = "ascii"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


class Hostile:
    """A value that nobody can print."""

    def __repr__(self) -> str:
        raise RuntimeError(SECRET)

    __str__ = __repr__


class Colour(Enum):
    RED = SECRET


def written_by(
    action: Callable[[Logger], Any], level: str = "trace", namespace: str = "fxa_auth.mail.outbox"
) -> list[dict[str, Any]]:
    """The records that reach a log of ``level`` when ``action`` uses a logger of ``namespace``."""
    stream = io.StringIO()
    publisher = LogPublisher(log.observer(stream, level))
    action(Logger(namespace=namespace, observer=publisher))
    return [json.loads(line) for line in stream.getvalue().split("\n")[:-1]]


def shown_by(action: Callable[[Logger], Any], stream: io.StringIO, namespace: str = "fxa_auth.tap") -> str:
    """The text of the readable form."""
    action(Logger(namespace=namespace, observer=LogPublisher(log.observer(stream, "trace", pretty=True))))
    return stream.getvalue()


def a_failure(error: Exception) -> Failure:
    try:
        raise error
    except Exception:
        return Failure()


class JsonLineTests(SynchronousTestCase):
    def test_a_line_has_bunyans_members_then_the_op_and_the_fields(self) -> None:
        (record,) = written_by(lambda logger: logger.info("mail.delivered", kind="verify", attempts=1))
        time = record.pop("time")
        hostname = record.pop("hostname")
        self.assertEqual(
            record,
            {
                "name": "fxa-auth",
                "pid": os.getpid(),
                "level": 30,
                "msg": "mail.delivered",
                "v": 0,
                "op": "mail.delivered",
                "kind": "verify",
                "attempts": 1,
            },
        )
        self.assertEqual(hostname, os.uname().nodename)
        self.assertTrue(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time), time)

    def test_the_time_is_that_of_the_event_in_utc_with_milliseconds(self) -> None:
        for seconds, text in ((0.0, "1970-01-01T00:00:00.000Z"), (1430000000.25, "2015-04-25T22:13:20.250Z")):
            stream = io.StringIO()
            log.observer(stream, "trace")({"log_namespace": "fxa_auth", "log_format": "x", "log_time": seconds})
            self.assertEqual(json.loads(stream.getvalue())["time"], text)

    def test_our_levels_have_bunyans_numbers(self) -> None:
        for name, number in (("critical", 60), ("error", 50), ("warn", 40), ("info", 30), ("debug", 20)):
            (record,) = written_by(lambda logger, name=name: getattr(logger, name)("x"))
            self.assertEqual(record["level"], number, name)

    def test_a_threshold_lets_its_own_level_and_higher_ones_through(self) -> None:
        def every_level(logger: Logger) -> None:
            for log_level in LogLevel.iterconstants():
                logger.emit(log_level, "x")

        numbers = {"fatal": [60], "error": [50, 60], "warn": [40, 50, 60], "info": [30, 40, 50, 60]}
        numbers["debug"] = numbers["trace"] = [20, 30, 40, 50, 60]
        self.assertEqual(set(numbers), set(log.LEVELS))
        for threshold, expected in numbers.items():
            records = written_by(every_level, threshold)
            self.assertEqual(sorted(record["level"] for record in records), expected, threshold)

    def test_every_value_stays_one_ascii_line(self) -> None:
        stream = io.StringIO()
        publisher = LogPublisher(log.observer(stream, "trace"))
        text = 'a\nb\r\u2028\x85"\\\x00é\ud800😀'
        Logger(namespace="fxa_auth", observer=publisher).info("x", text=text)
        line = stream.getvalue()
        self.assertTrue(line.isascii())
        self.assertEqual(len(line.splitlines()), 1)
        self.assertEqual(json.loads(line)["text"], text)

    def test_a_value_without_a_json_form_shows_only_its_type(self) -> None:
        for value, shown in (
            (bytes.fromhex(SECRET), "<bytes>"),
            (bytearray(b"x"), "<bytearray>"),
            (memoryview(b"x"), "<memoryview>"),
            (Hostile(), "<Hostile>"),
            (Colour.RED, "<Colour>"),
            (ValueError(SECRET), "<ValueError>"),
            (10**5000, "<int>"),
            (float("nan"), "nan"),
            (float("-inf"), "-inf"),
            ({"a": [b"x", (Hostile(),)], 7: None}, {"a": ["<bytes>", ["<Hostile>"]], "7": None}),
        ):
            (record,) = written_by(lambda logger, value=value: logger.info("x", value=value))
            self.assertEqual(record["value"], shown)

    def test_a_value_that_contains_itself_ends_somewhere(self) -> None:
        endless: list[Any] = []
        endless.append(endless)
        (record,) = written_by(lambda logger: logger.info("x", value=endless))
        self.assertIn("<too deep>", json.dumps(record))

    def test_a_field_cannot_pass_itself_off_as_a_standing_member(self) -> None:
        (record,) = written_by(lambda logger: logger.info("x", name="n", pid=0, v=9, op="o", err="e", msg="m"))
        self.assertEqual((record["name"], record["pid"], record["v"]), ("fxa-auth", os.getpid(), 0))
        self.assertEqual((record["op"], record["msg"]), ("x", "x"))
        self.assertNotIn("err", record)
        self.assertEqual(
            [record[f"{key}_"] for key in ("name", "pid", "v", "op", "err", "msg")], ["n", 0, 9, "o", "e", "m"]
        )

    @settings(max_examples=40)
    @given(
        st.dictionaries(
            st.text().filter(lambda key: not key.startswith("log_") and key not in ("self", "format", "level")),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers()
                | st.floats()
                | st.text()
                | st.binary()
                | st.complex_numbers(),
                lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.binary() | st.integers(), inner),
            ),
        )
    )
    def test_any_fields_at_all_make_one_strict_json_line(self, fields: dict[str, Any]) -> None:
        stream = io.StringIO()
        event = {"log_namespace": "fxa_auth", "log_format": "x", "log_level": LogLevel.info, "log_time": 1.0}
        log.observer(stream, "trace")({**fields, **event})

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        self.assertEqual(len(stream.getvalue().splitlines()), 1)
        json.loads(stream.getvalue(), parse_constant=refuse)


class FailureTests(SynchronousTestCase):
    def test_a_failure_is_an_error_with_name_message_and_stack(self) -> None:
        failure = a_failure(ValueError("no such thing"))
        (record,) = written_by(lambda logger: logger.failure("mail.lost", failure, kind="verify"))
        self.assertEqual((record["level"], record["op"], record["kind"]), (50, "mail.lost", "verify"))
        self.assertEqual((record["err"]["name"], record["err"]["message"]), ("ValueError", "no such thing"))
        self.assertIn("in a_failure\n", record["err"]["stack"])

    def test_a_failure_that_twisted_has_cleaned_keeps_its_stack(self) -> None:
        failure = a_failure(ValueError("no such thing"))
        failure.cleanFailure()
        (record,) = written_by(lambda logger: logger.failure("mail.lost", failure))
        self.assertIn("in a_failure\n", record["err"]["stack"])

    def test_the_cause_of_an_error_is_in_the_stack(self) -> None:
        def fail() -> None:
            try:
                raise KeyError("first")
            except KeyError as error:
                raise ValueError("second") from error

        try:
            fail()
        except ValueError:
            failure = Failure()
        (record,) = written_by(lambda logger: logger.failure("x", failure))
        self.assertIn("KeyError: 'first'", record["err"]["stack"])

    def test_the_stack_shows_no_values_of_variables(self) -> None:
        def fail(auth_key: str) -> None:
            raise ValueError("bad key")

        for clean in (False, True):
            try:
                fail(SECRET)
            except ValueError:
                failure = Failure(captureVars=True)
            if clean:
                failure.cleanFailure()
            (record,) = written_by(lambda logger, failure=failure: logger.failure("x", failure))
            self.assertNotIn(SECRET, json.dumps(record))

    def test_an_error_without_a_text_is_logged_all_the_same(self) -> None:
        class Mute(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no")

        (record,) = written_by(lambda logger: logger.failure("x", a_failure(Mute())))
        self.assertEqual((record["err"]["name"], record["err"]["message"]), ("Mute", "<unprintable>"))


class ForeignEventTests(SynchronousTestCase):
    def test_an_event_of_twisted_is_put_into_words_under_one_op(self) -> None:
        def warn(logger: Logger) -> None:
            logger.warn("{what} is {state}", what="port", state="closed", secret=SECRET)

        (record,) = written_by(warn, namespace="twisted.web")
        self.assertEqual((record["op"], record["msg"], record["level"]), ("twisted", "port is closed", 40))
        self.assertEqual(record["namespace"], "twisted.web")
        self.assertNotIn("secret", record)

    def test_a_name_that_only_begins_like_ours_is_foreign(self) -> None:
        (record,) = written_by(lambda logger: logger.warn("x"), namespace="fxa_authority")
        self.assertEqual(record["op"], "twisted")

    def test_what_twisted_says_in_the_name_of_a_class_of_ours_is_foreign(self) -> None:
        (record,) = written_by(lambda logger: logger.info("Starting factory {factory!r}", factory=Colour))
        self.assertEqual((record["op"], record["level"]), ("twisted", 20))
        self.assertEqual(record["msg"], "Starting factory <enum 'Colour'>")

    def test_what_twisted_thinks_worth_knowing_is_for_debugging_only(self) -> None:
        for name, number in (("debug", 10), ("info", 20), ("warn", 40), ("error", 50), ("critical", 50)):
            (record,) = written_by(lambda logger, name=name: getattr(logger, name)("x"), namespace="twisted.internet")
            self.assertEqual(record["level"], number, name)

    def test_what_was_printed_keeps_its_level(self) -> None:
        (record,) = written_by(lambda logger: logger.info("{log_io}", log_io="hello"), namespace="stdout")
        self.assertEqual((record["level"], record["msg"]), (30, "hello"))

    def test_legacy_messages_and_errors_come_through(self) -> None:
        stream = io.StringIO()
        observer = log.observer(stream, "trace")
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        legacy_log.msg("hello", "there")
        legacy_log.err(a_failure(ValueError("old")), "while testing")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        said, failed = (json.loads(line) for line in stream.getvalue().splitlines())
        self.assertEqual((said["op"], said["msg"], said["level"]), ("twisted", "hello there", 20))
        self.assertEqual((failed["op"], failed["msg"], failed["level"]), ("twisted", "while testing", 50))
        self.assertEqual(failed["err"]["name"], "ValueError")
        self.assertIn("in a_failure\n", failed["err"]["stack"])

    def test_an_event_with_nothing_in_it_does_no_harm(self) -> None:
        stream = io.StringIO()
        log.observer(stream, "trace")({})
        self.assertEqual(json.loads(stream.getvalue())["op"], "twisted")


class ReadableTests(SynchronousTestCase):
    def test_a_terminal_gets_the_readable_form_and_a_file_json(self) -> None:
        terminal, file = Terminal(), io.StringIO()
        for stream in (terminal, file):
            Logger(namespace="fxa_auth", observer=LogPublisher(log.observer(stream, "info"))).info("x.y", code=200)
        self.assertIn("INFO", terminal.getvalue())
        self.assertTrue(file.getvalue().startswith("{"))

    def test_a_line_is_time_level_op_and_fields(self) -> None:
        text = shown_by(
            lambda logger: logger.info("request.summary", code=200, t=3, path="/v1", agent="a b"), io.StringIO()
        )
        self.assertTrue(
            re.fullmatch(r'\d\d:\d\d:\d\d\.\d{3} INFO  request\.summary code=200 t=3 path=/v1 agent="a b"\n', text),
            text,
        )

    def test_only_a_terminal_gets_colours(self) -> None:
        self.assertNotIn("\x1b", shown_by(lambda logger: logger.error("x"), io.StringIO()))
        self.assertIn("\x1b[31mERROR\x1b[0m", shown_by(lambda logger: logger.error("x"), Terminal()))

    def test_what_a_client_sent_cannot_steer_the_terminal(self) -> None:
        evil = "\x1b]0;owned\x07\r\n\x7f\x9b31m\u202e"
        text = shown_by(lambda logger: logger.info("x", agent=evil, table={evil: [evil]}), io.StringIO())
        self.assertTrue(text[:-1].isprintable(), ascii(text))
        twisted = shown_by(lambda logger: logger.warn("{a}", a=evil), io.StringIO(), "twisted.web")
        self.assertTrue(twisted[:-1].isprintable(), ascii(twisted))

    def test_a_character_that_the_terminal_lacks_is_escaped(self) -> None:
        self.assertIn("caf\\xe9", shown_by(lambda logger: logger.info("x", text="café"), Terminal()))

    def test_the_stack_of_a_failure_follows_line_by_line(self) -> None:
        text = shown_by(lambda logger: logger.failure("x", a_failure(ValueError("bad\x1b"))), io.StringIO())
        self.assertIn("\n    ValueError: bad\\u001b\n", text)
        self.assertNotIn("\x1b", text)


class ReopenedFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.file = log.ReopenedFile(self.path)
        self.addCleanup(lambda: self.file.close())

    def say(self, text: str) -> None:
        self.file.write(text)
        self.file.flush()

    def test_only_its_owner_may_read_a_new_file(self) -> None:
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_an_old_file_is_added_to(self) -> None:
        self.say("one\n")
        other = log.ReopenedFile(self.path)
        self.addCleanup(other.close)
        other.write("two\n")
        other.flush()
        self.assertEqual(self.path.read_text(), "one\ntwo\n")

    def test_after_a_copy_and_truncate_the_file_starts_again_at_its_beginning(self) -> None:
        self.say("one\n")
        os.truncate(self.path, 0)
        self.say("two\n")
        self.assertEqual(self.path.read_bytes(), b"two\n")

    def test_a_file_that_was_moved_away_is_made_anew_when_asked(self) -> None:
        self.say("one\n")
        moved = self.path.with_suffix(".1")
        self.path.rename(moved)
        self.say("two\n")
        self.file.reopen()
        self.say("three\n")
        self.assertEqual((moved.read_text(), self.path.read_text()), ("one\ntwo\n", "three\n"))

    def test_the_path_stays_when_the_working_directory_changes(self) -> None:
        here = Path.cwd()
        elsewhere = Path(self.mktemp()).absolute()
        elsewhere.mkdir()
        self.addCleanup(os.chdir, here)
        os.chdir(elsewhere)
        (here / self.path).unlink()
        self.file.reopen()
        self.say("one\n")
        self.assertEqual((here / self.path).read_text(), "one\n")

    def test_what_cannot_be_made_anew_is_told_in_the_old_file(self) -> None:
        observer = log.observer(self.file, "info")
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        moved = self.path.with_suffix(".1")
        self.path.rename(moved)
        self.path.mkdir()
        self.file.reopen()
        Logger(namespace="fxa_auth").info("one")
        ops = [json.loads(line)["op"] for line in moved.read_text().splitlines()]
        self.assertEqual(ops, ["log.reopen_failed", "one"])


class TwistdObserverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.stdout, self.stderr = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.stdout)
        self.patch(sys, "stderr", self.stderr)
        self.patch(log, "ReopenedFile", self.open_for_this_test)

    def open_for_this_test(self, path: Path, kind: type[log.ReopenedFile] = log.ReopenedFile) -> log.ReopenedFile:
        """A log file lives as long as its process; here it is closed when the test ends."""
        file = kind(path)
        self.addCleanup(file.close)
        return file

    def say(self, **options: Any) -> None:
        observer = log.twistd_observer(options, "info")
        assert observer is not None
        Logger(namespace="fxa_auth", observer=LogPublisher(observer)).info("said")

    def test_in_the_foreground_the_log_goes_to_stderr(self) -> None:
        self.say(nodaemon=1, logfile=None)
        self.assertIn('"op":"said"', self.stderr.getvalue())
        self.assertEqual(self.stdout.getvalue(), "")

    def test_under_the_debugger_too(self) -> None:
        self.say(nodaemon=0, debug=True, logfile=None)
        self.assertIn('"op":"said"', self.stderr.getvalue())

    def test_a_dash_means_stdout(self) -> None:
        self.say(nodaemon=1, logfile="-")
        self.assertIn('"op":"said"', self.stdout.getvalue())

    def test_a_named_file_is_written_in_the_foreground_and_as_a_daemon(self) -> None:
        for nodaemon in (0, 1):
            path = self.folder / f"{nodaemon}.log"
            self.say(nodaemon=nodaemon, logfile=str(path))
            self.assertIn('"op":"said"', path.read_text())

    def test_a_daemon_writes_to_twistd_log_in_its_run_directory(self) -> None:
        self.say(nodaemon=0, logfile=None, rundir=str(self.folder))
        self.assertIn('"op":"said"', (self.folder / "twistd.log").read_text())

    def test_sigusr1_opens_the_file_anew(self) -> None:
        path = self.folder / "a.log"
        observer = log.twistd_observer({"nodaemon": 1, "logfile": str(path)}, "info")
        assert observer is not None
        path.unlink()
        signal.raise_signal(signal.SIGUSR1)
        Logger(namespace="fxa_auth", observer=LogPublisher(observer)).info("said")
        self.assertIn('"op":"said"', path.read_text())

    def test_under_syslog_twistd_chooses(self) -> None:
        self.assertIsNone(log.twistd_observer({"syslog": 1, "nodaemon": 1}, "info"))

    def test_a_daemon_cannot_log_to_stdout(self) -> None:
        with self.assertRaises(SystemExit) as raised:
            log.twistd_observer({"nodaemon": 0, "logfile": "-"}, "info")
        self.assertIn("--nodaemon", str(raised.exception))

    def test_a_file_that_cannot_be_written_ends_the_start_with_one_line(self) -> None:
        path = self.folder / "missing" / "a.log"
        with self.assertRaises(SystemExit) as raised:
            log.twistd_observer({"nodaemon": 1, "logfile": str(path)}, "info")
        self.assertIn(str(path), str(raised.exception))
        self.assertNotIn("\n", str(raised.exception))


class TwistdFlagsTests(SynchronousTestCase):
    def test_they_are_read_as_twistd_reads_them(self) -> None:
        for line, nodaemon, logfile, rundir, syslog in (
            ("twistd -ny auth.tac", True, None, ".", False),
            ("/usr/bin/twistd3 -y auth.tac", False, None, ".", False),
            ("twistd.py -y auth.tac -l a.log -d /run", False, "a.log", "/run", False),
            ("twistd --python=auth.tac --nodaemon --logfile=-", True, "-", ".", False),
            ("twistd --nod --logf x --syslog --python auth.tac", True, "x", ".", True),
            ("twistd -b --no_save --reactor poll -y auth.tac", True, None, ".", False),
            ("trial tests", True, None, ".", False),
            ("pytest --logfile=x", True, None, ".", False),
        ):
            expected = {"nodaemon": nodaemon, "logfile": logfile, "rundir": rundir, "syslog": syslog}
            self.assertEqual(log.twistd_flags(line.split()), expected, line)


class UnderTwistdTests(TestCase):
    """The observer as the component of an application that a real twistd runs."""

    timeout = 60

    async def twistd(self, *arguments: str) -> tuple[bytes, bytes, int]:
        """Runs a small .tac that logs one line and stops; returns what it wrote and its exit code."""
        self.folder = Path(self.mktemp())
        (self.folder / "run").mkdir(parents=True)
        tac = self.folder / "small.tac"
        tac.write_text(
            "import os, sys\n"
            "from twisted.application.service import Application, Service\n"
            "from twisted.logger import ILogObserver, Logger\n"
            "from fxa_auth import log\n"
            "class Once(Service):\n"
            "    def startService(self):\n"
            "        from twisted.internet import reactor\n"
            "        Logger(namespace='fxa_auth.once').info('once.started', process=os.getpid())\n"
            "        reactor.callWhenRunning(reactor.stop)\n"
            "application = Application('small')\n"
            "observer = log.twistd_observer(log.twistd_flags(sys.argv), 'info')\n"
            "application.setComponent(ILogObserver, observer)\n"
            "Once().setServiceParent(application)\n"
        )
        code = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; sys.exit(run())"
        source = Path(log.__file__).parent.parent
        return await getProcessOutputAndValue(
            sys.executable,
            ["-c", code, "--pidfile=", "-y", tac.name, *arguments],
            env={**os.environ, "PYTHONPATH": str(source)},
            path=str(self.folder),
        )

    async def test_in_the_foreground_stderr_carries_the_log_and_nothing_else(self) -> None:
        out, err, code = await self.twistd("-n")
        self.assertEqual((out, code), (b"", 0), err)
        self.assertEqual([json.loads(line)["op"] for line in err.splitlines()], ["once.started"])

    async def test_a_log_file_is_honoured(self) -> None:
        out, err, code = await self.twistd("-n", "--logfile", "a.log")
        self.assertEqual((out, err, code), (b"", b"", 0))
        self.assertIn('"op":"once.started"', (self.folder / "a.log").read_text())

    async def test_a_daemon_logs_to_a_file_in_its_run_directory_under_its_own_process_id(self) -> None:
        out, err, code = await self.twistd("--rundir", "run")
        self.assertEqual((out, err, code), (b"", b"", 0))
        path = self.folder / "run" / "twistd.log"
        while not path.read_text().endswith("\n"):  # the daemon goes on by itself; the time limit of the test ends this
            await deferLater(reactor, 0.05)
        (record,) = [json.loads(line) for line in path.read_text().splitlines()]
        self.assertEqual((record["op"], record["pid"]), ("once.started", record["process"]))

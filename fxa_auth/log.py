"""The log: what ``twisted.logger`` hands out, written as bunyan's JSON lines or, on a terminal, readably.

An event of our own names its operation by its format string, a word with dots, and its keyword arguments are the fields
of the line::

    Logger().info("mail.delivered", kind="verify", attempts=1)

Whatever else is logged in the process, by Twisted above all, appears under the op ``twisted`` with its text.
Values that are not plain text, numbers, lists or tables show as the name of their type: a repr could hold a secret.
This module knows nothing of the settings, and nothing of what is logged.
"""

from __future__ import annotations

import getopt
import json
import os
import re
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

_log = Logger()

LEVELS = {"fatal": 60, "error": 50, "warn": 40, "info": 30, "debug": 20, "trace": 10}
"""The names that the setting ``log.level`` takes, with bunyan's numbers."""

_OWN_LEVELS = {
    LogLevel.critical: 60,
    LogLevel.error: 50,
    LogLevel.warn: 40,
    LogLevel.info: 30,
    LogLevel.debug: 20,
}
_FOREIGN_LEVELS = {
    LogLevel.critical: 50,
    LogLevel.error: 50,
    LogLevel.warn: 40,
    LogLevel.info: 20,
    LogLevel.debug: 10,
}
"""Twisted tells at info of every connection factory that starts: of use only to who looks for it."""

_OP = re.compile(r"[\w.-]+")
_STANDING = ("name", "hostname", "pid", "level", "time", "msg", "v", "op")
_RESERVED = frozenset({*_STANDING, "err"})
_COLOURS = {60: "35", 50: "31", 40: "33", 30: "32", 20: "36", 10: "90"}
_DEEPEST = 8
_LONGEST_INTEGER_BITS = 256
_LONGEST_MESSAGE = 2000


class Stream(Protocol):
    """Where lines go: any text file will do."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...

    def isatty(self) -> bool: ...


Observer = Callable[[LogEvent], None]
"""What ``twisted.logger`` calls an ILogObserver; those made here provide that interface."""


def observer(stream: Stream, level: str, pretty: bool | None = None) -> Observer:
    """An observer that writes every event of ``level`` (a key of LEVELS) and above to ``stream``, one line each.

    ``pretty`` chooses the readable form; None means: when the stream is a terminal.
    """
    return _LineObserver(stream, LEVELS[level], stream.isatty() if pretty is None else pretty)


@implementer(ILogObserver)
class _LineObserver:
    def __init__(self, stream: Stream, threshold: int, pretty: bool) -> None:
        self._stream = stream
        self._threshold = threshold
        self._render = _Readable(stream) if pretty else _json_line
        self._hostname = socket.gethostname()
        # Re-entrant: a Deferred that the garbage collector ends while a line is written logs its unhandled error.
        self._lock = threading.RLock()

    def __call__(self, event: LogEvent) -> None:
        level = _level(event)
        if level < self._threshold:
            return
        line = self._render(self._record(event, level))
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()

    def _record(self, event: LogEvent, level: int) -> dict[str, Any]:
        failure = _failure(event)
        op, message, fields = _own(event) if _is_own(event) else _foreign(event)
        return {
            "name": "fxa-auth",
            "hostname": self._hostname,
            "pid": os.getpid(),  # asked anew: twistd forks after the observer was made
            "level": level,
            "time": _iso_utc(event.get("log_time", 0.0)),
            "msg": message,
            "v": 0,
            "op": op,
            **{f"{key}_" if key in _RESERVED else key: _plain(value) for key, value in fields.items()},
            **({} if failure is None else {"err": _err(failure)}),
        }


def _is_own(event: LogEvent) -> bool:
    """Twisted logs in the name of the class it serves: ``Starting factory`` of a subclass of ours is not our event."""
    namespace, op = event.get("log_namespace"), event.get("log_format")
    if not isinstance(namespace, str) or not isinstance(op, str):
        return False
    return namespace.split(".")[0] == "fxa_auth" and _OP.fullmatch(op) is not None


def _level(event: LogEvent) -> int:
    log_level = event.get("log_level")
    if _is_own(event):
        if _failure(event) is not None and log_level is LogLevel.critical:
            return LEVELS["error"]  # what Logger.failure() logs: one request died, not the server
        return _OWN_LEVELS.get(log_level, LEVELS["info"])
    if event.get("log_namespace") in ("stdout", "stderr"):
        return _OWN_LEVELS.get(log_level, LEVELS["info"])
    return _FOREIGN_LEVELS.get(log_level, LEVELS["debug"])


def _failure(event: LogEvent) -> Failure | None:
    """A failure stands under another key when ``twisted.python.log`` was used."""
    for key in ("log_failure", "failure"):
        value = event.get(key)
        if isinstance(value, Failure):
            return value
    return None


def _own(event: LogEvent) -> tuple[str, str, dict[str, Any]]:
    """Op, message and fields."""
    op = event["log_format"]
    return op, op, {key: value for key, value in event.items() if not key.startswith("log_")}


def _foreign(event: LogEvent) -> tuple[str, str, dict[str, Any]]:
    legacy_failure = "failure" in event and "log_failure" not in event
    message = str(event.get("why") or "Unhandled error") if legacy_failure else formatEvent(event)
    return "twisted", message, {"namespace": event.get("log_namespace", "")}


def _err(failure: Failure) -> dict[str, str]:
    """Name, message and traceback. The traceback shows lines of code, never the values of variables."""
    error = failure.value
    assert error is not None
    return {"name": type(error).__name__, "message": _message(error), "stack": _stack(failure, error)}


def _stack(failure: Failure, error: BaseException) -> str:
    if error.__traceback__ is None:  # Twisted has cleaned the failure and kept a copy of the frames
        return failure.getTraceback()
    return "".join(traceback.format_exception(error))


def _message(error: BaseException) -> str:
    try:
        return str(error)[:_LONGEST_MESSAGE]
    except Exception:
        return "<unprintable>"


def _iso_utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: object, depth: int = 0) -> Any:
    """``value`` as something that JSON can say; the name of its type where it cannot."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= _LONGEST_INTEGER_BITS else "<int>"
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # inf and nan have no JSON
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth >= _DEEPEST:
        return "<too deep>"
    if isinstance(value, Mapping):
        return {str(_plain(key, _DEEPEST)): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value]
    return f"<{type(value).__name__}>"


def _json_line(record: Mapping[str, Any]) -> str:
    """ASCII only: every encoding of the stream can write it, lone surrogates included."""
    return json.dumps(record, ensure_ascii=True, separators=(",", ":"))


class _Readable:
    """``12:34:56.789 INFO  request.summary code=200 t=3``, in UTC like the JSON form."""

    def __init__(self, stream: Stream) -> None:
        self._coloured = stream.isatty()
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._names = {number: name.upper() for name, number in LEVELS.items()}

    def __call__(self, record: Mapping[str, Any]) -> str:
        level = self._paint(f"{self._names[record['level']]:<5}", _COLOURS[record["level"]])
        words = [record["time"][11:23], level, self._paint(_printable(record["op"]), "1")]
        if record["msg"] != record["op"]:
            words.append(_printable(record["msg"]))
        fields = {key: value for key, value in record.items() if key not in _STANDING}
        err = fields.pop("err", None)
        words += [f"{_printable(key)}={_word(value)}" for key, value in fields.items()]
        stack = [] if err is None else [f"    {_printable(line)}" for line in err["stack"].splitlines()]
        text = "\n".join([" ".join(words), *stack])
        return text.encode(self._encoding, "backslashreplace").decode(self._encoding)

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured else text


def _printable(text: str) -> str:
    """What a client sent must not steer the operator's terminal."""
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1].replace("\x7f", "\\u007f")
        for character in text
    )


def _word(value: object) -> str:
    if isinstance(value, str) and value and value.isprintable() and " " not in value and '"' not in value:
        return value
    return _printable(json.dumps(value, ensure_ascii=False))


class ReopenedFile:
    """A log file that only ever grows, made with mode 0600, and opened anew by its name when asked.

    So ``logrotate`` may move it away. When it cannot be opened anew, the lines go on into the old one.
    """

    def __init__(self, path: Path) -> None:
        """OSError when the file cannot be opened. The path is fixed now: twistd changes its working directory later."""
        self._path = path.absolute()
        self._reopen = False
        self._file = self._open()

    def _open(self) -> Any:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace")

    def reopen(self) -> None:
        """Opens the file anew before the next line; safe in a signal handler, where nothing may be written."""
        self._reopen = True

    def write(self, text: str, /) -> None:
        if self._reopen:
            self._reopen = False
            self._replace()
        self._file.write(text)

    def _replace(self) -> None:
        try:
            fresh = self._open()
        except OSError as error:
            _log.error("log.reopen_failed", path=str(self._path), reason=error.strerror)
            return
        self._file.close()
        self._file = fresh

    def flush(self) -> None:
        self._file.flush()

    def isatty(self) -> bool:
        return False

    def close(self) -> None:
        self._file.close()


def twistd_flags(argv: Sequence[str]) -> dict[str, Any]:
    """What ``twistd_observer`` needs of the options of the twistd whose command line is ``argv``, for a .tac file.

    Under any other program: those of a twistd in the foreground.
    """
    from twisted.scripts.twistd import ServerOptions

    flags: dict[str, Any] = {"nodaemon": True, "logfile": None, "syslog": False, "rundir": "."}
    if not Path(argv[0]).stem.startswith("twistd"):
        return flags
    grammar = ServerOptions()
    given, _ = getopt.getopt(list(argv[1:]), grammar.shortOpt, grammar.longOpt)
    flags["nodaemon"] = False
    for flag, value in given:
        name = grammar.synonyms[flag.lstrip("-").replace("-", "_")]
        if name in ("nodaemon", "debug", "syslog"):
            flags["nodaemon" if name == "debug" else name] = True
        elif name in ("logfile", "rundir"):
            flags[name] = value
    return flags


def twistd_observer(options: Mapping[str, Any], level: str) -> Observer | None:
    """The observer that the options of twistd ask for, to be set as the ILogObserver of the application.

    In the foreground it writes to stderr, with ``--logfile -`` to stdout, with ``--logfile FILE`` to that file, as a
    daemon to twistd.log in the run directory. SIGUSR1 opens the file anew. None under ``--syslog``: twistd's own
    observer then does. SystemExit with one line when the file cannot be opened.
    """
    logfile = options.get("logfile")
    foreground = options.get("nodaemon") or options.get("debug")
    if options.get("syslog"):
        return None
    if logfile == "-":
        if not foreground:
            raise SystemExit("fxa-auth: a daemon has no standard output: give --nodaemon, or --logfile FILE")
        return observer(sys.stdout, level)
    if foreground and not logfile:
        return observer(sys.stderr, level)
    path = Path(logfile) if logfile else Path(options.get("rundir") or ".") / "twistd.log"
    try:
        file = ReopenedFile(path)
    except OSError as error:
        raise SystemExit(f"fxa-auth: cannot write the log {path}: {error.strerror}; give --logfile FILE") from None
    signal.signal(signal.SIGUSR1, lambda number, frame: file.reopen())
    return observer(file, level)

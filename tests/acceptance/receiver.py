"""A receiver of events apart from the daemon: it accepts, refuses, hangs or dies, and the test reads what came."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO, Any
from urllib.parse import parse_qs

from tests.acceptance import http_peer
from tests.acceptance.daemon import free_ports


@dataclass(frozen=True)
class Received:
    """A request; header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    form: Mapping[str, str]

    @property
    def number(self) -> int:
        """Of an event that was published to SNS: its number."""
        return int(self.form["MessageAttributes.entry.1.Value.StringValue"])

    @property
    def message(self) -> dict[str, Any]:
        """Of an event that was published to SNS: what its subscribers are told."""
        message: dict[str, Any] = json.loads(self.form["Message"])
        return message


class Receiver:
    """``http_peer`` in a child process, on a port that stays the same, between ``start`` and ``stop``."""

    def __init__(self) -> None:
        [self._port] = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: Thread | None = None
        self.received: list[Received] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self, mode: str = "accept") -> None:
        # Else tests/http would hide the library.
        command = [sys.executable, "-P", str(Path(http_peer.__file__)), str(self._port), mode]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"%d\n" % self._port, "the receiver has not started"
        self._reader = Thread(target=self._read, args=(self._process.stdout,))
        self._reader.start()

    def stop(self) -> None:
        """End it at once; may be called when it does not run."""
        if self._process is None or self._reader is None:
            return
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process = self._reader = None

    def _read(self, lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                told = json.loads(line)
                form = {name: value for name, [value] in parse_qs(told["body"], strict_parsing=True).items()}
                self.received.append(Received(told["path"], told["headers"], form))

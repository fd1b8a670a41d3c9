"""A mail server apart from the daemon, which takes every mail and keeps it for the test to read."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from threading import Thread
from typing import IO, Any

from tests.acceptance.daemon import eventually
from tests.mail import smtp_peer


class SmtpServer:
    """``smtp_peer`` in a child process, between ``start`` and ``stop``; ``port`` is on 127.0.0.1, 0 is any free one.

    The other arguments are the peer's. ``told`` is what it told of each mail that it took.
    """

    def __init__(self, port: int = 0, **arguments: Any) -> None:
        self.port = port
        self.told: list[dict[str, Any]] = []
        self._arguments = arguments
        self._mails: list[tuple[str, EmailMessage]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: Thread | None = None

    def start(self) -> None:
        arguments = json.dumps({"port": self.port, **self._arguments})
        command = [sys.executable, str(Path(smtp_peer.__file__)), arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        port = int(self._process.stdout.readline() or 0)
        assert port and self.port in (0, port), "the mail server has not started"
        self.port = port
        self._reader = Thread(target=self._read, args=(self._process.stdout,))
        self._reader.start()

    def stop(self) -> None:
        if self._process is None or self._reader is None:
            return
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process = self._reader = None

    def to(self, email: str) -> list[EmailMessage]:
        """The mails that came for this address so far."""
        return [mail for recipient, mail in self._mails if recipient == email]

    @property
    def recipients(self) -> set[str]:
        """Everybody for whom a mail came so far."""
        return {recipient for recipient, _ in self._mails}

    def nth_to(self, email: str, n: int) -> EmailMessage:
        """The n-th mail for this address, counted from 1, once it is there."""
        mails: list[EmailMessage] = eventually(lambda: self.to(email)[n - 1 :], f"mail {n} to {email}")
        return mails[0]

    def _read(self, lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                told = json.loads(line)
                self.told.append(told)
                if "content" not in told:
                    continue
                mail = message_from_bytes(base64.b64decode(told["content"]), EmailMessage, policy=policy.default)
                self._mails += [(recipient, mail) for recipient in told["recipients"]]

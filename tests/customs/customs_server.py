"""A customs server in a process of its own, which behaves as the first part of a request's path says.

``/answers/check`` and the like are answered as an easy-going server would; ``/blocks`` and ``/locks`` say no;
``/hangs`` never answers, ``/stalls`` stops in the middle of an answer, ``/babbles`` talks nonsense, and on ``/dies``
the process ends in the middle of an answer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        _, behaviour, question = self.path.split("/")
        print(json.dumps([question, body]), flush=True)
        if behaviour == "hangs":
            threading.Event().wait()
        answer = json.dumps(_ANSWERS[question](behaviour)).encode()
        if behaviour == "babbles":
            self.wfile.write(b"\x00\xffI am no HTTP server\r\n\r\n" * 100)
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer[:1] if behaviour in ("stalls", "dies") else answer)
        if behaviour == "stalls":
            threading.Event().wait()
        if behaviour == "dies":
            os._exit(1)

    def log_message(self, *_: object) -> None:
        pass


_ANSWERS = {
    "check": lambda behaviour: {"block": behaviour == "blocks", "retryAfter": 77},
    "failedLoginAttempt": lambda behaviour: {"lockout": behaviour == "locks"},
    "passwordReset": lambda _: {},
}


class CustomsServer:
    """The process, seen from a test; it is gone when the test is. It may be started again, at the same place."""

    def __init__(self, case: SynchronousTestCase) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._port = 0
        case.addCleanup(self.kill)

    def start(self) -> None:
        command = [sys.executable, __file__, str(self._port)]
        self._process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._port = int(self._line())

    def url(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self._port}/{behaviour}"

    def heard(self) -> list[object]:
        """The next question: its name, and its body."""
        question: list[object] = json.loads(self._line())
        return question

    def wait(self) -> None:
        """Return when the process has ended by itself."""
        assert self._process is not None
        self._process.wait(60)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _line(self) -> str:
        assert self._process is not None and self._process.stdout is not None
        return self._process.stdout.readline()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()  # with the test
    server.serve_forever()

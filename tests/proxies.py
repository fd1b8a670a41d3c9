"""Reverse proxies, each a process of its own, as stand in front of a server: they tell it whom they serve.

Each connects from an address of its own (Linux takes all of 127.0.0.0/8 for its own), and adds its peer's address to
X-Forwarded-For, whatever the client has put there.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase

OUTER, INNER = "127.0.1.1", "127.0.1.2"
"""From where the two proxies of a chain connect: the outer one to the inner one, and that to the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        chain = [*self.headers.get_all("X-Forwarded-For", []), self.client_address[0]]
        headers = {name: value for name, value in self.headers.items() if name.lower() != "x-forwarded-for"}
        upstream = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), source_address=(sys.argv[2], 0))
        upstream.request("POST", self.path, body, {**headers, "X-Forwarded-For": ", ".join(chain)})
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def start_proxy(case: SynchronousTestCase, upstream_port: int, source: str) -> int:
    """The port of a proxy that is gone when the test is."""
    # -P: the folder of this file has an http of its own, which is not the one to import.
    command = [sys.executable, "-P", __file__, str(upstream_port), source]
    process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE)

    def end() -> None:
        process.kill()
        process.communicate()

    case.addCleanup(end)
    assert process.stdout is not None
    return int(process.stdout.readline())


def start_chain(case: SynchronousTestCase, port: int) -> int:
    """The port of the outer one of two proxies in front of the server at ``port``."""
    return start_proxy(case, start_proxy(case, port, INNER), OUTER)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()

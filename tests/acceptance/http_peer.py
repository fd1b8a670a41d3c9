"""An HTTP server that tells its parent of every request: a program of its own, for receivers of events.

It is given a port of 127.0.0.1 and what to do with requests: ``accept`` (200), ``refuse`` (500), ``hang`` (no answer)
or ``die`` (hang up). It prints the port once it listens, and then a line of JSON for each request, before it answers.
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_printing = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece: in two, the second would wait for the other side's acknowledgement
    mode = "accept"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with _printing:
            print(json.dumps({"path": self.path, "headers": headers, "body": body.decode()}), flush=True)
        if self.mode == "hang":
            threading.Event().wait()
        if self.mode == "die":
            self.close_connection = True
            return
        self.send_response(200 if self.mode == "accept" else 500)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    Handler.mode = sys.argv[2]
    ThreadingHTTPServer.daemon_threads = True
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

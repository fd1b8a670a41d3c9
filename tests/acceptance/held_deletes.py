"""A way to SQS that loses what matters, for a child process: it passes all on, but deletes nothing and never says so.

Argument: the URL of the service. It prints its own port, and then a line for each request to delete.
"""

from __future__ import annotations

import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "Delete" in self.headers["X-Amz-Target"]:
            print(self.headers["X-Amz-Target"], flush=True)
            threading.Event().wait()
        request = urllib.request.Request(sys.argv[1], body, dict(self.headers))
        with urllib.request.urlopen(request) as response:
            answer = response.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()

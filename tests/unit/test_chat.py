"""`chat`: what a stream says that does not end well."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from .helpers import Cli


class Breaks(BaseHTTPRequestHandler):
    """Streams a word, and then an error."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        for line in ('{"choices": [{"delta": {"content": "Hello"}}]}', '{"error": {"message": "decode-0 is gone"}}'):
            self.wfile.write(f"data: {line}\n\n".encode())

    def log_message(self, *_: object) -> None:
        pass


def test_an_answer_that_breaks_off_is_a_failure(cli: Cli) -> None:
    with HTTPServer(("127.0.0.1", 0), Breaks) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        done = cli("chat", address, "--model", "m")
        thread.join()
    assert (done.code, done.out) == (1, "Hello")
    assert done.err == "sgl-launch: the answer broke off: decode-0 is gone\n"

"""What a stranger is told at a door: python3 stranger.py < JSON. Standard library alone: another user runs it.

Reads {"doors": [[ADDRESS, PORT, [PATH, ...]], ...], "key": KEY or null} and prints a list of what each door said: by
path the answers to GET and to POST, each an HTTP status or how the door was shut.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor

LIMIT = 2.0  # seconds


def tell(address: str, port: int, method: str, path: str, key: str | None, limit: float = LIMIT) -> str:
    """The status, or how the door was shut."""
    connection = http.client.HTTPConnection(address, port, timeout=limit)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    try:
        connection.request(method, path, b"{}" if method == "POST" else None, headers)
        return str(connection.getresponse().status)
    except ConnectionRefusedError:
        return "refused"
    except (OSError, http.client.HTTPException):
        return knock(address, port)
    finally:
        connection.close()


def knock(address: str, port: int) -> str:
    """What a door says that speaks no HTTP: NATS to a client without a password, TLS to one without a certificate."""
    try:
        with socket.create_connection((address, port), LIMIT) as one:
            one.settimeout(1)
            try:
                said = one.recv(4096)
            except TimeoutError:
                said = b""
            if said.startswith(b"INFO"):
                one.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
                return "refused by NATS" if b"Authorization Violation" in one.recv(4096) else "let in by NATS"
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((address, port), LIMIT) as one, context.wrap_socket(one) as spoken:
            try:  # with TLS 1.3 the server says only now what it thinks of a client without a certificate
                spoken.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                return "let in by TLS" if spoken.recv(100) else "certificate asked for"
            except (ssl.SSLError, ConnectionError):
                return "certificate asked for"
    except ConnectionRefusedError:
        return "refused"
    except ssl.SSLError as e:
        return "certificate asked for" if "CERTIFICATE" in str(e) else "no HTTP"
    except OSError:
        return "no HTTP"


def main() -> None:
    asked = json.load(sys.stdin)
    key, limit = asked.get("key"), asked.get("limit", LIMIT)
    with ThreadPoolExecutor(16) as threads:

        def one(door: list, path: str, *methods: str) -> list[str]:
            return [tell(door[0], door[1], method, path, key, limit) for method in methods]

        first = list(threads.map(lambda door: one(door, "/", "GET"), asked["doors"]))
        found = [{"/": said} for said in first]
        every = [(n, d, p) for n, d in enumerate(asked["doors"]) for p in d[2] if first[n][0].isdigit()]
        answers = threads.map(lambda x: one(x[1], x[2], "GET", "POST"), every)
        for (n, _, path), said in zip(every, answers, strict=True):
            found[n][path] = said
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""Ask NATS and etcd one real question each: python ask_services.py ADDRESS NATS_PORT ETCD_PORT

Prints `PONG` and etcd's count of registered endpoints. Standard library only.
"""

from __future__ import annotations

import base64
import json
import socket
import sys
import urllib.request


def ask_nats(address: str, port: int) -> str:
    with socket.create_connection((address, port), timeout=5) as connection:
        stream = connection.makefile("rwb")
        assert stream.readline().startswith(b"INFO ")
        stream.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
        stream.flush()
        return stream.readline().decode().strip()


def ask_etcd(address: str, port: int) -> int:
    def coded(key: str) -> str:
        return base64.b64encode(key.encode()).decode()

    wanted = {"key": coded("v1/instances/"), "range_end": coded("v1/instances0")}
    url = f"http://{address}:{port}/v3/kv/range"
    with urllib.request.urlopen(url, json.dumps(wanted).encode(), timeout=5) as answer:
        return int(json.load(answer)["count"])


if __name__ == "__main__":
    address, nats, etcd = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    print(ask_nats(address, nats), ask_etcd(address, etcd))

"""Ask NATS and etcd one real question each.

    python ask_services.py ADDRESS NATS_PORT ETCD_PORT [FOLDER OF THE JOB'S KEYS]

Prints NATS's answer to a PING and how many endpoints are registered in etcd, or `refused`. Standard
library only, so that it runs on any node.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path


def ask_nats(address: str, port: int, keys: Path | None) -> str:
    login: dict[str, object] = {"verbose": False}
    if keys:
        login |= {"user": "sgl-launch", "pass": (keys / "nats-password").read_text()}
    with socket.create_connection((address, port), timeout=5) as connection:
        stream = connection.makefile("rwb")
        assert stream.readline().startswith(b"INFO ")
        stream.write(f"CONNECT {json.dumps(login)}\r\nPING\r\n".encode())
        stream.flush()
        return stream.readline().decode().strip()


def ask_etcd(address: str, port: int, keys: Path | None) -> str:
    def coded(key: str) -> str:
        return base64.b64encode(key.encode()).decode()

    context = ssl.create_default_context(cafile=str(keys / "ca.pem") if keys else None)
    if keys:
        context.load_cert_chain(keys / "client.pem", keys / "client.key")
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    wanted = {"key": coded("v1/instances/"), "range_end": coded("v1/instances0")}
    url = f"https://{address}:{port}/v3/kv/range"
    try:
        with urllib.request.urlopen(url, json.dumps(wanted).encode(), timeout=5, context=context) as answer:
            return str(json.load(answer)["count"])
    except ssl.SSLError as error:
        return f"refused: {error}"
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            return f"refused: {error}"
        raise


if __name__ == "__main__":
    where, nats, etcd = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    folder = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    print(ask_nats(where, nats, folder))
    print(ask_etcd(where, etcd, folder))

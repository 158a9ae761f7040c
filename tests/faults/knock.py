"""A stranger at the door of NATS and etcd: python -m tests.faults.knock ADDRESS NATS_PORT ETCD_PORT

Prints a JSON object: `refused` or `let in` for each, tried without credentials.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
import urllib.request


async def knock(address: str, nats_port: int, etcd_port: int) -> dict[str, str]:
    return {
        "nats": await _nats(address, nats_port),
        "etcd": _etcd("https", address, etcd_port),
        "etcd-without-tls": _etcd("http", address, etcd_port),
    }


async def _nats(address: str, port: int) -> str:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        await reader.readline()  # INFO
        writer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
        answer = (await reader.readline()).decode().strip()
    finally:
        writer.close()
    return "let in" if answer == "PONG" else "refused" if "Authorization" in answer else answer


def _etcd(scheme: str, address: str, port: int) -> str:
    everything = {"key": base64.b64encode(b"\0").decode(), "range_end": base64.b64encode(b"\0").decode()}
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(f"{scheme}://{address}:{port}/v3/kv/range", json.dumps(everything).encode())
    try:
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            return "let in" if "header" in json.load(answer) else "refused"
    except OSError:  # URLError, a TLS alert, an HTTP status
        return "refused"


if __name__ == "__main__":
    print(json.dumps(asyncio.run(knock(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))

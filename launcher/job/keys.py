"""The keys of one job: a certificate authority, a server's and a client's certificate, a password.

Made when the job starts and deleted when it stops; nobody else ever has them.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

_LIFETIME = datetime.timedelta(days=365)  # longer than any job
_SKEW = datetime.timedelta(days=1)  # clocks of nodes differ


# What the server's certificate says besides addresses: Dynamo's frontend is reached at one that it chooses.
SERVER_NAME = "sgl-launch"


def make_keys(folder: Path, addresses: Sequence[str], nats_user: str, nats_tls: bool) -> None:
    """Write ca.pem, server.pem/.key, client.pem/.key, nats-password and nats.conf.

    `addresses` are the IP addresses that the services are reached at; the server's certificate
    holds for them and for loopback. The folder is 0700 and each file 0600 before its first byte.
    Raises FileExistsError when a key is there already.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    folder.mkdir(mode=0o700, exist_ok=True)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("sgl-launch job CA", ca_key, None, ca_key, [])
    server_key = ec.generate_private_key(ec.SECP256R1())
    server = _certificate(
        "sgl-launch services", server_key, ca, ca_key, ["127.0.0.1", *addresses]
    )
    client_key = ec.generate_private_key(ec.SECP256R1())
    client = _certificate("sgl-launch client", client_key, ca, ca_key, [])
    # the authority's own key is not kept: nobody can add a client later
    _write(folder / "ca.pem", _pem(ca))
    for name, certificate, key in (("server", server, server_key), ("client", client, client_key)):
        _write(folder / f"{name}.pem", _pem(certificate))
        _write(folder / f"{name}.key", _key_pem(key))
    password = secrets.token_urlsafe(32)
    _write(folder / "nats-password", password.encode())
    _write(folder / "nats.conf", _nats_conf(folder, nats_user, password, nats_tls).encode())


def _nats_conf(folder: Path, user: str, password: str, tls: bool) -> str:
    text = f'authorization {{ user: "{user}", password: "{password}" }}\n'
    if tls:
        text += (
            f'tls {{ cert_file: "{folder}/server.pem", key_file: "{folder}/server.key", '
            f'ca_file: "{folder}/ca.pem", verify: true }}\n'
        )
    return text


def _certificate(name: str, key: object, ca: object, ca_key: object, addresses: list[str]) -> object:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = subject if ca is None else ca.subject  # type: ignore[attr-defined]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())  # type: ignore[attr-defined]
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
    )
    if ca is not None:
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if addresses:
        names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName(SERVER_NAME)]
        names += [x509.IPAddress(ipaddress.ip_address(a)) for a in dict.fromkeys(addresses)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(ca_key, hashes.SHA256())  # type: ignore[arg-type]


def _pem(certificate: object) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    pem: bytes = certificate.public_bytes(Encoding.PEM)  # type: ignore[attr-defined]
    return pem


def _key_pem(key: object) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined]
    return pem


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
        f.write(content)

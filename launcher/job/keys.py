"""The keys of one job: a certificate authority, a server's and a client's certificate, a password.

Made when the job starts and deleted when it stops; nobody else ever has them.
"""

from __future__ import annotations

import datetime
import os
import secrets
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from launcher.front.planes import SERVER_NAME
from launcher.job.services import NATS_USER

_LIFETIME = datetime.timedelta(days=365)  # longer than any job
_SKEW = datetime.timedelta(days=1)  # clocks of nodes differ


def make_certificates(folder: Path, addresses: Sequence[str], nats_tls: bool) -> None:
    """Write ca.pem, server.pem/.key, client.pem/.key, nats-password and nats.conf.

    The server's certificate holds for these IP addresses and host names, for loopback and for SERVER_NAME. The folder
    is 0700 and each file 0600 before its first byte. Raises FileExistsError when a key is there already.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    # the authority's own key is not kept: nobody can add a client later
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _unsigned("sgl-launch job CA", ca_key).add_extension(x509.BasicConstraints(True, None), critical=True)
    _write_certificate(folder / "ca.pem", ca, ca_key)
    reached = [_name(a) for a in dict.fromkeys(["127.0.0.1", *addresses])]
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName(SERVER_NAME), *reached])
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
    for name, title in (("server", "sgl-launch services"), ("client", "sgl-launch client")):
        key = ec.generate_private_key(ec.SECP256R1())
        own = _unsigned(title, key).add_extension(x509.BasicConstraints(False, None), critical=True)
        own = own.add_extension(usages, critical=False)
        if name == "server":
            own = own.add_extension(names, critical=False)
        _write_certificate(folder / f"{name}.pem", own, ca_key)
        _write(folder / f"{name}.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    password = secrets.token_urlsafe(32)
    _write(folder / "nats-password", password.encode())
    conf = f'authorization {{ user: "{NATS_USER}", password: "{password}" }}\n'
    if nats_tls:
        conf += f'tls {{ cert_file: "{folder}/server.pem", key_file: "{folder}/server.key", '
        conf += f'ca_file: "{folder}/ca.pem", verify: true }}\n'
    _write(folder / "nats.conf", conf.encode())


def _name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _unsigned(title: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return x509.CertificateBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sgl-launch job CA")]),
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)]),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - _SKEW,
        not_valid_after=now + _LIFETIME,
    )


def _write_certificate(path: Path, unsigned: x509.CertificateBuilder, ca_key: ec.EllipticCurvePrivateKey) -> None:
    _write(path, unsigned.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM))


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
        f.write(content)

"""Where the deployment answers: one address in, one base URL out."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

DEFAULT_PORT = 8000

FORMS = "IP, HOST:PORT, [IPV6]:PORT or http://HOST:PORT"


class AddressError(ValueError):
    """The address is not one of the forms that are understood."""


def parse_address(address: str) -> str:
    """Turn ``IP``, ``HOST:PORT`` or ``http(s)://...`` into ``scheme://host:port``.

    The port is 8000 when it is not given. A trailing ``/v1`` is dropped, because it is what
    people copy from an OpenAI client. An IPv6 address goes in brackets; one without brackets is
    taken whole, without a port, when nothing else fits.

    Raises AddressError, whose message names the address and the forms.
    """
    text = address.strip()
    scheme = "http"
    rest = text
    if "://" in text:
        scheme, _, rest = text.partition("://")
        scheme = scheme.lower()
        if scheme not in ("http", "https"):
            raise AddressError(f"address {address!r}: {scheme}:// is not http or https")
    elif _is_bare_ipv6(text):
        rest = f"[{text}]"
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AddressError(f"address {address!r}: {error}; give {FORMS}") from None
    if not host or any(c.isspace() for c in rest):
        raise AddressError(f"address {address!r} names no host; give {FORMS}")
    if parts.username is not None or parts.query or parts.fragment:
        raise AddressError(f"address {address!r}: only host and port are used; give {FORMS}")
    path = parts.path.rstrip("/")
    path = path[: -len("/v1")] if path.endswith("/v1") else path
    if port == 0:
        raise AddressError(f"address {address!r}: port 0 cannot be called; give {FORMS}")
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port or _default_port(scheme)}{path}"


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else DEFAULT_PORT


def _is_bare_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True

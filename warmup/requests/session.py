"""The aiohttp session for what is asked once: models, workers, limits. No proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp


def open_session(api_key: str | None = None, ca_file: str | None = None) -> aiohttp.ClientSession:
    """A session; an async context manager. `api_key` goes with every request, to whatever it asks; `ca_file` (PEM) is
    the authority that an https address is checked against, in place of the system's.

    Without aiohttp's limit of 100 connections, which a deployment's workers may exceed. Proxy
    variables are not read: a cluster's nodes are called directly.
    """
    import ssl

    import aiohttp

    context = ssl.create_default_context(cafile=ca_file) if ca_file else True
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, ssl=context)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return aiohttp.ClientSession(connector=connector, trust_env=False, headers=headers)

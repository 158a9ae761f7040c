"""The aiohttp session for what is asked once: models, workers, limits. No proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp


def open_session() -> aiohttp.ClientSession:
    """A session; an async context manager.

    Without aiohttp's limit of 100 connections, which a deployment's workers may exceed. Proxy
    variables are not read: a cluster's nodes are called directly.
    """
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60)
    return aiohttp.ClientSession(connector=connector, trust_env=False)

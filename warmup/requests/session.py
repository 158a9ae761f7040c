"""The one aiohttp session: no connection limit of its own, no proxy, no redirect surprises."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp


def open_session() -> aiohttp.ClientSession:
    """A session for the sweep; an async context manager.

    aiohttp's default of 100 connections would hold back higher concurrencies and count the
    waiting as time to first token. Proxy variables are not read: a cluster's nodes are called
    directly.
    """
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60)
    return aiohttp.ClientSession(connector=connector, trust_env=False)

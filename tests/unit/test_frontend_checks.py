"""`check` knows what the frontend refuses, and what `submit` would: secrets, `env_from`, routing."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.check import check_config

from .helpers import BASE


def found(text: str) -> list[str]:
    Path("c.yaml").write_text(BASE + text)
    return [str(f) for f in check_config("c.yaml", ask_slurm=False).findings]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("frontend: {router_mode: roundrobin}\n", 'c.yaml:5:12: error: frontend.router_mode: '
         'Invalid value "roundrobin". Did you mean round-robin?'),
        ("frontend: {router_mode: cache_aware}\n", 'Invalid value "cache_aware". Choose from'),
        ("engine: sglang\nfrontend: {router_mode: kv}\n", 'Invalid value "kv". Choose from'),
        ("frontend: {args: {router-mode: kvv}}\n", 'error: frontend.args.router-mode: Invalid value "kvv"'),
        ("frontend: {args: {migration-limit: many}}\n", "error: frontend.args.migration-limit: The value"),
        ("frontend: {args: {router-reset-state: true}}\n", "c.yaml:5:19: warning: frontend.args.router-reset-state: "
         "Dynamo's frontend 1.6.1 has no such flag."),
        ("env: {HF_TOKEN: hf_abcdefghijklmnop}\n", "c.yaml:5:7: warning: env.HF_TOKEN: looks like a secret"),
        ("env_from: [NO_SUCH_TOKEN]\n", "c.yaml:5:1: error: env_from: NO_SUCH_TOKEN is not set in your environment"),
        ("env_from: [{A: 'file:/no/such'}]\n", "error: env_from: A: there is no readable file /no/such"),
    ],
)  # fmt: skip
def test_what_is_found(text: str, expected: str) -> None:
    said = [line for line in found(text) if expected in line]
    assert len(said) == 1, found(text)
    assert "hf_abc" not in said[0]


@pytest.mark.parametrize(
    "text",
    [
        "dynamo_version: 1.4.2\n"
        "frontend: {router_mode: kv, args: {no-router-kv-events: true, router-temperature: 0.5}}\n",
        "engine: sglang\nfrontend: {router_mode: round-robin, args: {cache-threshold: 0.5}}\n",
        "engine: sglang\nfrontend: {router_mode: cache_aware}\n",
    ],
)
def test_what_is_right_is_silent(text: str) -> None:
    assert [line for line in found(text) if "frontend" in line] == []

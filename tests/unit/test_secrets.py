"""env_from, secrets in env, and the watch over workers in etcd."""

from __future__ import annotations

from pathlib import Path

import pytest
from launcher.job.monitor import GRACE, Watch

from launcher.base.errors import InputError
from launcher.config.secrets import check_env_from, secret_warnings
from launcher.render import render

from .helpers import BASE, load, plan_of


@pytest.mark.parametrize("written, read", [
    ("[HF_TOKEN]", {"HF_TOKEN": None}),
    ("[HF_TOKEN, {OTHER: 'file:/a b'}]", {"HF_TOKEN": None, "OTHER": "/a b"}),
    ("{OTHER: 'file:~/x', HF_TOKEN: }", {"OTHER": "~/x", "HF_TOKEN": None}),
    ("HF_TOKEN", {"HF_TOKEN": None}),
])  # fmt: skip
def test_env_from(written: str, read: dict[str, str | None]) -> None:
    assert load(f"{BASE}env_from: {written}\n")[0].env_from == read


@pytest.mark.parametrize(
    "written",
    ["[A B]", "[RUN]", "[NAMES]", "[PATH]", "[PREFILL_0_ADDR]",
     "[UID]", "{A: hf_secret}", "[A, A]", "[3]", "[[A]]"],
)  # fmt: skip
def test_env_from_that_is_wrong(written: str) -> None:
    with pytest.raises(InputError) as caught:
        load(f"{BASE}env_from: {written}\n")
    assert "env_from" in str(caught.value)


def test_a_missing_secret_is_named() -> None:
    Path("there").write_text("x")
    config, _ = load(f"{BASE}env_from: [A, B, {{C: 'file:there'}}, {{D: 'file:gone'}}]\n")
    with pytest.raises(InputError) as caught:
        check_env_from(config, {"A": "1"})
    assert [str(p).split(":")[1].split()[0] for p in caught.value.problems] == ["B", "D"]


@pytest.mark.parametrize("key, value, warned", [
    ("HF_TOKEN", "abcdefgh", True),
    ("WANDB_API_KEY", "0123456789abcdef", True),
    ("SETTING", "ghp_abcdefgh", True),
    ("HF_TOKEN", "/path/of/it", False),
    ("MAX_TOKEN", "512", False),
    ("TOKENIZERS_PARALLELISM", "false", False),
    ("NCCL_DEBUG", "INFO", False),
])  # fmt: skip
def test_a_secret_in_env_is_warned_of(key: str, value: str, warned: bool) -> None:
    found = secret_warnings(*load(f"{BASE}env: {{{key}: {value}}}\n"))
    assert [p.key for p in found] == ([f"env.{key}"] if warned else [])
    assert not any(value in str(p) for p in found)


def test_spare_nodes() -> None:
    plan = plan_of(f"{BASE}spare_nodes: 2\n")
    script = render(plan)
    assert (plan.nodes, plan.spare_nodes) == (2, 2)
    assert "#SBATCH --nodes=4\n" in script
    assert "#SBATCH --no-kill\n" in script
    assert "--no-kill" not in render(plan_of(BASE))
    assert plan_of(f"{BASE}spare_nodes: 2\n", "local").spare_nodes == 0


def test_a_worker_is_lost_once_it_has_been_missing_for_a_while() -> None:
    watch, groups = Watch(), [("a", "h1:1"), ("b", "h2:1")]
    assert watch.lost(groups, {"h1:1"}, 0) == []
    assert watch.lost(groups, set(), 1) == []  # b was never there: that is stage ready's business
    assert watch.lost(groups, {"h1:1"}, 2) == []  # back
    assert watch.lost(groups, set(), 3) == []
    assert watch.lost(groups, set(), 3 + GRACE) == ["a"]
    assert watch.lost(groups, set(), 9 + GRACE) == []  # told once
    assert watch.lost(groups, {"h1:1"}, 20) == []
    assert watch.lost(groups, set(), 21) == []
    assert watch.lost(groups, set(), 21 + GRACE) == ["a"]

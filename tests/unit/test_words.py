"""Quoting: any value of a config is one word of bash, and nothing in it is run."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from launcher.base.words import Ref, quote, shown
from launcher.config import load_config
from launcher.job.script import plan_of_script
from launcher.plan.make import make_plan
from launcher.plan.show import to_json
from launcher.plan.slurm_options import sbatch_quoted
from launcher.render import render

ANY_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
NASTY = st.sampled_from(
    ["$(touch x)", "`id`", "${HOME}", "'", '"', "\\", "a b", "*", "~", "!!", "#", "-n", "--", ";ls", "&", "|", "é…",
     "$'x'", "{a,b}", "[a]", "(", "x=1", "\\'", "'\"'", "%s", "END_OF_PLAN", "\u2028", "{{ 7*7 }}", "{% raw %}"]
)  # fmt: skip
ONE_LINE = st.lists(
    NASTY | st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), max_size=12), max_size=4
).map("".join)


def bash(script: str) -> list[str]:
    """What the script prints, as NUL-separated texts."""
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, timeout=20)
    return done.stdout.decode().split("\0")[:-1]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(ANY_TEXT | NASTY, min_size=1, max_size=20))
def test_any_text_survives_bash(texts: list[str]) -> None:
    assert bash("printf '%s\\0' " + " ".join(quote(t) for t in texts)) == texts


@pytest.mark.parametrize(
    ("value", "word"),
    [(True, "true"), (False, "false"), (8, "8"), (0.5, "0.5"), ("", "''"), ("a b", "'a b'"), (Ref("${A}"), '"${A}"')],
)
def test_other_values(value: object, word: str) -> None:
    assert quote(value) == word


@pytest.mark.parametrize("value", [None, ["a"], {"a": 1}, b"a"])
def test_what_is_no_word(value: object) -> None:
    with pytest.raises(TypeError, match="can't be a word"):
        quote(value)


@pytest.mark.parametrize("text", ["$(id)", "`id`", "a b", '"', "${a}", "$A", "a;b", "", "${A", "a\nb", "${A:-b}"])
def test_a_reference_is_nothing_but_that(text: str) -> None:
    with pytest.raises(ValueError, match="not a reference"):
        Ref(text)


def test_a_reference_is_filled() -> None:
    assert Ref("${A}:${B}/x").fill({"A": "1"}) == "1:${B}/x"
    assert shown(Ref("${A}"), {"A": "a"}) == "a"
    assert shown("${A}", {"A": "a"}) == "${A}"
    assert bash("A='x y'; printf '%s\\0' " + quote(Ref("${A}:1"))) == ["x y:1"]


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # a smaller example is not worth minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(served=ONE_LINE.filter(bool), flag=ONE_LINE, several=st.lists(ONE_LINE, max_size=3), variable=ONE_LINE)
def test_any_value_of_a_config_reaches_the_worker(served: str, flag: str, several: list[str], variable: str) -> None:
    """Through the config and the script, as a step gets its command."""
    config = {
        "name": "t",
        "model": {"path": "/m", "served_name": served},
        "env": {"ALL": variable},
        "aggregated": {"args": {"x-flag": flag, "x-list": several}, "env": {"OWN": variable}},
        "frontend": {"router_mode": served},
        "slurm": {"comment": flag},
        "runs": re.sub(r"[$`~]", "_", served),  # a path: those have a meaning, or are refused
    }
    Path("c.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    plan = make_plan(*load_config("c.yaml", sites=()))
    script = render(plan)
    named = {"HEAD_ADDR": "h", "NODE_ADDR": "n", "SERVICES_ADDR": "s", "RANK": "0", "NNODES": "1"}
    named |= dict.fromkeys(re.findall(r"\$\{([A-Z_]+_PORT)\}", script), "1")
    # the process of a step, whose python3 prints what it was given
    folder = Path("run")
    (folder / "secrets").mkdir(parents=True, exist_ok=True)
    for key in ("ca.pem", "client.pem", "client.key", "nats-password"):
        (folder / "secrets" / key).write_text("key")
    python = folder / "python3"
    python.write_text('#!/bin/bash\nprintf "%s\\0" "$OWN" "$ALL" python3 "$@"\n')
    python.chmod(0o755)
    Path("job.sh").write_text(script, encoding="utf-8")
    named |= {"HOME": str(folder), "SCRATCH_NAME": "s"}
    place = {"RUN": str(folder), "JOB_ID": "1", "GROUP": "aggregated-0", "NODES": "host n lo all"}
    env = {**named, **place, "PATH": f"{folder.absolute()}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "job.sh", "aggregated"], env=env, capture_output=True, check=True, timeout=20)
    out = done.stdout.decode().split("\0")[:-1]
    argv = [w if isinstance(w, str) else w.fill(named) for w in plan.roles[0].command.argv]
    assert out == [variable, variable, *argv]
    assert flag in argv
    (runs,) = (line for line in script.split("\n") if "RUNS=" in line and "BASE=" in line)
    assert bash(f"SLURM_JOB_ID=1 SLURM_SUBMIT_DIR=/; {runs}; printf '%s\\0' \"$RUNS\"") == [config["runs"]]
    # the heredoc gives back the plan
    assert to_json(plan_of_script(Path("job.sh"))) == to_json(plan)
    # and sbatch reads one comment line for each directive
    directives = [line for line in script.split("\n") if line.startswith("#SBATCH")]
    assert directives[-1] == f"#SBATCH {sbatch_quoted('--comment=' + flag)}"

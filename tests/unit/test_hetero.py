"""Roles with nodes of their own kind: components, their #SBATCH lines, and what can't be had with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from launcher.base.errors import InputError
from launcher.kernels.stage import kernel_nodes
from launcher.plan.make import kernels_plan
from launcher.plan.show import to_json
from launcher.plan.slurm_options import HANDED_ON, OWNED_OPTIONS, SBATCH_OPTIONS, WHOLE_JOB, sbatch_directives
from launcher.preflight.judge import Need, Node, judge
from launcher.render import render
from launcher.report.plantext import plan_text
from launcher.report.svg import topology
from launcher.run.jobstate import JobState
from launcher.run.planned import Planned
from launcher.run.slurm import parse

from .helpers import BASE, load, plan_of, roles

HETERO = """\
name: t
model: {path: /m}
slurm: {partition: a, time: "1:00:00", signal: "B:USR2@120", mem: 0, exclude: n1, account: x}
prefill: {args: {tp-size: 16}, slurm: {constraint: big}}
decode: {args: {tp-size: 8}, slurm: {partition: b, gpus_per_node: 4, gpu_request: gres, exclude: false, switches: 1}}
"""


def problem(text: str, *sets: str) -> str:
    with pytest.raises(InputError) as error:
        plan_of(text, sets=sets)
    (found,) = error.value.problems
    return str(found)


def test_the_lines_of_both_components() -> None:
    first, second = sbatch_directives(plan_of(HETERO))
    assert first == [
        "--job-name=t",
        "--nodes=2",
        "--ntasks-per-node=1",
        "--gpus-per-node=8",
        "--partition=a",
        "--time=1:00:00",
        "--signal=B:USR2@120",
        "--mem=0",
        "--exclude=n1",
        "--account=x",
        "--constraint=big",
    ]
    # what belongs to the whole job stands once; what Slurm would hand on and is not meant is emptied
    assert second == [
        "--nodes=2",
        "--ntasks-per-node=1",
        "--gres=gpu:4",
        "--partition=b",
        "--mem=0",
        "--account=x",
        "--switches=1",
        "--exclude=",
    ]
    lines = [line for line in render(plan_of(HETERO)).split("\n") if line.startswith("#SBATCH")]
    assert lines == [f"#SBATCH {words}" for words in (*first, "hetjob", *second)]


def test_the_lists_of_options_hold_together() -> None:
    assert WHOLE_JOB <= SBATCH_OPTIONS
    assert not WHOLE_JOB & set(OWNED_OPTIONS)
    assert set(HANDED_ON) <= SBATCH_OPTIONS - WHOLE_JOB


@pytest.mark.parametrize(
    "nothing", ["{}", "{partition: null}", "null", "{gpus_per_node: null, gpu_request: null}"]
)
def test_nothing_of_its_own_is_one_kind(nothing: str) -> None:
    same = roles("{args: {tp-size: 4}}", "{args: {tp-size: 4}}")
    plan = plan_of(roles("{args: {tp-size: 4}}", f"{{args: {{tp-size: 4}}, slurm: {nothing}}}"))
    assert not plan.heterogeneous
    assert plan.nodes == plan_of(same).nodes == 1
    assert "components" not in to_json(plan)


def test_kinds_share_no_node_and_own_services_come_last() -> None:
    text = roles("{workers: 3, args: {tp-size: 4}}", "{workers: 2, args: {tp-size: 2}, slurm: {gpus_per_node: 4}}")
    plan = plan_of(text + "services: {where: own}\n")
    assert [(c.roles, c.first, c.nodes, c.gpus_per_node) for c in plan.components] == [
        (("prefill",), 0, 2, 8),
        (("decode",), 2, 2, 4),
    ]
    assert {g.name: g.nodes for g in plan.groups if g.role == "decode"} == {"decode-0": (2,), "decode-1": (2,)}
    assert (plan.nodes, plan.services_node) == (4, 3)


@pytest.mark.parametrize("option", ["time", "signal", "requeue", "mail-user", "dependency", "comment", "begin"])
def test_options_of_the_whole_job(option: str) -> None:
    said = problem(HETERO.replace("partition: b", f"{option}: x"))
    assert said == (
        f"c.yaml:5:38: decode.slurm.{option}: belongs to the whole job, not to the nodes of one role; "
        f"set slurm.{option} instead"
    )


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("nodes: 3", "nodes: can't be set here: follows from the workers and their sizes"),
        ("gpus_per_node: 8, gres: 'gpu:4'", "gres: gpu:4 asks for 4 GPUs a node, and gpus_per_node is 8"),
        ("job_name: x", "job_name: can't be set here: set name instead"),
        ("partitoin: x", "partitoin: not an option of sbatch; did you mean 'partition'?"),
        ("constraint: [a]", "constraint: must be one value, or true for an option without one"),
        ("gpus_per_node: 0", "gpus_per_node: must be 1 or more, not 0"),
        ("gpus_per_node: 3", "args.tp-size: a decode worker takes 8 GPUs, which do not fill nodes of 3; choose sizes "
         "whose product is a multiple of 3, or set decode.slurm.gpus_per_node"),
    ],
)  # fmt: skip
def test_wrong_options_of_a_role(own: str, message: str) -> None:
    said = problem(BASE.replace("decode: {", f"decode: {{slurm: {{{own}}}, "))
    at = "decode." if message.startswith("args") else "decode.slurm."
    assert said.startswith("c.yaml:4:")
    assert f": {at}{message}" in said


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("spare_nodes: 1", "c.yaml:6:1: spare_nodes: prefill.slurm makes the nodes of two kinds, and a spare one could "
         "stand in for one kind alone; leave one of the two out"),
        ("on_failure: {workers: requeue}", "c.yaml:6:14: on_failure.workers: prefill.slurm makes it a heterogeneous "
         "job, for which Slurm can't leave out the node that failed; choose restart or stop"),
        ("on_failure: {services: requeue}", "c.yaml:6:14: on_failure.services: prefill.slurm makes it"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(more: str, message: str) -> None:
    assert problem(f"{HETERO}{more}\n").startswith(message)
    assert plan_of(f"{HETERO}{more}\n", "local").heterogeneous  # here it makes no difference


@pytest.mark.parametrize("key", ["account", "qos"])
def test_what_slurm_would_hand_on(key: str) -> None:
    text = roles(f"{{args: {{tp-size: 8}}, slurm: {{{key}: x}}}}", "{args: {tp-size: 8}, slurm: {partition: b}}")
    advice = f"Slurm would take prefill's {key} for decode's nodes as well; set decode.slurm.{key} too"
    assert problem(text) == f"c.yaml:3:39: prefill.slurm.{key}: {advice}"
    assert plan_of(text, sets=[f"decode.slurm.{key}=y"]).heterogeneous
    assert plan_of(text, sets=[f"slurm.{key}=y"]).heterogeneous


def test_a_role_alone() -> None:
    said = problem("name: t\nmodel: {path: /m}\nprefill: {slurm: {partition: a}}\n")
    assert "there is no `decode`" in said


def test_an_aggregated_deployment_has_one_kind() -> None:
    with pytest.raises(InputError) as error:
        load("name: t\nmodel: {path: /m}\naggregated:\n  slurm: {partition: a}\n")
    (found,) = error.value.problems
    expected = "an aggregated deployment has one kind of nodes: set it in the top `slurm`"
    assert str(found) == f"c.yaml:4:3: aggregated.slurm: {expected}"


def test_kernels_are_prepared_for_each_kind() -> None:
    text = HETERO + "warmup: {kernels: {cache_dir: /c}}\n"
    assert kernel_nodes(plan_of(text)) == [("-0", 0, [1]), ("-1", 2, [3])]
    assert kernel_nodes(plan_of(text, "local")) == [("", 0, [])]
    alone = kernels_plan(plan_of(text))
    assert not alone.heterogeneous
    ((directives),) = sbatch_directives(alone)
    assert directives[:5] == ["--job-name=t-kernels", "--nodes=1", "--ntasks-per-node=1", "--gpus-per-node=8",
                              "--partition=a"]  # fmt: skip
    assert "--het-group" not in render(alone)


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        (["PENDING|None", "PENDING|Resources"], JobState("PENDING", "Resources")),
        (["COMPLETING|None", "FAILED|NonZeroExitCode"], JobState("COMPLETING")),
        (["CANCELLED|None", "RUNNING|None"], JobState("RUNNING")),
        (["FAILED|NonZeroExitCode", "CANCELLED|None"], JobState("FAILED", "NonZeroExitCode")),
    ],
)
def test_the_state_of_two_components(lines: list[str], state: JobState) -> None:
    told = (line.replace("|", "|N/A|N/A|") for line in lines)
    found = parse("".join(f"7+{n}|{line}\n" for n, line in enumerate(told)), "squeue")
    assert found == {"7": replace(state, source="squeue")}
    older = parse("".join(f"7+{n}|{line.partition('|')[0]}\n" for n, line in enumerate(lines)), "sacct")
    assert older == {"7": JobState(state.state, "", "sacct")}


def test_the_start_of_two_components() -> None:
    both = "7+1|PENDING|2026-11-23T12:00:00|1:00:00|Resources\n7+0|PENDING|2026-11-23T13:00:00|1:00:00|None\n"
    assert parse(both, "squeue")["7"] == JobState("PENDING", "Resources", "squeue", "2026-11-23T13:00:00", "1:00:00")


def test_nodes_are_compared_with_their_kind() -> None:
    kinds = ["H100", "H100", "H200", "H100", "H200"]
    nodes = [Node(f"n{i}", i, {"gpus": "8", "gpu_name": kind, "interface": "ib0 1"}) for i, kind in enumerate(kinds)]
    found = judge(nodes, Need(5, {}, {}, kinds=(0, 2)))
    assert [(r.host, r.text) for r in found] == [("n3", "the GPUs are H100, on most nodes H200")]


def test_gpus_on_this_machine_lie_after_one_another() -> None:
    text = roles(
        "{args: {tp-size: 4}, slurm: {gpus_per_node: 4}}", "{args: {tp-size: 4}}", "slurm: {gpus_per_node: 2}\n"
    )
    plan = plan_of(text, "local")
    assert {g.name: [(r.node, r.gpus) for r in g.ranks] for g in plan.groups} == {
        "prefill-0": [(0, (0, 1, 2, 3))],
        "decode-0": [(1, (4, 5)), (2, (6, 7))],
    }


def test_what_is_shown_of_it() -> None:
    plan = Planned.read(to_json(plan_of(HETERO)))
    head = plan_text(plan).splitlines()[2:5]
    assert head == [
        "nodes     4 nodes, 24 GPUs in use",
        "          prefill: nodes 0-1, 8 GPUs each, partition a, constraint big",
        "          decode: nodes 2-3, 4 GPUs each, partition b",
    ]
    assert topology(plan, {}).count("<title>GPU") == 8 + 8 + 4 + 4


def test_lines_of_a_heterogeneous_job_are_in_no_other_script() -> None:
    Path("c.yaml").write_text(BASE)
    assert "HET_GROUP" not in render(plan_of(BASE))
    assert "--het-group" not in render(plan_of(BASE))

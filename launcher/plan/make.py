"""The plan: everything that is known before a job has nodes. Pure; Config in, Plan out."""

from __future__ import annotations

from dataclasses import replace

from launcher.base.errors import InputError, Problem
from launcher.base.words import Ref
from launcher.config import Config, Source
from launcher.config.schema import Role
from launcher.containers import container_problems
from launcher.engines import Command, Context, engine_for
from launcher.plan.components import component_problems
from launcher.plan.model import Cluster, Plan, RolePlan
from launcher.plan.place import named_ports, place, place_frontends, place_fronts
from launcher.plan.portcheck import check_ports
from launcher.plan.ports import block_size, service_ports
from launcher.plan.slurm_options import slurm_problems
from launcher.plan.topology import topology
from warmup.caches import FOLDERS


def kernels_plan(plan: Plan) -> Plan:
    """The plan of a job that only builds the kernels, on one node with all its GPUs."""
    config = plan.config.model_copy(update={"name": f"{plan.config.name[:55]}-kernels"})
    return replace(
        plan,
        config=config,
        nodes=1,
        components=(replace(plan.components[0], nodes=1),),
        services_node=0,
        frontends=plan.frontends[:1],
        fronts=(),
        only_kernels=True,
    )


def make_plan(config: Config, source: Source, cluster: Cluster = "slurm") -> Plan:
    """Lay a config's workers out over nodes. Raises InputError with every mistake found."""
    problems = _role_problems(config, source)
    problems += slurm_problems(config, source)
    problems += component_problems(config, source) if cluster == "slurm" else []
    problems += container_problems(config, source, cluster)
    engine = engine_for(config)
    problems += engine.problems(config, source)
    topologies = {}
    for name, role in config.roles.items():
        try:
            topologies[name] = topology(name, role, config.slurm_of(name).gpus_per_node, source)
        except InputError as e:
            problems += e.problems
    if problems:
        raise InputError(*problems)

    groups, components = place(config, topologies, cluster)
    nodes = components[-1].first + components[-1].nodes
    frontends = place_frontends(config, source, nodes, cluster)
    last_slot = max(g.slot for g in groups)
    block = block_size(last_slot + 1)
    ports = service_ports(config)
    fronts = place_fronts(config, frontends, cluster)
    check_ports(config, source, groups, fronts, block, cluster)
    context = Context(config=config, ports=ports, workers=tuple(g.worker for g in groups))
    own_node = config.services.where == "own"
    if own_node:
        components = (*components[:-1], replace(components[-1], nodes=components[-1].nodes + 1))
    frontend = engine.frontend(context)
    roles = tuple(
        RolePlan(
            name=name,
            topology=topologies[name],
            command=_with_caches(engine.worker(context, name, role), config, role),
            groups=tuple(g for g in groups if g.role == name),
        )
        for name, role in config.roles.items()
    )
    return Plan(
        config=config,
        cluster=cluster,
        nodes=nodes + own_node,
        components=components,
        roles=roles,
        services=engine.services(context),
        service_ports=ports,
        services_node=nodes if own_node else groups[0].ranks[0].node,
        frontend=frontend,
        frontends=tuple(replace(f, ports=named_ports(f.ports, frontend)) for f in frontends),
        fronts=fronts,
        health=engine.health,
        port_block=block,
    )


def _with_caches(command: Command, config: Config, role: Role) -> Command:
    """What its compilers keep, in the node's own folder, unless the config says where."""
    given = {**config.env, **role.env}
    names = [name for name in FOLDERS if config.keeps_caches and name not in given]
    return replace(command, env={**command.env, **{name: Ref(f"${{CACHES}}/{FOLDERS[name]}") for name in names}})


def _role_problems(config: Config, source: Source) -> list[Problem]:
    if empty := [name for name, role in config.roles.items() if not role.workers and not config.service.joins]:
        return [source.problem("must be 1 or more, not 0", empty[0], "workers")]
    roles = set(config.roles)
    if roles in ({"aggregated"}, {"prefill", "decode"}):
        return []
    if not roles:
        return [source.problem("give `prefill` and `decode`, or `aggregated`: there is no worker")]
    if "aggregated" in roles:
        message = "an aggregated deployment has no prefill or decode; keep one of the two kinds"
        return [source.problem(message, "aggregated")]
    (only,) = roles
    other = "decode" if only == "prefill" else "prefill"
    return [source.problem(f"there is no `{other}`; disaggregation needs both roles", only)]

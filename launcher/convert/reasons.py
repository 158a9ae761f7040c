"""Why keys of an srt-slurm recipe have no place in a config."""

from __future__ import annotations

from launcher.convert.ledger import Ledger
from launcher.convert.tree import Section, leaves

_NO_WORKERS = "the resources give this role no workers"
_ONE = "one frontend is written; frontend.replicas makes more, without nginx"
_SERVING = "a load is not part of a deployment; send it to the frontend's address"
_IMAGE = "what the image holds is used as it is"
_WATCH = "sgl-launch does not collect this"

# The longest path that fits counts; a path stands for everything below it.
DROPPED: dict[tuple[str, ...], str] = {
    ("schema",): "says the file's shape only",
    ("model", "precision"): "a label; SGLang reads it from the model",
    ("model", "name"): "a label; set model.served_name for the name that clients use",
    ("model", "container_image"): "model.container is the image that is used",
    ("resources", "gpu_type"): "a label; slurm.partition or slurm.constraint chooses the GPUs",
    ("resources", "het_jobs"): "a role whose nodes are of another kind says so in prefill.slurm or decode.slurm",
    **{
        ("resources", f"{word}_{what}"): _NO_WORKERS
        for word in ("prefill", "decode", "agg")
        for what in ("nodes", "workers")
    },
    **{("resources", f"gpus_per_{w}"): _NO_WORKERS for w in ("prefill", "decode", "agg")},
    ("backend", "gpu_type"): "a label; slurm.partition or slurm.constraint chooses the GPUs",
    ("backend", "kv_events_config"): "the mocker publishes by itself",
    ("backend", "mooncake_kv_store"): "sgl-launch starts no Mooncake store",
    ("backend", "sglang_config"): _NO_WORKERS,
    ("backend", "mocker_config"): _NO_WORKERS,
    ("backend", "prefill_environment"): _NO_WORKERS,
    ("backend", "decode_environment"): _NO_WORKERS,
    ("backend", "aggregated_environment"): _NO_WORKERS,
    ("backend", "engine_type"): "the mocker plays SGLang here",
    ("backend", "enable_multiple_frontends"): _ONE,
    ("backend", "num_additional_frontends"): _ONE,
    ("benchmark",): _SERVING,
    ("sweep",): "each parameter has its first value; `--set` gives it another",
    ("dynamo",): _IMAGE,
    ("infra", "nats_max_payload_mb"): "requests and answers go over TCP, not through NATS",
    ("identity",): "a label, for srtctl to compare",
    ("setup_script",): _IMAGE + "; make the change in it",
    ("host_setup",): "use the site's prologue",
    ("frontend", "nginx_container"): "there is no nginx before the frontend",
    ("frontend", "nginx_raise_ulimit"): "there is no nginx before the frontend",
    ("frontend", "nginx_session_affinity"): "there is no nginx before the frontend",
    ("frontend", "nginx_session_affinity_header"): "there is no nginx before the frontend",
    ("frontend", "source"): "Dynamo's frontend is used",
    ("frontend", "container_image"): "the frontend runs in the workers' container",
    ("frontend", "dedicated_node"): "the frontend runs beside the first worker",
    ("frontend", "orchestrator_placement"): "the frontend runs beside the first worker",
    ("frontend", "args"): "flags of another router",
    ("frontend", "env"): "variables of another router",
    ("frontend", "sglang_router_args"): "flags of another router",
    ("frontend", "dynamo_frontend_args"): "flags of a frontend that the source does not use",
    ("infra",): "the launcher sets NATS and etcd up",
    ("profiling",): "profiling is not part of a deployment",
    ("telemetry",): _WATCH,
    ("observability",): _WATCH,
    ("monitoring",): _WATCH,
    ("reporting",): _WATCH,
    ("output",): "the run folder holds the logs; see runs",
    ("enable_config_dump",): "the run folder holds the config",
    ("srun_options",): "the script chooses srun's options",
}


def explain(section: Section, ledger: Ledger, above: tuple[str, ...] = (), inherited: str | None = None) -> None:
    """Drop what is left of a recipe and has a reason here, each time the largest part."""
    for item in section.items:
        if ledger.is_covered(item.path):
            continue
        path = (*above, item.key)
        why = DROPPED.get(path) or inherited
        if isinstance(item.value, Section) and item.value.items:
            used = any(ledger.is_covered(leaf.path) for leaf in leaves(item.value))
            if why is None or used:
                explain(item.value, ledger, path, why)
                continue
        if why is not None:
            ledger.drop(item, why)

"""Files of other kinds that people give to `convert`, known by their looks: each is named, with what to do instead."""

from __future__ import annotations

import re

from launcher.catalog.releases import usual_names
from launcher.convert.tree import Section

_TAKES = "convert takes a Dynamo service file of 2025 or an srt-slurm recipe"
_SCRIPT = (
    "its #SBATCH options belong below `slurm`, SGLang's flags below prefill.args and decode.args, exports below `env`, "
    "`module load` and the like below `setup`; `sgl-launch init NAME` writes a config to begin with"
)
_COMMAND = (
    "its flags belong below `aggregated: args:` (or prefill and decode), without their --, the model's folder into "
    "model.path; `sgl-launch init NAME` writes a config to begin with"
)
_TEXTS = (
    (r"\A#!.*\b(ba|z|k|da)?sh\b|^#SBATCH |^\s*srun [^:]*$", f"a shell script: {_SCRIPT}"),
    (
        r"\A(\s*(#.*|export .*)?\n)*\s*(\w+=\S+ )*"
        r"(\S*python3? -m (sglang|dynamo)\b|(sglang|dynamo) (serve|run)\b|docker run\b)",
        f"a command: {_COMMAND}",
    ),
    (r"\A#!.*python|^(import|from) \w[\w.]*( import .*)?$|^def \w+\(", "a Python program"),
    (r"^FROM \S+|^RUN [\w/]", "a Dockerfile: `sgl-launch image` builds an image"),
    (r"^\[[\w.\"-]+\]\s*$", "a TOML or INI file"),
    (r"\A\s*<\?xml|\A\s*<html", "a web page or XML"),
)


def by_text(text: str) -> str:
    """What a text is that is no YAML of ours; empty for one that may be."""
    found = next((what for pattern, what in _TEXTS if re.search(pattern, text, re.MULTILINE)), "")
    return f"this is {found}; {_TAKES}" if found else ""


def by_keys(root: Section) -> str:
    """What a mapping is by its keys; empty for one that says nothing."""
    keys = [item.key for item in root.items]
    names = {*usual_names(), "tp", "dp", "ep", "pp"}
    flags = [key for key in keys if key.strip("-").replace("_", "-") in names]
    if len(flags) > len(keys) / 2 and len(flags) > 1:
        return (
            f"these are flags of SGLang (its own --config file): put them below `aggregated: args:` (or prefill and "
            f"decode) of a config, the model's folder into model.path; {_TAKES}"
        )
    if "services" in keys and {"version", "volumes", "networks", "name"} | {"services"} >= set(keys):
        return f"this is a Docker Compose file; {_TAKES}"
    if {"replicaCount", "nameOverride", "serviceAccount"} & set(keys):
        return f"these are values of a Helm chart; {_TAKES}"
    return ""

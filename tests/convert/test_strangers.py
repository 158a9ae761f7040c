"""Files of other kinds: each is named, and what to do instead is said, in one message."""

from __future__ import annotations

import pytest

from launcher.base.errors import InputError
from launcher.convert import convert_text

SBATCH = "#!/bin/bash\n#SBATCH --gres=gpu:gh200:4\nmodule purge\n\nMODEL=org/m\nexport A=${B:-$(hostname)}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SBATCH, "this is a shell script: its #SBATCH options belong below `slurm`"),
        ("#SBATCH --nodes={{ nodes }}\n{% for n in nodes %}\nsrun python -m sglang.launch_server\n{% endfor %}\n",
         "this is a shell script"),
        ("set -e\nsrun --ntasks=1 python3 -m sglang.launch_server --tp 8 &\nwait\n", "this is a shell script"),
        ("python -m sglang.launch_server --model-path org/m --tp 8\n", "this is a command: its flags belong below"),
        ("# four nodes\nexport A=1\nB=2 /opt/bin/python3 -m dynamo.sglang --tp 8 \\\n  --dp 8\n", "this is a command"),
        ("docker run --gpus all lmsysorg/sglang sglang serve --model-path m\n", "this is a command"),
        ('{"model-path": "x", "tp": 8}', "these are flags of SGLang"),
        ("import sglang\n\nengine = sglang.Engine(model_path='x')\n", "this is a Python program"),
        ("#!/usr/bin/env python3\nprint('a')\n", "this is a Python program"),
        ("FROM lmsysorg/sglang:v0.5.16\nRUN pip install nixl\n", "this is a Dockerfile"),
        ("[model]\npath = 'x'\n", "this is a TOML or INI file"),
        ("model-path: org/model\ntp: 8\npage-size: 16\n", "these are flags of SGLang (its own --config file)"),
        ("tensor_parallel_size: 8\nmem_fraction_static: 0.8\n", "these are flags of SGLang"),
        ("services:\n  a: {image: x}\nvolumes: {}\n", "this is a Docker Compose file"),
        ("replicaCount: 1\nimage: {}\n", "these are values of a Helm chart"),
        ("something: else\n", "neither a Dynamo service file (SGLangWorker), an srt-slurm recipe"),
    ],
)  # fmt: skip
def test_each_is_named(text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        convert_text(text, "job.x")
    (problem,) = error.value.problems
    assert said in str(problem)
    assert str(problem).startswith("job.x")


def test_yaml_that_is_wrong_stays_that() -> None:
    with pytest.raises(InputError, match="not valid YAML"):
        convert_text("model: [a\nresources: b\n", "r.yaml")

#!/usr/bin/env bash
# Makes a virtual environment in which the published SGLang wheel, Dynamo and NIXL run on the CPU.
#
#   tools/sglang-cpu/setup.sh FOLDER        3.7 GB; a few minutes, most of them downloads
#
# There is no CPU build of SGLang on PyPI. The wheel is used as it is; shim/ stands in for the
# kernels that it imports. For tests of the launcher against the real engine, not for speed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=${1:?usage: setup.sh FOLDER}
python=${PYTHON:-python3}

"$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
# torch first: the others would bring its CUDA build
pip install torch==2.13.0 -r "$here/requirements.txt"
# their dependencies are CUDA's
pip install --no-deps sglang==0.5.23 torchvision==0.28.0 nixl-cu12==1.5.1 nixl==1.5.1 \
  ai-dynamo==1.6.1 ai-dynamo-runtime==1.6.1
# SGLang and Dynamo ask for versions of these that contradict each other
pip install triton==3.9.0 pydantic==2.13.5

site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
cp -r "$here/shim/." "$site/"
"$venv/bin/python" "$here/make_weights.py" "$here/../../configs/tiny-model" "$venv/tiny-model"
touch "$venv/.ready"

#!/usr/bin/env bash
# Collects all that a GPU machine without a network needs beside torch 2.11.0+cu130 and Python 3.12 (x86-64): SGLang, Dynamo,
# NIXL, DeepEP, etcd, Slurm and this project, as folders of at most 60 MB each.
# usage: parts.sh WORK OUT [REQUIREMENTS]    packages are kept in WORK, a folder for each file of requirements;
#                                            OUT/part0 has the project, Slurm and this folder, and goes first
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${1:?usage: parts.sh WORK OUT}
out=${2:?usage: parts.sh WORK OUT}
requirements=${3:-$here/requirements.txt}
python=${PYTHON:-$root/.venv/bin/python}
mkdir -p "$work/wheels" "$out"
tags=(--no-deps --only-binary=:all: --python-version 3.12 --implementation cp --abi cp312 --abi abi3 --abi none --platform any)
for n in 5 12 17 24 27 28 31 34 35; do tags+=(--platform "manylinux_2_${n}_x86_64"); done
tags+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64 --platform linux_x86_64)

grep -v '^#' "$requirements" | while read -r package; do
    name=${package%%==*}
    compgen -G "$work/wheels/${name//-/_}-${package##*==}-*" > /dev/null ||
        "$python" -m pip download -q "${tags[@]}" -d "$work/wheels" "$package" || echo "missing: $package" >&2
done

compgen -G "$work/etcd-server*.deb" > /dev/null || (cd "$work" && apt-get download -q etcd-server)

rm -rf "$out"/part*
mkdir "$out/part0"
"$here/slurm_part.sh" "$out/part0"
git -C "$root" archive --format=tar HEAD | gzip > "$out/part0/project.tgz"
"$python" -m build --wheel --no-isolation -o "$out/part0" "$root" > /dev/null
"$python" "$here/pack.py" "$work" "$out"

#!/usr/bin/env bash
# Collects all that a GPU machine without a network needs beside torch 2.11.0+cu130 and Python 3.12 (x86-64): SGLang, Dynamo,
# NIXL, DeepEP, etcd, Slurm and this project, as folders of at most 60 MB each.
# usage: parts.sh WORK OUT    packages are kept in WORK; OUT/part0 has the project, Slurm and this folder, and goes first
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${1:?usage: parts.sh WORK OUT}
out=${2:?usage: parts.sh WORK OUT}
python=${PYTHON:-$root/.venv/bin/python}
mkdir -p "$work/wheels" "$out"
tags=(--no-deps --only-binary=:all: --python-version 3.12 --implementation cp --abi cp312 --abi abi3 --abi none --platform any)
for n in 5 12 17 24 27 28 31 34 35; do tags+=(--platform "manylinux_2_${n}_x86_64"); done
tags+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64 --platform linux_x86_64)

grep -v '^#' "$here/requirements.txt" | while read -r package; do
    name=${package%%==*}
    compgen -G "$work/wheels/${name//-/_}-${package##*==}-*" > /dev/null ||
        "$python" -m pip download -q "${tags[@]}" -d "$work/wheels" "$package" || echo "missing: $package" >&2
done

# Nearly all of the 380 MB of sglang-kernel are FlashAttention-3; without it (--attention-backend triton) it is 14 MB.
if [ ! -e "$work/sglang_kernel.tar.xz" ]; then
    "$python" -m pip download -q "${tags[@]}" -d "$work" sglang-kernel==0.4.5
    mkdir -p "$work/kernel"
    "$python" -m zipfile -e "$work"/sglang_kernel-0.4.5-*.whl "$work/kernel"
    rm -rf "$work/kernel/sgl_kernel/"{flash_ops.abi3.so,infllm_ops*,sm100}
    tar cJf "$work/sglang_kernel.tar.xz" -C "$work/kernel" .
    rm -rf "$work/kernel" "$work"/sglang_kernel-*.whl
fi
compgen -G "$work/etcd-server*.deb" > /dev/null || (cd "$work" && apt-get download -q etcd-server)

rm -rf "$out"/part*
mkdir "$out/part0"
"$here/slurm_part.sh" "$out/part0"
git -C "$root" archive --format=tar HEAD | gzip > "$out/part0/project.tgz"
"$python" -m build --wheel --no-isolation -o "$out/part0" "$root" > /dev/null
"$python" - "$work" "$out" << 'PACK'
import shutil, sys
from pathlib import Path

work, out = map(Path, sys.argv[1:])
files = [*work.glob("wheels/*.whl"), *work.glob("*.deb"), work / "sglang_kernel.tar.xz"]
parts = [[sum(f.stat().st_size for f in (out / "part0").iterdir()), []]]
for file in sorted(files, key=lambda f: -f.stat().st_size):
    size = file.stat().st_size
    part = next((p for p in parts if p[0] + size <= 58_000_000), None)
    if part is None:
        parts.append(part := [0, []])
    part[0] += size
    part[1].append(file)
for number, (size, members) in enumerate(parts):
    folder = out / f"part{number}"
    folder.mkdir(exist_ok=True)
    for file in members:
        shutil.copy(file, folder)
    print(f"{folder}: {size / 1e6:.0f} MB")
PACK

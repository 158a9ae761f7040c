"""A compiler that compiles nothing, so that a sweep only finds out which kernels there are.

DeepGEMM picks a kernel for each M by rules of its own version, writes its source, and asks nvcc
for a cubin. Here nvcc is a shell script: it notes its arguments and copies one empty kernel, made
once by the real nvcc. DeepGEMM loads and launches that in place of the product, so a sweep over
thousands of Ms takes a second and leaves behind each kernel's source under the very name that
DeepGEMM will look for, together with the compiler's flags. The real nvcc is then run once for
each, on all cores.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOURCE, CUBIN = "kernel.cu", "kernel.cubin"
SOURCE_WORD, CUBIN_WORD = "{source}", "{cubin}"
EMPTY_KERNEL = 'extern "C" __global__ void stand_in() {}\n'


class StandinError(RuntimeError):
    """The empty kernel could not be made, or DeepGEMM did not call the stand-in."""


@dataclass(frozen=True)
class FoundKernel:
    """A kernel that the sweep met. name: its folder in the cache. source: kernel.cu, text.
    arguments: DeepGEMM's own call of its compiler, SOURCE_WORD and CUBIN_WORD for the two files.
    extras: what else DeepGEMM put beside the kernel, by file name, text."""

    name: str
    source: str
    arguments: tuple[str, ...]
    extras: dict[str, str] = field(default_factory=dict)

    def command(self, nvcc: str, folder: Path) -> list[str]:
        """The call of the real compiler that leaves the cubin in `folder`."""
        places = {SOURCE_WORD: str(folder / SOURCE), CUBIN_WORD: str(folder / CUBIN)}
        return [nvcc, *(places.get(word, word) for word in self.arguments)]

    def write(self, folder: Path) -> None:
        """Everything but the cubin."""
        (folder / SOURCE).write_text(self.source, encoding="utf-8")
        for name, text in self.extras.items():
            (folder / name).write_text(text, encoding="utf-8")

    def to_json(self) -> dict[str, Any]:
        return {"source": self.source, "arguments": list(self.arguments), "extras": self.extras}

    @classmethod
    def from_json(cls, name: str, value: Any) -> FoundKernel:
        return cls(name, value["source"], tuple(value["arguments"]), dict(value["extras"]))


def make(folder: Path, nvcc: str, arch: str) -> Path:
    """Write the stand-in into `folder` and return its path.

    arch: such as 'sm_90'. Raises StandinError when nvcc cannot compile an empty kernel.
    """
    source, cubin, script = folder / "empty.cu", folder / "empty.cubin", folder / "nvcc"
    source.write_text(EMPTY_KERNEL, encoding="utf-8")
    done = subprocess.run(
        [nvcc, str(source), "-cubin", "-o", str(cubin), f"-arch={arch}"],
        capture_output=True,
        text=True,
    )
    if done.returncode or not cubin.is_file():
        raise StandinError(
            f"{nvcc} cannot compile an empty kernel for {arch}: {(done.stderr or done.stdout).strip()[-800:]}"
        )
    script.write_text(_script(nvcc, cubin, folder / "arguments"), encoding="utf-8")
    script.chmod(0o755)
    return script


def _script(nvcc: str, cubin: Path, arguments: Path) -> str:
    real, empty, noted = (shlex.quote(str(item)) for item in (nvcc, cubin, arguments))
    return f"""#!/bin/sh
# Stands in for nvcc while kernels are only being found. Everything but a compilation is nvcc's.
out= next= src=
for word; do
  if [ -n "$next" ]; then out=$word; next=; continue; fi
  case $word in -o|--output-file) next=1;; --output-file=*) out=${{word#*=}};; *.cu) src=$word;; esac
done
[ -n "$out" ] && [ -n "$src" ] || exec {real} "$@"
note={noted}.$(sha256sum < "$src" | cut -c 1-64)
if [ ! -e "$note" ]; then
  for word; do printf '%s\\n' "$word"; done > "$note.$$" && mv -f "$note.$$" "$note"
fi
exec cp {empty} "$out"
"""


def arguments(scratch: Path, source: bytes) -> tuple[str, ...]:
    """How DeepGEMM called its compiler for a source, the two files as place holders.

    Raises StandinError when it did not call the stand-in for it.
    """
    note = scratch / f"arguments.{hashlib.sha256(source).hexdigest()}"
    try:
        words = note.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise StandinError(
            "DeepGEMM did not call its compiler through DG_JIT_NVCC_COMPILER; this version may "
            "use NVRTC (unset SGL_DG_USE_NVRTC and DG_JIT_USE_NVRTC) or another variable"
        ) from error
    kept: list[str] = []
    for word in words:
        if word.endswith(".cu"):
            kept.append(SOURCE_WORD)
        elif kept and kept[-1] in ("-o", "--output-file"):
            kept.append(CUBIN_WORD)
        elif word.startswith("--output-file="):
            kept += ["-o", CUBIN_WORD]
        else:
            kept.append(word)
    return tuple(kept)


def found(scratch: Path, worker: int, nvcc: str, known: set[str]) -> list[FoundKernel]:
    """Kernels that appeared in one worker's cache since the last look; adds them to `known`.

    A folder counts once its cubin is there: DeepGEMM writes that last, or renames the whole.
    Raises StandinError when DeepGEMM changed the cubin after its compiler had made it, since that
    would then be missing from the real one.
    """
    cache = scratch / f"found.{worker}" / "cache"
    try:
        names = {entry.name for entry in os.scandir(cache)} - known
    except FileNotFoundError:
        return []
    new = []
    for name in sorted(names):
        folder = cache / name
        if not (folder / CUBIN).exists():
            continue
        known.add(name)
        if (folder / CUBIN).read_bytes() != (scratch / "empty.cubin").read_bytes():
            raise StandinError(f"{name}: this DeepGEMM reworks its cubins after nvcc, which cannot be built ahead")
        source = (folder / SOURCE).read_bytes()
        extras = {
            file.name: file.read_text(encoding="utf-8").replace(str(scratch / "nvcc"), nvcc)
            for file in folder.iterdir()
            if file.name not in (SOURCE, CUBIN) and file.is_file()
        }
        new.append(FoundKernel(name, source.decode("utf-8"), arguments(scratch, source), extras))
    return new

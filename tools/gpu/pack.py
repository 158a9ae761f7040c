"""Put wheels, .deb files and a folder's other contents into folders of at most LIMIT bytes: pack.py WORK OUT.

WORK/wheels and WORK/*.deb go to OUT/part0 (which may have files already), part1, ... A wheel that is too large loses
what no trial needs (TRIM), is compressed anew (kept in WORK/trimmed) and, where that is still too large, cut into
pieces NAME.I-of-N, which unpack.py joins.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

LIMIT = 58_000_000
# FlashAttention-3 is nearly all of sglang-kernel's 380 MB; without it, attention-backend must be triton
TRIM = {
    "sglang_kernel": ("sgl_kernel/flash_ops.abi3.so", "sgl_kernel/infllm_ops*", "sgl_kernel/sm100"),
    "triton": ("triton/backends/amd/lib",),
    "torch": ("torch/test",),
}


def trimmed(wheel: Path, folder: Path) -> Path:
    """The wheel's files as .tar.xz, with the modes that they had in it."""
    archive = folder / f"{wheel.stem}.tar.xz"
    if archive.exists():
        return archive
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        top = Path(name)
        top.chmod(0o755)  # as the folder will be into which it is unpacked
        with zipfile.ZipFile(wheel) as source:
            source.extractall(top)
            for info in source.infolist():  # extractall forgets the modes: ptxas must stay a program
                if mode := (info.external_attr >> 16) & 0o777:
                    (top / info.filename).chmod(mode | 0o644)
        for pattern in TRIM.get(wheel.name.partition("-")[0], ()):
            for path in top.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        part = archive.with_suffix(".part")
        subprocess.run(["tar", "-c", "-I", "xz -6 -T0", "-f", part, "-C", top, "."], check=True)
        part.rename(archive)
    return archive


def pieces(file: Path, folder: Path) -> list[Path]:
    """The file itself, or what it was cut into."""
    count = -(-file.stat().st_size // LIMIT)
    if count == 1:
        return [file]
    size = -(-file.stat().st_size // count)
    names = [folder / f"{file.name}.{i}-of-{count}" for i in range(count)]
    with file.open("rb") as source:
        for name in names:
            name.write_bytes(source.read(size))
    return names


def main() -> None:
    work, out = map(Path, sys.argv[1:])
    wheels = sorted(work.glob("wheels/*.whl"))
    large = [w for w in wheels if w.stat().st_size > LIMIT or w.name.startswith("sglang_kernel")]
    files = [*(w for w in wheels if w not in large), *work.glob("*.deb")]
    files += [trimmed(w, work / "trimmed") for w in large]
    with tempfile.TemporaryDirectory(dir=work) as name:
        found = [piece for file in files for piece in pieces(file, Path(name))]
        sizes = [sum(f.stat().st_size for f in (out / "part0").iterdir())]
        for file in sorted(found, key=lambda f: -f.stat().st_size):
            size = file.stat().st_size
            number = next((n for n, s in enumerate(sizes) if s + size <= LIMIT), len(sizes))
            sizes += [0] * (number == len(sizes))
            sizes[number] += size
            folder = out / f"part{number}"
            folder.mkdir(exist_ok=True)
            shutil.copy(file, folder)
    for number, size in enumerate(sizes):
        print(f"part{number}: {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()

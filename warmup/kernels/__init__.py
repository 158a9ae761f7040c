"""DeepGEMM kernels, built before the workers start: plan, build in parallel, archive, unpack.

Nothing here imports torch or deep_gemm; only the worker processes of a build do.
"""

from .api import (
    Outcome,
    Target,
    build_here,
    ensure,
    merge_back_here,
    serve_env,
    target,
    unpack_here,
)
from .archive import (
    ArchiveError,
    CacheKey,
    CorruptArchive,
    ForeignArchive,
    merge_back,
    pack,
    unpack,
)
from .build import BuildError, Progress, Result, build_folder
from .flags import PlanError
from .folder import FolderError, ForeignFolder
from .log import learn, learn_file
from .manifest import KernelShape, Manifest, ManifestError, merge
from .mlist import Sweep
from .probe import Gpu, ProbeError, Toolchain
from .shapes import known_config, load_config, plan_role, plan_roles
from .standin import StandinError
from .store import Entry, StoreError, entries, prune, show, verify
from .table import plan_json, plan_table

# Every failure that a caller should show as one message, without a traceback.
ERRORS = (
    ArchiveError,
    BuildError,
    FolderError,
    ManifestError,
    PlanError,
    ProbeError,
    StandinError,
    StoreError,
)

__all__ = [
    "ERRORS",
    "ArchiveError",
    "BuildError",
    "CacheKey",
    "CorruptArchive",
    "Entry",
    "FolderError",
    "ForeignArchive",
    "ForeignFolder",
    "Gpu",
    "KernelShape",
    "Manifest",
    "ManifestError",
    "Outcome",
    "PlanError",
    "ProbeError",
    "Progress",
    "Result",
    "StandinError",
    "StoreError",
    "Sweep",
    "Target",
    "Toolchain",
    "build_folder",
    "build_here",
    "ensure",
    "entries",
    "known_config",
    "learn",
    "learn_file",
    "load_config",
    "merge",
    "merge_back",
    "merge_back_here",
    "pack",
    "plan_json",
    "plan_role",
    "plan_roles",
    "plan_table",
    "prune",
    "serve_env",
    "show",
    "target",
    "unpack",
    "unpack_here",
    "verify",
]

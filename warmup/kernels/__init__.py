"""DeepGEMM kernels, built before the workers start: plan, build in parallel; and the steps that keep all caches.

Nothing here imports torch or deep_gemm; only the worker processes of a build do.
"""

from warmup.caches.archive import pack, read, unpack
from warmup.caches.folder import FolderError, ForeignFolder
from warmup.caches.key import CacheKey
from warmup.caches.reading import Contents, CorruptArchive, ForeignArchive
from warmup.caches.store import Entry, StoreError, entries, prune, show, verify
from warmup.caches.writing import ArchiveError

from .api import Outcome, Target, build_here, ensure, pack_here, seed, serve_env, target
from .build import BuildError, Progress, Result, build_folder
from .flags import PlanError
from .job import Job
from .log import learn, learn_file
from .manifest import KernelShape, Manifest, ManifestError, merge
from .mlist import Sweep
from .probe import Gpu, ProbeError, Toolchain
from .shapes import known_config, load_config, plan_role, plan_roles
from .standin import StandinError
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
    "Contents",
    "CorruptArchive",
    "Entry",
    "FolderError",
    "ForeignArchive",
    "ForeignFolder",
    "Gpu",
    "Job",
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
    "pack",
    "pack_here",
    "plan_json",
    "plan_role",
    "plan_roles",
    "plan_table",
    "prune",
    "read",
    "seed",
    "serve_env",
    "show",
    "target",
    "unpack",
    "verify",
]

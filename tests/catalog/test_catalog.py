"""The shipped catalogues: their form, how names are resolved, how fast they load."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launcher.catalog import extract, flags, installed, releases
from launcher.catalog.catalog import load
from launcher.catalog.releases import CatalogError, nearest_version, versions
from launcher.catalog.renames import renames
from launcher.catalog.values import check_value

LIMIT = 150_000  # bytes
ROOT = Path(__file__).resolve().parents[2]


def test_the_catalogues_are_small():
    assert releases.DATA.stat().st_size < LIMIT


@pytest.mark.parametrize("version", versions())
def test_each_catalogue_is_whole(version):
    shipped = load(version)
    assert shipped.version == version
    assert len(shipped.flags) > 120
    names = [name for flag in shipped.flags for name in flag.names]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) for name in names)
    assert {"model-path", "tp-size", "dist-init-addr", "nnodes", "node-rank"} <= set(names)
    # A default is a value that the flag takes. SGLang itself has these that aren't.
    odd = {"debug-tensor-dump-inject", "mm-per-request-timeout", "hicache-io-backend"}
    odd |= {"flashinfer-mxfp4-moe-precision", "crash-on-nan"}
    for flag in shipped.flags:
        if flag.default in (None, []) or flag.deprecated or flag.name in odd:
            continue
        assert check_value(flag, flag.name, flag.default) is None, flag


def test_versions_are_in_order():
    found = versions()
    assert found[0] == "0.4.6"
    assert found.index("0.5.8") < found.index("0.5.16") < found.index("0.5.23")


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("tp", "tp-size"),
        ("tp-size", "tp-size"),
        ("tensor-parallel-size", "tp-size"),
        ("tensor_parallel_size", "tp-size"),
        ("--tp-size", "tp-size"),
        ("ep", "ep-size"),
        ("model", "model-path"),
        ("nccl-init-addr", "dist-init-addr"),
        ("no-such-flag", None),
        ("enable", None),
        ("cuda-graph-bs", None),
    ],
)
def test_canonical(name, canonical):
    assert load("0.5.23").canonical(name) == canonical


@pytest.mark.parametrize("version", versions()[2:])  # 0.4.6 had no pp-size yet
def test_canonical_names_stay_the_same_over_the_versions(version):
    for name in ("tensor-parallel-size", "data-parallel-size", "pipeline-parallel-size"):
        short = name.split("-")[0][0] + "p-size"
        assert load(version).canonical(name) == short


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("0.5.23", "0.5.23"),
        ("0.5.24", "0.5.23"),
        ("0.5.17.post1", "0.5.17"),
        ("0.5.10rc0", "0.5.10"),  # 0.5.12 is as near; the older one is taken
        ("0.5.5.post1", "0.5.5.post1"),
        ("v0.5.16+cu130", "0.5.16"),
        ("0.5.23rc1", "0.5.23"),
        ("0.4.8.post9", "0.4.8.post1"),
        ("0.3.0", "0.4.6"),
        ("1.0.0", "0.5.23"),
    ],
)
def test_nearest_version(asked, nearest):
    assert nearest_version(asked) == nearest


def test_a_version_without_a_catalogue_names_those_with_one():
    with pytest.raises(CatalogError, match=r"no catalogue of SGLang 0\.5\.24's flags, only of"):
        load("0.5.24")


def test_a_text_that_is_no_version():
    with pytest.raises(CatalogError, match="'latest' is not a version"):
        nearest_version("latest")


def test_loading_takes_some_milliseconds():
    best = 1.0
    for _ in range(20):  # the best of many: other work may be running
        load.cache_clear()
        flags.flags_of.cache_clear()
        releases._file.cache_clear()
        start = time.perf_counter()
        load("0.5.23")
        best = min(best, time.perf_counter() - start)
    assert best < 0.015


def test_nothing_heavy_is_imported():
    code = (
        "import sys; before = set(sys.modules); import launcher.catalog.catalog as c; c.load('0.5.23')\n"
        "print([m for m in ('torch', 'sglang', 'numpy', 'pydantic', 'jinja2', 'difflib',"
        " 'subprocess') if m in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("rename", renames().values(), ids=list(renames()))
def test_every_rename_is_of_a_flag_that_some_version_has(rename):
    known = releases.history(rename.old)
    # Some came and went between two of the versions that ship.
    between = {"optimistic-prefill-retries", "enable-gdn-replayssm-spec"}
    assert known or rename.old in between
    assert rename.becomes or rename.note
    for name in (*rename.becomes, *filter(None, [rename.moved])):
        assert releases.history(name), name
    releases.order(rename.since)


@pytest.mark.parametrize("version", versions())
def test_every_flag_that_ever_was_gets_an_answer_in_every_version(version):
    ours = load(version)
    for name in sorted(set(releases.usual_names()) - set(ours.by_name)):
        (problem,) = ours.check({name: True})
        assert problem.kind in ("renamed", "gone", "later"), problem
        assert problem.suggestion


def test_the_extractor_runs_where_nothing_is_installed():
    """It is run by other interpreters: standard library only, and no syntax after 3.10."""
    source = installed.EXTRACT.read_text()
    tree = ast.parse(source, feature_version=(3, 10))
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert imported <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("text", "successor"),
    [
        ("Please use '--attention-backend flashinfer' instead.", "--attention-backend=flashinfer"),
        ("Please set `--moe-a2a-backend` to 'deepep' instead.", "--moe-a2a-backend=deepep"),
        ("Please set `--ep-size` to the same value as `--tp-size`.", "--ep-size"),
        ("Note: deprecated now. Please use --new-name instead.", "--new-name"),
        ("Deprecated. Use --mm-feature-transport=cuda_ipc for", "--mm-feature-transport=cuda_ipc"),
        ("Deprecated.", None),
    ],
)
def test_successors_are_read_out_of_help_texts(text, successor):
    action = extract.argparse.Action(["--old"], "old", help=text)
    assert extract._successor(action) == successor


def test_a_version_is_put_into_the_file_wherever_it_belongs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import make_catalog

    data = {"versions": {}, "flags": []}
    for version in ("0.5.8", "0.5.23", "0.4.6.post5", "0.5.12", "0.5.8"):
        found = list(releases.rows(version, releases.read()))
        data = make_catalog.put({"version": version, "stood_in": [], "flags": found}, data)
    assert list(data["versions"]) == ["0.4.6.post5", "0.5.8", "0.5.12", "0.5.23"]
    for version in data["versions"]:
        mine = {flag["names"][0]: flag for flag in releases.rows(version, data)}
        assert mine == {flag["names"][0]: flag for flag in releases.rows(version, releases.read())}
    whole = releases.read()
    for version in versions()[::-1]:
        found = list(releases.rows(version, whole))
        whole = make_catalog.put({"version": version, "stood_in": whole["versions"][version], "flags": found}, whole)
    assert make_catalog.to_text(whole) == releases.DATA.read_text()

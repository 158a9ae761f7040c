"""M lists, manifests, learning from a log, the table, the pieces."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernels_fakes import manifest

from warmup.kernels import (
    Manifest,
    ManifestError,
    Sweep,
    known_config,
    learn,
    learn_file,
    merge,
    plan_json,
    plan_role,
    plan_table,
)
from warmup.kernels.balance import coarse_first, split, workers_for
from warmup.kernels.mlist import default_chunked_prefill, rules_for, sweep_for

LOG = """\
[12:11:24] server_args=ServerArgs(model_path='m', chunked_prefill_size=4096, \
disaggregation_mode='null')
[12:12:11] Entering DeepGEMM JIT Pre-Compile session.
[12:12:11] Try DeepGEMM JIT Compiling for <GEMM_NT_F8F8BF16> N=2112, K=7168, num_groups=1 \
with all Ms. It only takes a little time.
DeepGEMM warmup:   0%|          | 0/16384 [00:00<?, ?it/s]\rDeepGEMM warmup: 100%|####| 16384/16384
[12:13:26] Try DeepGEMM JIT Compiling for <GROUPED_GEMM_NT_F8F8BF16_CONTIG> N=4096, K=7168, \
num_groups=18 with all Ms.
[12:13:44] Try DeepGEMM JIT Compiling for <GEMM_NT_F8F8BF16> N=2112, K=7168, num_groups=1 with \
all Ms.
"""


def slow_fast_list(chunk: int) -> list[int]:
    """The fast list as a plain set, written from its description: every M to 1024, then octaves
    with doubling steps up to the chunk, and the chunk itself."""
    values = set(range(1, 1025))
    top = min(chunk, 32768) if chunk >= 1 else 16384
    start, step = 1024, 2
    while start < top:
        values |= set(range(start, 2 * start, step))
        start, step = 2 * start, 2 * step
    return sorted(values | {top})


@given(st.integers(-2, 200_000))
def test_the_fast_list_is_exact(chunk):
    sweep = sweep_for(rules_for("0.5.16"), chunk, fast=True)
    assert sorted(sweep) == slow_fast_list(chunk)
    assert len(sweep) == len(set(sweep))


@pytest.mark.parametrize(
    "chunk, largest",
    [(4096, 16384), (8192, 16384), (8193, 16386), (32768, 65536), (-1, 65536), (524288, 131072)],
)
def test_the_full_list_ends_where_sglangs_does(chunk, largest):
    for version in ("0.5.16", "0.5.23"):
        sweep = sweep_for(rules_for(version), chunk, fast=False)
        assert (sweep.max_m, len(sweep)) == (largest, largest)


def test_the_default_chunk_goes_by_memory():
    rules = rules_for(None)
    assert [default_chunked_prefill(rules, gib) for gib in (24, 48, 80, 141, 180)] == [
        2048, 4096, 8192, 8192, 16384,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "version, since",
    [("0.5.23", "0.5.23"), ("0.5.23.post1", "0.5.23"), ("0.5.5", "0.5.16"), (None, "0.5.23")],
)
def test_the_nearest_older_version_holds(version, since):
    assert rules_for(version)["since"] == since


@given(
    st.lists(st.tuples(st.integers(1, 500), st.integers(0, 500), st.integers(1, 9)), min_size=1),
    st.sampled_from([16, 64, 128]),
)
def test_alignment_keeps_exactly_the_multiples(parts, alignment):
    sweep = Sweep(tuple((a, a + b, s) for a, b, s in parts))
    aligned = sweep.multiples_of(alignment)
    assert list(aligned) == [m for m in sweep if m % alignment == 0]


def test_a_manifest_survives_its_file(tmp_path):
    plan = manifest()
    plan.write(tmp_path / "m.json")
    again = Manifest.read(tmp_path / "m.json")
    assert again == plan
    assert again.digest == plan.digest


def test_the_digest_goes_by_kernels_not_by_names():
    config = known_config("DeepSeek-R1")
    one = plan_role(config, "prefill", {"tp-size": 8})
    other = plan_role(config, "aggregated", {"tp-size": 8})
    assert one.digest == other.digest == merge([one, other]).digest
    assert one.digest != plan_role(config, "prefill", {"tp-size": 4}).digest


def test_distinct_joins_roles_and_keeps_the_larger_sweep():
    config = known_config("DeepSeek-R1")
    small = plan_role(config, "decode", {"tp-size": 8})
    large = plan_role(config, "prefill", {"tp-size": 8, "chunked-prefill-size": 32768})
    joined = merge([small, large]).distinct()
    assert len(joined) == len(large.shapes)
    assert {len(shape.sweep) for shape in joined} == {65536}


@pytest.mark.parametrize(
    "text, match",
    [
        ("{", "is not JSON"),
        ("[]", "not a kernel manifest"),
        ('{"format": 1, "shapes": []}', "at least one entry"),
        ('{"format": 1, "shapes": [{"type": "X"}]}', r"shapes\[0\]: 'n' is missing"),
        (
            '{"format":1,"shapes":[{"type":"X","n":1,"k":1,"groups":1,"ms":[[1,2,1]]}]}',
            "unknown kernel type 'X'",
        ),
        (
            '{"format":1,"shapes":[{"type":"GEMM_NT_F8F8BF16","n":1,"k":1,"groups":1,"ms":[[3,2,1]]}]}',
            "1 <= first <= last",
        ),
    ],
)
def test_a_broken_manifest_names_file_and_field(tmp_path, text, match):
    file = tmp_path / "broken.json"
    file.write_text(text)
    with pytest.raises(ManifestError, match=match) as caught:
        Manifest.read(file)
    assert "broken.json" in str(caught.value)


def test_a_log_teaches_its_shapes(tmp_path):
    file = tmp_path / "server.log"
    file.write_text(LOG)
    plan = learn_file(file, sglang="0.5.16")
    assert [shape.key for shape in plan.shapes] == [
        ("GEMM_NT_F8F8BF16", 2112, 7168, 1),
        ("GROUPED_GEMM_NT_F8F8BF16_CONTIG", 4096, 7168, 18),
    ]
    assert [len(shape.sweep) for shape in plan.shapes] == [16384, 128]
    assert {shape.role for shape in plan.shapes} == {"aggregated"}
    assert plan.source == "log"
    assert len(plan.notes) == 1
    plan.write(tmp_path / "kept.json")
    assert Manifest.read(tmp_path / "kept.json") == plan


def test_a_log_whose_sweeps_differ_says_so():
    plan = learn(LOG.replace("16384", "2048").splitlines())
    assert any("had 2048 Ms, the computed list has 16384" in note for note in plan.notes)


def test_dp_attention_in_a_log_is_followed():
    text = LOG + "chunked prefill size is adjusted from 524288 to 32768.\n"
    assert len(learn(text.splitlines()).shapes[0].sweep) == 65536


def test_a_log_without_shapes_says_what_it_needs(tmp_path):
    with pytest.raises(ManifestError, match="PRECOMPILE on and log level info"):
        learn(["nothing here"], where="x.log")
    with pytest.raises(ManifestError, match=r"gone\.log: cannot be read"):
        learn_file(tmp_path / "gone.log")


def wide_plan():
    config = known_config("DeepSeek-R1")
    flags = {
        "tp-size": 16, "dp-size": 16, "enable-dp-attention": True, "moe-a2a-backend": "deepep",
        "moe-dense-tp-size": 1, "chunked-prefill-size": 524288, "enable-two-batch-overlap": True,
    }  # fmt: skip
    return plan_role(config, "prefill", flags)


def test_the_table_fits_80_columns_and_names_every_shape():
    text = plan_table(wide_plan())
    assert max(map(len, text.splitlines())) <= 80
    assert "role     layer" in text
    assert "prefill  experts.down           grouped contig   7168   2048      16    512*" in text
    assert "2112   7168" in text
    assert "20 SMs fewer: two-batch overlap" in text


def test_the_json_counts_what_the_table_counts():
    plan = wide_plan()
    document = json.loads(json.dumps(plan_json(plan)))
    assert [item["m_count"] for item in document["shapes"]] == [len(s.sweep) for s in plan.shapes]
    assert document["digest"] == plan.digest
    assert Manifest.from_json(document).shapes == plan.shapes


@given(st.lists(st.integers(1, 10_000), unique=True, max_size=300), st.integers(1, 70))
def test_coarse_first_loses_nothing(ms, stride):
    assert sorted(coarse_first(ms, stride)) == sorted(ms)


@pytest.mark.parametrize("parts", [1, 2, 7, 16, 32])
def test_pieces_cover_every_pair_once_and_are_even(parts):
    distinct = wide_plan().distinct()
    hands = split(distinct, parts)
    sizes = [sum(len(piece.ms) for piece in hand) for hand in hands]
    assert len(hands) == parts
    assert max(sizes) - min(sizes) <= 1
    seen: dict[tuple, list[int]] = {}
    for hand in hands:
        for piece in hand:
            place = (piece.kernel_type, piece.n, piece.k, piece.groups, piece.reserved_sms)
            seen.setdefault(place, []).extend(piece.ms)
    for shape in distinct:
        for reserved in shape.reserved_sms:
            assert sorted(seen.pop((*shape.key, reserved))) == list(shape.sweep)
    assert not seen


def test_a_small_sweep_gets_few_workers():
    assert [workers_for(pairs, 16) for pairs in (1, 20_000, 20_001, 10**6)] == [1, 1, 2, 16]

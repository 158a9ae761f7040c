"""What check() says, word for word: every text here was judged by reading it.

A text says what is wrong and then what to do, and names what to write where that is known.
"""

from __future__ import annotations

import pytest

from launcher.catalog.catalog import Catalog, load
from launcher.catalog.flags import Flag

# (SGLang version, args, kind, text of the only problem)
CASES = [
    # names that no version has
    ("0.5.23", {"page-sise": 1}, "unknown",
     "SGLang 0.5.23 has no such flag. Did you mean page-size?"),
    ("0.5.23", {"Tp-Size": 4}, "unknown",
     "SGLang 0.5.23 has no such flag. Did you mean tp-size?"),
    ("0.5.23", {"size_page": 1}, "unknown",
     "SGLang 0.5.23 has no such flag. Did you mean page-size?"),
    ("0.5.23", {"dp-attention": True}, "unknown",
     "SGLang 0.5.23 has no such flag. Did you mean enable-dp-attention?"),
    ("0.5.23", {"totally-made-up": 1}, "unknown",
     "SGLang 0.5.23 has no such flag. Look for its name in "
     "`python -m sglang.launch_server --help` of this version."),
    ("0.5.23", {"--tp-size": 4}, "unknown",
     "Flags are written without the leading dashes. Write tp-size."),
    # beginnings of names
    ("0.5.23", {"tp": 16}, "abbreviated",
     "It is short for tp-size. Write tp-size: a later version may have other flags that begin "
     "so."),
    ("0.5.23", {"disaggregation-b": 1}, "abbreviated",
     "It is short for disaggregation-bootstrap-port. Write disaggregation-bootstrap-port: a later "
     "version may have other flags that begin so."),
    ("0.5.23", {"enable-dp": True}, "ambiguous",
     "It is short for enable-dp-attention, enable-dp-attention-local-control-broadcast, "
     "enable-dp-lm-head. Write the whole name."),
    ("0.5.23", {"disagg": "prefill"}, "ambiguous",
     "It is short for disaggregation-bootstrap-port, disaggregation-decode-allocation-policy, "
     "disaggregation-decode-enable-offload-kvcache, disaggregation-decode-enable-radix-cache, "
     "disaggregation-decode-extra-slots, disaggregation-decode-host-receive-threshold and 6 more. "
     "Write the whole name."),
    # names of other versions
    ("0.5.23", {"enable-deepep-moe": True}, "renamed",
     "SGLang 0.5.23 no longer has this flag. Write moe-a2a-backend: deepep."),
    ("0.5.3", {"enable_deepep_moe": True}, "ignored",
     "SGLang 0.5.3 accepts it and then ignores it. Write moe-a2a-backend: deepep."),
    ("0.4.6.post5", {"moe-a2a-backend": "deepep"}, "later",
     "SGLang 0.4.6.post5 does not have this flag yet (0.4.10.post2 does). Write enable-deepep-moe: true."),
    ("0.4.6.post5", {"moe-a2a-backend": "mooncake"}, "later",
     "SGLang 0.4.6.post5 does not have this flag yet (0.4.10.post2 does). Leave it out, or use SGLang 0.4.10.post2 or "
     "later."),
    ("0.5.23", {"enable-deepep-moe": False}, "renamed",
     "SGLang 0.5.23 no longer has this flag. Leave it out: it is off by default."),
    ("0.5.23", {"enable-flashinfer-mla": True}, "renamed",
     "SGLang 0.5.23 no longer has this flag. Write attention-backend: flashinfer."),
    # Since 0.5.20 argparse takes it for an abbreviation of two flags.
    ("0.5.23", {"cuda-graph-bs": 256}, "renamed",
     "SGLang 0.5.23 no longer has this flag. Write cuda-graph-bs-decode: 256."),
    ("0.5.16", {"cuda-graph-bs": 256}, "deprecated",
     "SGLang 0.5.16 still accepts it, but a later version will not. Write "
     "cuda-graph-bs-decode: 256."),
    ("0.5.12", {"cuda-graph-bs-decode": [256]}, "later",
     "SGLang 0.5.12 does not have this flag yet (0.5.14 does). Write cuda-graph-bs: [256]."),
    ("0.5.12", {"cuda-graph-backend-prefill": "breakable"}, "later",
     "SGLang 0.5.12 does not have this flag yet (0.5.14 does). Write enable-breakable-cuda-graph: true."),
    # two renames after one another
    ("0.5.23", {"nsa-decode": "fa3"}, "renamed",
     "SGLang 0.5.23 no longer has this flag. Write dsa-decode-backend: fa3."),
    # the successor no longer takes the value
    ("0.5.23", {"enforce-piecewise-cuda-graph": True}, "renamed",
     "SGLang 0.5.23 no longer has this flag. Write cuda-graph-backend-prefill with one of full, "
     "breakable, disabled."),
    ("0.5.23", {"disable-cuda-graph": True}, "deprecated",
     "SGLang 0.5.23 still accepts it, but a later version will not. Write "
     "cuda-graph-backend-decode: disabled and cuda-graph-backend-prefill: disabled."),
    ("0.5.23", {"enable-dp-attention": True, "dp-size": 16}, "deprecated",
     "SGLang 0.5.23 still accepts it, but a later version will not. Write attn-dp-size: 16 in "
     "place of it and of dp-size."),
    ("0.5.16", {"attn-dp-size": 16}, "later",
     "SGLang 0.5.16 does not have this flag yet (0.5.22 does). Write dp-size: 16 and "
     "enable-dp-attention: true."),
    ("0.5.23", {"ds-heavy-token-num": 3}, "gone",
     "SGLang 0.5.23 no longer has this flag (0.5.10.post1 had it). Leave it out."),
    ("0.5.23", {"enable-ep-moe": True}, "renamed",
     "SGLang 0.5.23 no longer has this flag. Write ep-size with the value of tp-size."),
    ("0.5.23", {"tp-size": 8, "enable-ep-moe": True}, "renamed",
     "SGLang 0.5.23 no longer has this flag. Write ep-size: 8."),
    ("0.5.23", {"enable-dp-attention": True}, "deprecated",
     "SGLang 0.5.23 still accepts it, but a later version will not. Write attn-dp-size with the "
     "value of dp-size in place of it and of dp-size."),
    # the values were renamed too
    ("0.5.23", {"nsa-prefill-cp-mode": "in-seq-split"}, "renamed",
     "SGLang 0.5.23 no longer has this flag. Write cp-strategy: zigzag."),
    ("0.5.23", {"nsa-prefill-cp-mode": "other"}, "renamed",
     "SGLang 0.5.23 no longer has this flag. Write cp-strategy with one of zigzag, interleave."),
    ("0.5.19", {"enable-expert-distribution-metrics": True}, "gone",
     "SGLang 0.5.19 knows it but refuses to start with it. Write "
     "expert-balancedness-report-mode: server_log, prometheus or both."),
    # types
    ("0.5.23", {"tp-size": "sixteen"}, "type",
     'The value "sixteen" is not a whole number. Write, for example, tp-size: 1.'),
    ("0.5.23", {"tp-size": 8.0}, "type",
     "The value 8.0 is not a whole number. Write tp-size: 8."),
    ("0.5.23", {"tp-size": True}, "type",
     "The value true is not a whole number. Write, for example, tp-size: 1."),
    ("0.5.23", {"tp-size": None}, "type",
     "It has no value. Give tp-size a value, or leave it out."),
    # PyYAML reads 1e6 as a text
    ("0.5.23", {"max-total-tokens": "1e6"}, "type",
     'The value "1e6" is not a whole number, plain or like 16k or 16Ki. Write '
     "max-total-tokens: 1000000."),
    ("0.5.23", {"mem-fraction-static": "0,85"}, "type",
     'The value "0,85" is not a number. Write mem-fraction-static: 0.85.'),
    ("0.5.23", {"trust-remote-code": "true"}, "type",
     'This flag is a switch: it takes true or false, not "true". Write trust-remote-code: true, without '
     "quotes."),
    ("0.5.23", {"trust-remote-code": 1}, "type",
     "This flag is a switch: it takes true or false, not 1. Write trust-remote-code: true."),
    ("0.5.23", {"log-level": True}, "type",
     'The value true is not a string. If you mean the word, quote it: log-level: "true".'),
    ("0.5.23", {"deepep-mode": False}, "type",
     "The value false is not a string. Choose from auto, normal, low_latency."),
    ("0.5.23", {"cuda-graph-config": "decode"}, "type",
     'The value "decode" is not a mapping or JSON. Write, for example, '
     "cuda-graph-config: {decode: {backend: disabled}}."),
    # choices
    ("0.5.23", {"disaggregation-transfer-backend": "nixel"}, "choice",
     'Invalid value "nixel". Did you mean nixl? Choose from mooncake, nixl, ascend, '
     "fake, mori, mooncake_tcp."),
    ("0.5.23", {"deepep-mode": "fast"}, "choice",
     'Invalid value "fast". Choose from auto, normal, low_latency.'),
    # numbers of values
    ("0.5.23", {"tp-size": [8]}, "count",
     "It takes one value, not a list of 1. Write tp-size: 8."),
    ("0.5.23", {"tp-size": [8, 4]}, "count",
     "It takes one value, not a list of 2. Keep one of them."),
    ("0.5.23", {"cuda-graph-bs-decode": []}, "count",
     "The list is empty. Give one value or more, or leave it out."),
    ("0.5.23", {"cuda-graph-bs-decode": "1 2 4"}, "type",
     'The value "1 2 4" is not a list of whole numbers. Write cuda-graph-bs-decode: [1, 2, 4].'),
    ("0.5.23", {"cuda-graph-bs-decode": [1, "x"]}, "type",
     'The value "x" is not a whole number. Write, for example, cuda-graph-bs-decode: [8].'),
    # one flag under two names
    ("0.5.23", {"tp-size": 8, "tensor_parallel_size": 8}, "twice",
     "It is the same flag as tp-size, which is set too. Keep one of them; its usual name is "
     "tp-size."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("version", "args", "kind", "text"),
    CASES,
    ids=[f"{c[0]}-{next(iter(c[1]))}-{c[2]}" for c in CASES],
)
def test_says_what_is_wrong_and_what_to_do(version, args, kind, text):
    problems = load(version).check(args)
    assert [(p.kind, p.text) for p in problems] == [(kind, text)]
    assert problems[0].flag in args
    assert str(problems[0]) == f"{problems[0].flag}: {text}"
    assert problems[0].is_error == (kind not in ("abbreviated", "deprecated"))


def test_every_mistake_is_reported_in_the_order_of_the_keys():
    args = {"tp_size": "x", "page-size": 1, "page-sise": 2, "deepep-mode": "fast"}
    assert [p.flag for p in load("0.5.23").check(args)] == ["tp_size", "page-sise", "deepep-mode"]


def test_an_abbreviated_flag_still_has_its_value_checked():
    assert [p.kind for p in load("0.5.23").check({"tp": "x"})] == ["abbreviated", "type"]


RIGHT = {
    "tp_size": 16,
    "ep": "16",
    "trust-remote-code": True,
    "disable-radix-cache": False,
    "mem-fraction-static": 0.85,
    "watchdog-timeout": 1000000,
    "context-length": "128Ki",
    "max-total-tokens": 131072,
    "cuda-graph-bs-decode": [1, 2, 4],
    "chunked-prefill-size": -1,
    "deepep-config": {"normal_dispatch": {"num_sms": 24}},
    "json-model-override-args": '{"num_hidden_layers": 4}',
    "forward-hooks": [{"name": "x"}],
    "limit-mm-data-per-request": {"image": 2},
    "cuda-graph-config": {"decode": {"backend": "disabled"}},
    "no-dcp-replicate-q-proj": True,
    "model-checksum": True,
    "lora-paths": ["a=/a", {"lora_name": "b", "lora_path": "/b"}],
    "served-model-name": "deepseek-ai/DeepSeek-R1",
}


def test_right_values_pass():
    assert load("0.5.23").check(RIGHT) == []


def test_the_2025_deepseek_example_against_the_version_it_was_written_for_and_a_new_one():
    prefill = {
        "skip-tokenizer-init": True, "disaggregation-transfer-backend": "nixl",
        "disaggregation-bootstrap-port": 30001, "tp-size": 16, "dp-size": 16,
        "enable-dp-attention": True, "decode-log-interval": 1, "enable-deepep-moe": True,
        "page-size": 1, "trust-remote-code": True, "moe-dense-tp-size": 1,
        "enable-dp-lm-head": True, "disable-radix-cache": True, "watchdog-timeout": 1000000,
        "enable-two-batch-overlap": True, "deepep-mode": "normal", "mem-fraction-static": 0.85,
        "chunked-prefill-size": 524288, "ep-num-redundant-experts": 32,
        "ep-dispatch-algorithm": "dynamic", "eplb-algorithm": "deepseek", "cuda-graph-bs": 256,
    }  # fmt: skip
    assert load("0.4.9.post6").check(prefill) == []
    found = {p.flag: p.kind for p in load("0.5.23").check(prefill)}
    assert found == {
        "enable-dp-attention": "deprecated",
        "enable-deepep-moe": "renamed",
        "cuda-graph-bs": "renamed",
    }


def test_a_name_of_an_old_version_is_not_taken_for_an_abbreviation():
    catalog = Catalog("0.5.23", [Flag(("enable-flashmla-next",), "switch")])
    assert catalog.canonical("enable-flashmla") is None
    assert [p.kind for p in catalog.check({"enable-flashmla": True})] == ["gone"]


def test_a_version_that_cannot_be_read_is_taken_for_a_new_one():
    catalog = Catalog("unknown", load("0.5.23").flags, source="/opt/py")
    (problem,) = catalog.check({"enable-deepep-moe": True})
    assert problem.kind == "renamed"
    assert problem.text.startswith("SGLang unknown in /opt/py no longer has this flag.")

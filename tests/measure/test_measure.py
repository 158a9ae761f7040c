"""Points, figures, verdicts, fronts, metrics, compared texts: pure, but for one aiohttp server."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from launcher.base.errors import InputError
from launcher.measure import aiperf, compare, greedy, hardware, pareto, results, top, variants
from launcher.measure.bench import Result
from launcher.measure.metrics import Metrics
from launcher.measure.page import page
from launcher.measure.point import Point, grid, of_trace
from launcher.measure.record import Record, Slo, figures, read_records
from launcher.measure.validity import Seen, problems
from launcher.measure.watch import ended, running, served
from launcher.report import gauges, measured
from launcher.run.folder import Event, RunFolder
from launcher.run.history import History
from launcher.run.targets import Target
from warmup.requests.coverage import Worker

POINT = Point(4, None, 64, 16, requests=40)


def good(count: int = 40, ttft: float = 0.1, itl: float = 0.02) -> list[Record]:
    """A request every 50 ms; values scatter by 10 %."""
    found = []
    for n in range(count):
        scatter = 0.9 + 0.2 * (n * 7 % 10) / 10
        began = 1000 + n * 0.05
        ended = began + scatter * (ttft + 15 * itl)
        found.append(Record(began, ended, 0.0, None, ttft * scatter, itl * scatter, 64, 16))
    return found


def test_a_grid_is_every_load_with_every_pair_of_lengths() -> None:
    points = grid((8, 1), (2.5,), (64, 1024), (16,))
    assert [p.key for p in points] == [
        "c1-i64-o16", "c8-i64-o16", "r2.5-i64-o16", "c1-i1024-o16", "c8-i1024-o16", "r2.5-i1024-o16",
    ]  # fmt: skip
    assert [p.requests for p in points[:3]] == [32, 48, 32]


def test_figures() -> None:
    records = [replace(r, began=1000.0 + n, ended=1001.0 + n) for n, r in enumerate(good(10))]
    records[3] = replace(records[3], error="HTTP 500")
    found = figures(records, gpus=2, slo=Slo(ttft=0.1))
    assert (found.requests, found.failed, found.seconds) == (10, 1, 10.0)
    assert found.output_rate == pytest.approx(9 * 16 / 10)
    assert found.output_rate_gpu == pytest.approx(7.2)
    assert found.output_rate_user == pytest.approx(1 / found.itl[50])
    assert found.ttft[50] == pytest.approx(0.1)
    assert found.goodput == pytest.approx(sum(r.ttft <= 0.1 for r in records if r.ttft and not r.error) / 10)
    assert figures([], None).output_rate == 0


def test_a_good_point_is_valid() -> None:
    assert problems(POINT, good(), Seen({"prefill-0": 40, "decode-0": 21, "decode-1": 19}, lag=0.001)) == []


@pytest.mark.parametrize(
    ("records", "seen", "said"),
    [
        ([], Seen(exit_status=1), "no request was sent"),
        (
            [replace(r, error="HTTP 500: no" if n < 3 else None) for n, r in enumerate(good())],
            Seen(),
            "3 of 40 requests",
        ),
        (good(30), Seen(), "30 of 40 requests were made"),
        ([replace(r, output_tokens=0 if n == 5 else 16) for n, r in enumerate(good())], Seen(), "without a token"),
        (
            [replace(r, output_tokens=9 if n == 5 else 16) for n, r in enumerate(good())],
            Seen(),
            "another length than 16",
        ),
        (
            [replace(r, pieces=3 if n % 4 == 0 else 17) for n, r in enumerate(good())],
            Seen(),
            "10 answers came in 3 to 3 pieces, most in 17: their streams ended early",
        ),
        (good(), Seen({"decode-0": 40, "decode-1": 0}), "decode-1 served no request"),
        (good(), Seen(restarted=["decode-1"]), "decode-1 was lost or started again"),
        (good(), Seen(ended="etcd ended"), "the job ended: etcd ended"),
        ([replace(r, ttft=(r.ttft or 0) * (1 + n / 40)) for n, r in enumerate(good())], Seen(), "not steady: TTFT"),
        ([replace(r, late=0.03) for r in good()], Seen(), "it sent requests 30 ms late"),
        (good(), Seen(lag=0.05), "timers on its machine are 50 ms late"),
        (good(), Seen(lighter=0.05), "a lighter client 50 ms"),
    ],
)
def test_why_a_point_is_invalid(records: list[Record], seen: Seen, said: str) -> None:
    found = problems(POINT, records, seen)
    assert len(found) == 1
    assert said in found[0]


def test_a_job_that_ends_says_why() -> None:
    restarted = [Event(1, "decode-0", "restarting"), Event(2, "decode-0", "failed", "of the group")]
    assert ended(restarted) is None
    assert ended([Event(1, "serve", "failed", "etcd ended")]) == "etcd ended"
    assert ended([Event(1, "serve", "cancelled", "SIGTERM"), Event(1, "stop", "started")]) == "SIGTERM"
    assert ended([Event(1, "stop", "started")]) == "it stopped"


def test_busy_processors_alone_are_no_reason() -> None:
    assert problems(POINT, good(), Seen(busy=1.0)) == []
    assert "100% busy" in problems(POINT, good(), Seen(busy=1.0, lag=0.05))[0]


def test_records_of_aiperf_are_read(tmp_path: Path) -> None:
    meta = {"request_start_ns": 2 * 10**9, "request_end_ns": 3 * 10**9, "credit_issued_ns": 1_990_000_000}
    whole = {
        "metadata": {**meta, "benchmark_phase": "profiling"},
        "metrics": {"time_to_first_token": {"value": 120.0, "unit": "ms"}, "usage_completion_tokens": {"value": 16}},
    }
    failed = {"metadata": meta, "metrics": {}, "error": {"code": 500, "message": "no worker", "type": "E"}}
    warm_up = {"metadata": {**meta, "benchmark_phase": "warmup"}, "metrics": {}}
    file = tmp_path / "records.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in (whole, failed, warm_up)))
    one, two = read_records(file)
    assert (one.ttft, one.output_tokens, one.error, one.seconds) == (0.12, 16, None, 1.0)
    assert one.late == pytest.approx(0.01)
    assert two.error == "HTTP 500: no worker"
    empty = {"cause": "InvalidInferenceResultError('Invalid inference result: No responses with actual content were')"}
    file.write_text(json.dumps({"metadata": meta, "metrics": {}, "error": empty}))
    assert read_records(file)[0].error == "an answer without a token"
    assert read_records(tmp_path / "none") == []


def result(rate: float, itl: float, valid: bool = True, concurrency: int = 1) -> Result:
    point = Point(concurrency, None, 64, 16, requests=10)
    made = replace(figures(good(10), 1), output_rate_gpu=rate, output_rate_user=1 / itl)
    return Result(point, made, Seen(), () if valid else ("it was not",))


def test_the_front_holds_what_nothing_beats() -> None:
    found = [result(100, 0.01, concurrency=1), result(300, 0.02, concurrency=2), result(200, 0.03, concurrency=3),
             result(900, 0.001, valid=False, concurrency=4)]  # fmt: skip
    assert [r.point.concurrency for r in pareto.front(found)] == [2, 1]
    lines = pareto.lines(found)
    assert all(len(line) <= 80 for line in lines)
    text = "\n".join(lines)
    assert "A c1-i64-o16" in text
    assert "c c3-i64-o16" in text
    assert "x c4-i64-o16" in text


def test_results_are_written_in_each_form() -> None:
    found = [result(100, 0.01), result(50, 0.01, valid=False, concurrency=2)]
    facts = {"name": "a <b>", "model": "m"}
    parsed = json.loads(json.dumps(results.to_dict(found, facts)))
    assert [p["valid"] for p in parsed["points"]] == [True, False]
    assert parsed["points"][0]["figures"]["ttft"]["p50"] > 0
    lines = results.to_csv(found).splitlines()
    assert len(lines) == 3
    assert lines[2].endswith("it was not")
    assert "a &lt;b&gt;" in page(found, facts, "<?xml?><svg></svg>")


TEXT = """# HELP x y
sglang:num_queue_reqs{engine_type="sglang",tp_rank="0"} 3
sglang:token_usage{tp_rank="0"} 0.25
sglang:token_usage{tp_rank="1"} 0.5
dynamo_component_requests_total{dynamo_endpoint="generate",worker_id="a\\"b"} 81
dynamo_component_requests_total{dynamo_endpoint="other"} 2
dynamo_component_inflight_requests{dynamo_endpoint="generate"} 4
broken{ 1
up NaN
"""


def test_metrics_are_read() -> None:
    found = Metrics.parse(TEXT)
    assert found.total("sglang:num_queue_reqs") == 3
    assert found.largest("sglang:token_usage") == 0.5
    assert (served(found), running(found)) == (81, 4)
    assert found.total("absent") is None
    assert found.first_total("absent", "sglang:num_queue_reqs") == 3


def test_every_number_of_top_comes_from_the_text() -> None:
    """SGLang's names; Dynamo's are in tests/local/test_metrics.py, of real servers."""
    from prometheus_client.parser import text_string_to_metric_families

    def text(queued: int, made: int) -> str:
        values = {"num_running_reqs": 7, "num_queue_reqs": queued, "token_usage": 0.31, "generation_tokens_total": made}
        return "".join(f'sglang:{name}{{tp_rank="0"}} {value}\n' for name, value in values.items())

    target = Target("decode-0", "decode", "n1", "h:1", "http://h:1/metrics")
    first = top.Look(10.0, {"decode-0": Metrics.parse(text(0, 1000))})
    line = top._line(target, Metrics.parse(text(3, 1500)), 12.0, first, History())
    samples = {s.name: s.value for f in text_string_to_metric_families(text(3, 1500)) for s in f.samples}
    assert line.running == samples["sglang:num_running_reqs"]
    assert line.queued == samples["sglang:num_queue_reqs"]
    assert line.kv_use == samples["sglang:token_usage"]
    assert line.tokens_rate == (samples["sglang:generation_tokens_total"] - 1000) / 2
    again = top._line(target, Metrics.parse(text(0, 5)), 12.0, first, History())
    assert again.tokens_rate == 0  # it was started again


def test_the_launchers_own_figures() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    events = [
        Event(100.0, "nodes", "started"), Event(101.5, "nodes", "done"),
        Event(101.5, "kernels", "started"), Event(120.0, "kernels", "done", "45 kernels built in 18.1 s (40 compiled)"),
        Event(120.0, "workers", "started"), Event(120.1, "decode-0", "started"), Event(121.0, "workers", "done"),
        Event(130.0, "decode-0", "lost"), Event(130.1, "decode-0", "restarting"), Event(131.0, "decode-0", "started"),
        Event(140.0, "warm", "started"), Event(150.0, "warm", "done"), Event(150.0, "serve", "started"),
    ]  # fmt: skip
    families = text_string_to_metric_families(gauges.text(events, 5000.0))
    found = {(s.name.removeprefix("sgl_launch_"), *s.labels.values()): s.value for f in families for s in f.samples}
    assert found["stage_seconds", "nodes"] == 1.5
    assert found["stage_seconds", "kernels"] == 18.5
    assert found["kernels_compiled",] == 40
    assert (found["warm",], found["serving",], found["walltime_end_timestamp_seconds",]) == (1, 1, 5000)
    assert found["group_restarts_total", "decode-0"] == found["group_registrations_lost_total", "decode-0"] == 1
    assert found["group_state", "decode-0", "starting"] == 1
    assert found["group_state", "decode-0", "lost"] == 0
    early = gauges.text(events[:1], None)
    assert "walltime" not in early
    assert "sgl_launch_serving 0" in early


def test_a_trace_is_read(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"timestamp": 0, "input_length": 64, "output_length": 8, "hash_ids": [1]}\n' * 3 + "\n")
    found = of_trace(file)
    assert (found.requests, found.key, found.lengths, found.fixed_output) == (3, "trace", "as in it", None)
    assert problems(found, good(2), Seen()) == ["2 of 3 requests were made"]
    file.write_text('{"timestamp": 0, "output_length": 8}\n{"prompt": "x"}\n')
    with pytest.raises(InputError, match=r"t\.jsonl:2: this is no line of a Mooncake trace"):
        of_trace(file)
    file.write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        of_trace(file)


def test_aiperf_finds_a_tokenizer_in_a_folder(tmp_path: Path) -> None:
    """Where it is offline it takes a path for a repository's name: the folder stands in a cache of downloads."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    server = aiperf.Server("http://h:1", "m", str(tmp_path / "model"))
    assert aiperf.config(server, POINT, tmp_path)["benchmark"]["tokenizer"]["name"] == "model/tokenizer"
    for _ in range(2):
        env = aiperf._tokenizer(tmp_path / "model", tmp_path)
    at = Path(env["HF_HUB_CACHE"]) / "models--model--tokenizer"
    revision = (at / "refs" / "main").read_text()
    assert (at / "snapshots" / revision / "tokenizer.json").read_text() == "{}"
    assert aiperf._tokenizer(Path("builtin"), tmp_path) == {}


NVIDIA_SMI = """#!/bin/bash
# Stands in for nvidia-smi; forms of the answers as of driver 580.
case "$*" in
  *ecc*) echo "0, $UNCORRECTED, 0"; echo "1, [N/A], [N/A]" ;;
  *clocks_event_reasons.hw_thermal*) echo "0, Not Active"; echo "1, $HOT" ;;
  *clocks_event*) echo 'Field "x" is not a valid field to query.'; exit 2 ;;
  *clocks_throttle*) echo "0, Not Active" ;;
  "nvlink -e") printf 'GPU 0: H\\n\\t Link 0: Replay Errors: %s\\n\\t Link 0: CRC Errors: 1\\nGPU 1: H\\n' "$LINK" ;;
esac
"""


def test_what_the_hardware_says_before_and_after(tmp_path: Path) -> None:
    import os
    import subprocess

    program = tmp_path / "nvidia-smi"
    program.write_text(NVIDIA_SMI)
    program.chmod(0o755)

    def look(**values: str) -> dict[str, int]:
        env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURMD_NODENAME": "n1", **values}
        done = subprocess.run(["bash", hardware.SCRIPT], capture_output=True, text=True, env=env, check=True)
        return hardware.parse("a line of a prolog\n" + done.stdout)

    before = look(UNCORRECTED="0", HOT="Not Active", LINK="2")
    after = look(UNCORRECTED="3", HOT="Active", LINK="7")
    assert before["n1 gpu0 nvlink_errors"] == 3
    assert before["n1 gpu0 sw_thermal_slowdown"] == 0
    assert "n1 gpu1 ecc_uncorrected" not in before
    assert hardware.remarks(before, before) == []
    assert set(hardware.remarks(before, after)) == {
        "n1: gpu0 had 3 uncorrected ECC errors",
        "n1: gpu1 is slowed down by heat (hardware)",
        "n1: gpu0 had 5 NVLink errors",
    }


def workers(*names: str) -> list[Worker]:
    return [Worker(name.split("-")[0], name, number + 1) for number, name in enumerate(names)]


def test_every_worker_is_on_a_way() -> None:
    ways = greedy.ways_through("x", "http://h:1", "m", workers("prefill-0", "prefill-1", "decode-0", "decode-1"))
    assert [w.name for w in ways] == ["x prefill-0 > decode-0", "x prefill-1 > decode-0", "x prefill-0 > decode-1"]
    assert [(w.prefill_id, w.decode_id) for w in ways] == [(1, 3), (2, 3), (1, 4)]
    assert [w.name for w in greedy.ways_through("x", "http://h:1", "m", workers("agg-0", "agg-1"))] == [
        "x agg-0",
        "x agg-1",
    ]
    assert greedy.ways_through("x", "http://h:1", "m", []) == [greedy.Way("x", "http://h:1", "m")]


@contextmanager
def server(wrong_decode: int) -> Iterator[str]:
    """A completions server whose one decode worker gives other words from the fourth character on."""
    import threading

    from aiohttp import web

    async def complete(request: web.Request) -> web.Response:
        body = await request.json()
        decode = body["nvext"].get("decode_worker_id")
        if "refuse" in body["model"]:
            return web.json_response({"message": "no such model"}, status=404)
        text = f"abc{'X' if decode == wrong_decode else 'd'}{len(body['prompt'])}"
        ids = {
            "prefill_worker_id": body["nvext"].get("prefill_worker_id"),
            "decode_worker_id": 3 if decode == 5 else decode,
        }
        return web.json_response({"choices": [{"text": text}], "nvext": {"worker_id": ids}})

    loop, started = asyncio.new_event_loop(), threading.Event()
    address = []

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/v1/completions", complete)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address.append(runner.addresses[0][1])
        started.set()

    def body() -> None:
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield f"http://127.0.0.1:{address[0]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def test_texts_that_part_name_their_worker() -> None:
    with server(wrong_decode=4) as url:
        ways = greedy.ways_through("x", url, "m", workers("prefill-0", "prefill-1", "decode-0", "decode-1", "decode-2"))
        texts = greedy.prompts(6)
        same, wrong, astray = greedy.compare(ways, asyncio.run(greedy.ask_all(ways, texts, 8)))
        assert (same.equal, same.agrees(0)) == (6, True)
        assert (wrong.way, wrong.equal, len(wrong.parted)) == ("x prefill-0 > decode-1", 0, 6)
        assert wrong.parted[0].at == 3
        assert not wrong.agrees(0.5)
        assert (astray.equal, astray.astray) == (6, 6)
        refused = [replace(way, model="refuse") for way in ways[:2]]
        (bad,) = greedy.compare(refused, asyncio.run(greedy.ask_all(refused, texts[:1], 8)))
        assert not bad.agrees(1)
        assert "no such model" in bad.errors[0]


def test_the_report_shows_what_was_measured(tmp_path: Path) -> None:
    folder = tmp_path / "bench" / "1"
    folder.mkdir(parents=True)
    points = [result(100, 0.01), result(50, 0.01, valid=False, concurrency=2)]
    hot = {"before": {"n1 node xid": 0}, "after": {"n1 node xid": 1}, "remarks": ["n1: node had 1 errors"]}
    (folder / "bench.json").write_text(json.dumps(results.to_dict(points, {"began": "now", "hardware": hot})))
    (tmp_path / "eval").mkdir()
    said = {"agrees": False, "prompts": 50, "ways": [{"equal": 3, "parted": [1] * 47}]}
    (tmp_path / "eval" / "now.json").write_text(json.dumps(said))
    (found,) = measured.benches(RunFolder(tmp_path))
    assert [row[0] for row in found.rows] == ["c1-i64-o16", "c2-i64-o16"]
    assert [row[-1] for row in found.rows] == ["valid", "INVALID"]
    assert found.problems == ("c2-i64-o16: it was not",)
    assert found.hardware == ("n1: node had 1 errors",)
    assert measured.evals(RunFolder(tmp_path)) == ["now: 50 prompts, 3 texts equal, 47 not: the answers do not agree"]


def test_two_benches_are_compared() -> None:
    one = results.to_dict([result(100, 0.01), result(50, 0.01, concurrency=2)], {"config": {"a": {"b": 1}}, "git": "x"})
    other = results.to_dict([result(110, 0.02)], {"config": {"a": {"b": 2}}, "git": "x", "began": "later"})
    assert compare.differences(one, other) == [("config.a.b", 1, 2)]
    found = {c.figure: c for c in compare.changes(one, other)}
    assert {c.point for c in found.values()} == {"c1-i64-o16"}
    assert (found["output_rate_gpu"].better, round(found["output_rate_gpu"].share, 3)) == (True, 0.1)
    assert found["output_rate_user"].better is False
    assert found["ttft p50"].better is None


def test_variants_are_a_grid(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        "config: c.yaml\ngrid: {decode.workers: [1, 2]}\nvariants: [{mocker.speedup-ratio: 5}]\n"
        "bench: {concurrency: [1, 8]}\n"
    )
    plan = variants.read(file)
    assert [v.name for v in plan.variants] == ["speedup-ratio=5,workers=1", "speedup-ratio=5,workers=2"]
    assert plan.variants[1].sets == ("mocker.speedup-ratio=5", "decode.workers=2")
    assert (plan.config, plan.bench) == (str(tmp_path / "c.yaml"), ("--concurrency=1,8",))
    file.write_text("config: c.yaml\ngrid: [1]\n")
    with pytest.raises(InputError, match="grid is a mapping"):
        variants.read(file)


# Stands in for sgl-launch: notes its commands; workers=2 is refused, the first bench of workers=3 is interrupted.
STANDIN = """#!/bin/bash
cd "$HERE" && echo "$*" >> calls
case "$*" in
  submit*workers=2*) echo "sgl-launch: no such partition" >&2; exit 1 ;;
  submit*) mkdir -p out/runs && touch "$(mktemp -d out/runs/j-XXXX)/submit.json" ;;
  bench*workers=3*) if mkdir interrupted; then kill -INT $PPID; sleep 1; exit 1; fi ;;&
  bench*) echo '{"points": [{"seen": {}}]}' > "${@: -1}/bench.json" ;;
esac
"""


def test_a_sweep_goes_on_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "sgl-launch").write_text(STANDIN)
    (tmp_path / "sgl-launch").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("HERE", str(tmp_path))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    chosen = tuple(variants.Variant(f"workers={n}", (f"decode.workers={n}",)) for n in (1, 2, 3, 4))
    plan, out = variants.Plan("c.yaml", chosen, ()), tmp_path / "out"
    out.mkdir()

    def sweep() -> list[str]:
        """The commands of one call; with their variant where they name one."""
        (tmp_path / "calls").write_text("")
        with contextlib.suppress(KeyboardInterrupt):
            outcome.extend(variants.run(plan, out, [], lambda _: None))
        lines = (tmp_path / "calls").read_text().splitlines()
        return [line.split()[0] + "".join(re.findall(r"workers=(\d)", line)[:1]) for line in lines]

    outcome: list[tuple[variants.Variant, str | None]] = []
    one = ["submit1", "wait", "wait", "bench1", "cancel"]
    assert sweep() == [*one, "submit2", "submit3", "wait", "wait", "bench3", "cancel"]
    assert outcome == []
    (out / "workers=3" / "job").write_text("a job that a killed sweep left")
    assert sweep() == ["submit2", "cancel", "submit3", "wait", "wait", "bench3", "cancel",
                       "submit4", "wait", "wait", "bench4", "cancel"]  # fmt: skip
    assert [why for _, why in outcome] == [None, "no such partition", None, None]
    # a bench that its job's end cut off is no result
    (out / "workers=1" / "bench.json").write_text('{"points": [{"seen": {"ended": "SIGTERM"}}]}')
    assert sweep()[:5] == one


def test_results_of_variants_are_read_back(tmp_path: Path) -> None:
    plan = variants.Plan("c", (variants.Variant("w=1", ()), variants.Variant("w=2", ())), ())
    (tmp_path / "w=1").mkdir()
    made = results.to_dict([result(100, 0.01), result(50, 0.01, valid=False, concurrency=2)], {})
    (tmp_path / "w=1" / "bench.json").write_text(json.dumps(made))
    found = variants.collect(plan, tmp_path)
    assert [(r.point.key, r.valid) for r in found] == [("w=1 c1-i64-o16", True), ("w=1 c2-i64-o16", False)]
    assert found[0].figures.ttft[50] == result(100, 0.01).figures.ttft[50]
    out = io.StringIO()
    results.show(found, Console(file=out, width=80))
    assert "w=1 c2-i64-o16 is invalid: it was not" in out.getvalue()


def test_prompts_are_the_same_in_every_run() -> None:
    assert greedy.prompts() == greedy.prompts()
    assert [len(p.split()) for p in (greedy.prompts()[0], greedy.prompts()[-1])] == [8, 400]

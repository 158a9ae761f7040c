"""Times and meaning of log lines, and `logs` over files that grow, restart and appear."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.commands.logs import colour
from launcher.report.why import BUDGET, LEAST, MOST, share, why
from launcher.run.folder import RunFolder
from launcher.run.logfiles import LONGEST, Tail, last_lines, lines, parts
from launcher.run.logtext import bad_lines, by_time, plain, that_matters, written


@pytest.mark.parametrize(
    ("line", "at"),
    [
        ("\x1b[2m2026-11-23T11:57:44.5Z\x1b[0m INFO x", 1795435064.5),
        ("2026-11-23T12:57:44+0100 x", 1795435064.0),
        ('{"level":"warn","ts":1795435060.5021837,"caller":"x"}', 1795435060.5021837),
        ("no time here", None),
        ("2026-99-23T11:57:44Z", None),
    ],
)
def test_written(line: str, at: float | None) -> None:
    assert written(plain(line)) == at


def test_a_time_without_zone_is_the_machines_own() -> None:
    here = time.mktime((2026, 11, 23, 11, 57, 44, 0, 0, -1))
    assert written("[2026-11-23 11:57:44 TP0] Load weight begin.") == here
    assert written("[12] 2026/11/23 11:57:44.250000 [INF] Starting nats-server") == here + 0.25


def test_lines_without_a_time_stay_with_the_one_before() -> None:
    a = (Path("a.log"), ["2026-11-23T00:00:03Z a1", "Traceback", "  more"])
    b = (Path("b.log"), ["start", "2026-11-23T00:00:01Z b1", "2026-11-23T00:00:04Z b2"])
    merged = [f"{path.stem}|{line.split(' ')[-1]}" for path, line in by_time([a, b])]
    assert merged == ["b|start", "b|b1", "a|a1", "a|Traceback", "a|more", "b|b2"]


def test_the_line_that_matters() -> None:
    lines = ["2026-11-23T00:00:03Z ERROR it broke", "2026-11-23T00:00:04Z INFO something: else"]
    assert that_matters(lines) == "ERROR it broke"
    assert that_matters([*lines[1:], "UserWarning: is deprecated"]) == "INFO something: else"
    assert that_matters(["[2026-11-23 00:00:04 TP0] Load weight begin. avail mem=78 GB"]).startswith("Load weight")
    assert that_matters([]) == ""


@pytest.mark.parametrize(
    "line",
    [
        "12:00:01 INFO 16 requests answered, 0 failed",
        "INFO done: ok=16 failed: 0",
        "INFO done: 16 passed, 0 of 16 failed, 0 timed out",
        'INFO {"answered": 16, "failed": 0, "error": null}',
        "INFO health check: no error",
        "INFO last_status: error=None, exception: ''",
        "INFO stopped without any errors",
        "INFO no failed requests; no killed ranks",
    ],
)
def test_a_line_that_says_that_nothing_failed(line: str) -> None:
    assert list(bad_lines([line])) == []


@pytest.mark.parametrize(
    "line",
    [
        "10 failed",
        "1.0 failed",
        "0 failed, then: fatal",
        "failed: 01:02:03",
        "failed: 3",
        "error: 0x80004005",
        "error: 0.5 s too late",
        "there is no answer: connection refused",
        "RuntimeError: connectFullMesh failed with [pair.cc:144] no error",
        "ERROR no error text was given",
        "failed: no such file",
        "rank 0 failed",
        "GPU 0 is lost, worker 0 timed out",
        "error: null pointer in x",
        "error: 'abc'",
        "no more tries: timed out",
    ],
)
def test_a_line_that_says_that_something_failed(line: str) -> None:
    assert list(bad_lines([line])) == [line]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = tmp_path / "demo-L1"
    (made / "logs").mkdir(parents=True)
    return RunFolder(made)


def test_following_across_a_restart(run: RunFolder) -> None:
    log = run.path / "logs" / "decode-0-0.log"
    log.write_text("one\ntwo\nhal")
    tail = Tail(run, None)

    def new() -> list[str]:
        return [line for _, lines in tail.read() for line in lines]

    assert new() == ["one", "two"]
    with log.open("a") as f:
        f.write("f\n")
    assert new() == ["half"]
    log.write_text("anew\n")  # shorter: begun again
    assert new() == ["anew"]
    log.unlink()
    assert new() == []
    log.write_text("a requeued job's longer first line\n")
    (run.path / "logs" / "prefill-0-0.log").write_text("a group that came later\n")
    assert new() == ["a requeued job's longer first line", "a group that came later"]
    assert new() == []


def test_a_group_has_one_colour() -> None:
    assert colour("decode-0-0") == colour("decode-0-3")


def test_why(run: RunFolder) -> None:
    event = {"time": 1.0, "stage": "ready", "state": "failed", "detail": "decode-0 ended with exit status 1 on n003"}
    (run.path / "events.jsonl").write_text(json.dumps(event) + "\n")
    (run.path / "logs" / "decode-0-0.log").write_text(
        "[2026-11-23 12:00:00 TP0] Load weight begin\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate\n"
    )
    assert why(run) == [
        "demo-L1: ready failed: decode-0 ended with exit status 1 on n003",
        "",
        "out of GPU memory: the model, its KV cache or CUDA graphs do not fit into the GPU",
        "  logs/decode-0-0.log:2: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate",
        "  what to do: if activations or CUDA graphs ran out, lower mem-fraction-static, cuda-graph-max-bs or "
        "chunked-prefill-size; if the KV cache has no room, raise mem-fraction-static; or use more GPUs. Check that "
        "the GPU was empty",
    ]
    (run.path / "logs" / "decode-0-0.log").write_text("all is well\nERROR what is this\n")
    assert why(run)[2:] == [
        "no known cause; the last errors in the logs:",
        "  logs/decode-0-0.log: ERROR what is this",
    ]
    (run.path / "logs" / "decode-0-0.log").write_text("all is well\n")
    assert why(run)[-1] == "no errors found in the logs"


@pytest.mark.parametrize(
    ("status", "node", "said"),
    [
        (137, "n003", ["it was killed with SIGKILL", "'Out of memory' in `dmesg` on n003"]),
        (139, "n003", ["it crashed (SIGSEGV)", "read its log to the end"]),
        (127, "n003", ["its program was not found", "check container.image"]),
        (0, "n003", ["as if its work were done", "a worker serves until it is told to end"]),
        (3, "n003", ["often above the last lines"]),
    ],
)
def test_why_of_a_process_without_a_known_cause(run: RunFolder, status: int, node: str, said: list[str]) -> None:
    """What its exit status says, the end of its own log, and what to do; not the warnings of others."""
    log = run.path / "logs" / "decode-0-0.log"
    detail = f"decode-0 (rank 0) ended with exit status {status} on {node}; its log: {log}"
    event = {"time": 1.0, "stage": "frontend", "state": "failed", "detail": detail}
    (run.path / "events.jsonl").write_text(json.dumps(event) + "\n")
    (run.path / "logs" / "etcd-0.log").write_text("WARNING: grpc: addrConn.createTransport failed to connect\n")
    log.write_text("".join(f"line {n}\n" for n in range(9)))
    found = why(run)
    assert found[0].startswith("demo-L1: stage frontend failed: decode-0 (rank 0) ended")
    text = "\n".join(found)
    assert all(words in text for words in said), text
    assert found[-6:-1] == [f"  line {n}" for n in range(4, 9)]
    assert found[-1].startswith("  what to do: ")
    assert "addrConn" not in text
    log.write_text("")
    assert "logs/decode-0-0.log is empty" in why(run)


def test_why_of_a_worker_that_hangs(run: RunFolder) -> None:
    log = run.path / "logs" / "decode-0-0.log"
    detail = f"not registered after 8 s: decode-0 on n003 (log {log})"
    event = {"time": 1.0, "stage": "ready", "state": "failed", "detail": detail}
    (run.path / "events.jsonl").write_text(json.dumps(event) + "\n")
    log.write_text("Load weight begin\n")
    assert "  Load weight begin" in why(run)
    assert "raise timeouts.ready" in why(run)[-1]


def test_why_of_a_job_that_waits(run: RunFolder) -> None:
    assert why(run)[-1] == "it has not begun: `sgl-launch status L1` says what it waits for"


def test_why_of_a_job_that_was_killed(run: RunFolder) -> None:
    """Its own process says nothing any more."""
    events = [("nodes", "started"), ("ready", "done"), ("serve", "started")]
    text = "".join(json.dumps({"time": 1.0, "stage": s, "state": w, "detail": ""}) + "\n" for s, w in events)
    (run.path / "events.jsonl").write_text(text)
    (run.path / "local.json").write_text(json.dumps({"pid": 2**22 + 1, "start_time": 1, "host": socket.gethostname()}))
    assert "the job's own process was killed before it could say why" in "\n".join(why(run))
    assert "it is serving" not in "\n".join(why(run))


def test_why_of_a_run_that_goes_on(run: RunFolder) -> None:
    """Nothing failed for good: what was started again is told, and why a scheduler's end is the cause."""
    events = [
        ("decode-0", "started", ""), ("decode-0", "ready", ""),
        ("decode-0", "lost", "sglang::scheduler is gone on n004"),
        ("decode-0", "restarting", "sglang::scheduler is gone on n004, restart 1"), ("decode-0", "ready", ""),
        ("decode-0", "restarting", "exit status 137, restart 2"),
    ]  # fmt: skip
    text = "".join(
        json.dumps({"time": 100.0 * n, "stage": stage, "state": state, "detail": detail}) + "\n"
        for n, (stage, state, detail) in enumerate(events)
    )
    (run.path / "events.jsonl").write_text(text)
    (run.path / "logs" / "decode-0-0.log").write_text(
        "[2026-11-23 12:00:00 TP3] Scheduler hit an exception: Traceback (most recent call last):\n"
        "KVTransferError(bootstrap_room=42): Failed to send kv chunk of 42 to 10.0.0.3:41001\n"
    )
    said = why(run)
    assert said[0] == "demo-L1: no failure was recorded"
    assert said[1].startswith("  decode-0 was started again 2 times, last at ")
    assert said[1].endswith(": exit status 137, restart 2")
    assert said[3].startswith("scheduler crashed: ")
    assert said.index(next(line for line in said if line.startswith("NIXL"))) > 3


@pytest.fixture
def large(run: RunFolder) -> Path:
    """A log of 64 MB that nobody has room to read: sparse but for its begin and its end."""
    log = run.path / "logs" / "decode-0-0.log"
    with log.open("wb") as f:
        f.write(b"torch.OutOfMemoryError: CUDA out of memory\n" + b"x\n" * 100)
        f.seek(64 << 20)
        f.write(b"\n" + b"".join(b"line %d\n" % n for n in range(50000)) + b"NVRM: Xid 79\nhalf")
    return log


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of all that is read of files."""
    found: list[int] = []
    real = Path.open

    def opened(path: Path, *args: Any, **kwargs: Any) -> Any:
        made = real(path, *args, **kwargs)
        if "b" not in (args[0] if args else "r"):
            return made
        read = made.read
        made = SimpleNamespace(
            read=lambda n=-1: (found.append(n), read(n))[1], seek=made.seek, tell=made.tell, fileno=made.fileno
        )
        return contextlib.nullcontext(made)

    monkeypatch.setattr(Path, "open", opened)
    return found


def test_the_last_lines_of_a_large_log(large: Path, reads: list[int]) -> None:
    assert last_lines(large, 3) == ["line 49999", "NVRM: Xid 79", "half"]
    assert len(last_lines(large, 20000)) == 20000
    assert 0 < sum(reads) < 1 << 20
    assert min(reads) >= 0


def test_why_of_a_large_log(run: RunFolder, large: Path, reads: list[int]) -> None:
    said = "\n".join(why(run))
    assert "logs/decode-0-0.log:1: torch.OutOfMemoryError" in said
    assert "logs/decode-0-0.log: NVRM: Xid 79" in said
    assert 0 < sum(reads) < 6 << 20
    assert min(reads) >= 0


def test_many_logs_have_a_share_each() -> None:
    assert share(1) == MOST
    assert share(12) == BUDGET // 12
    assert share(5000) == LEAST


def test_lines_of_any_kind(run: RunFolder) -> None:
    log = run.path / "logs" / "a.log"
    log.write_bytes(b"one\r\n 10%\r 20%\r\ntwo\xff\x85\xe2\x80\xa8\n" + b"y" * 100_000 + b"\nhalf")
    found = list(lines(log))
    assert found[:4] == ["one", " 10%", " 20%", "two\ufffd\ufffd\u2028"]
    assert sum(map(len, found[4:-1])) == 100_000
    assert max(map(len, found)) <= LONGEST
    assert found[-1] == "half"
    assert list(lines(log, 7)) == ["one", " 1"]
    assert list(lines(run.path / "gone")) == last_lines(run.path / "gone", 3) == []


def test_following_a_log_that_is_begun_anew_when_it_is_large(run: RunFolder) -> None:
    log = run.path / "logs" / "decode-0-0.log"
    log.write_text("one\n")
    logs = Tail(run, None)
    logs.start_at_end(log)
    with log.open("a") as f:
        f.write("two\n")
    log.rename(f"{log}.1")
    log.write_text("three\n")
    assert [line for _, found in logs.read() for line in found] == ["two", "three"]
    assert [p.name for p in parts(log)] == ["decode-0-0.log.1", "decode-0-0.log"]

"""eval --data: the file of questions, and what sgl-eval's own result is taken for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launcher.base.errors import InputError, WorkError
from launcher.measure import known


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "each line must be JSON"),
        ('{"problem": "1 + 1?"}', "each line must be JSON"),
        ("[1]", "each line must be JSON"),
        ("{", "is no file of questions"),
    ],
)
def test_a_file_without_questions(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(text)
    with pytest.raises(InputError, match=said):
        known._look(file)


def result(folder: Path, aggregate: dict[str, float], **more: Any) -> known.Score:
    """As sgl-eval 0.1.3 writes it."""
    made = folder / "sgl_eval_gsm8k_20261126-110731"
    made.mkdir(exist_ok=True)
    (made / "metrics.json").write_text(
        json.dumps({"aggregate": aggregate, "name": "gsm8k", "num_examples": 10, **more})
    )
    return known.read(folder, 0)


def test_a_threshold_is_reached_by_whole_results_alone(tmp_path: Path) -> None:
    score = result(tmp_path, {"error_rate": 0.0, "score": 0.7, "stop_rate": 1.0})
    assert (score.share, score.questions, score.reaches(0.7), score.reaches(0.71)) == (0.7, 10, True, False)
    assert not result(tmp_path, {"error_rate": 0.1, "score": 0.7}).reaches(0.5)
    assert not result(tmp_path, {"score": 0.7}, partial=True).reaches(0.5)
    with pytest.raises(WorkError, match="has no score that is known here: stop_rate"):
        result(tmp_path, {"stop_rate": 1.0})


def test_no_result_at_all(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"sgl-eval gave no result \(exit status 2\)"):
        known.read(tmp_path, 2)

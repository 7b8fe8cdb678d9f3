"""The log of a training as plots."""

from __future__ import annotations

import json
from pathlib import Path

from flowvox.reference.training.curves import draw_all, read_log

ROWS = [
    {"step": 1, "minutes": 0.5, "loss": 2.0},
    {"step": 2, "minutes": 1.0, "loss": 1.5, "held_accuracy": 0.1},
    {"step": 3, "minutes": 1.5, "held_accuracy": 0.4},
]


def test_what_was_held_out_comes_first_and_every_name_has_its_points(tmp_path: Path) -> None:
    folder = tmp_path / "lm"
    folder.mkdir()
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    log = read_log(folder / "log.jsonl")
    assert list(log) == ["held_accuracy", "loss"]
    assert log == {"held_accuracy": [(1.0, 0.1), (1.5, 0.4)], "loss": [(0.5, 2.0), (1.0, 1.5)]}
    assert draw_all(tmp_path) == [folder / "curves.svg"]
    assert "held accuracy" in (folder / "curves.svg").read_text()

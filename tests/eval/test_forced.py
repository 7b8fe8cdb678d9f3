"""The teacher-forced level: known answers, and a bundle against itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flowvox.eval.artifact import open_artifact
from flowvox.eval.forced import BINS, compare, compare_latents, compare_logits, record_truth
from flowvox.noise import frame_noise

EMPTY_END_A_B = np.array([[9.0, 0.0, 1.0, 1.0]], dtype=np.float32)  # EMPTY never takes part


def logits(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_kl_divergence_of_two_coins() -> None:
    """p = (1/2, 1/2), q = (1/4, 3/4): KL = ln 2 - ln 3 / 2."""
    base = logits([9.0, -30.0, 0.0, 0.0])
    ours = logits([-9.0, -30.0, np.log(0.25), np.log(0.75)])
    rows = compare_logits(ours, base, ended=False)
    assert rows["kld"][0] == pytest.approx(np.log(2) - np.log(3) / 2, abs=1e-6)
    assert rows["delta_p"][0] == pytest.approx(0.25 - 0.5, abs=1e-6)
    assert rows["baseline_rank"][0] == 2
    assert rows["same_top_p"][0] == 0


def test_ends_too_early_and_too_late() -> None:
    go_on, end = [0.0, 0.0, 5.0, 0.0], [0.0, 5.0, 0.0, 0.0]
    early = compare_logits(logits(end, end), logits(go_on, end), ended=True)
    assert early["false_end"].tolist() == [1, 0]
    assert early["missed_end"].tolist() == [0]
    assert early["end_margin"].tolist() == pytest.approx([10, 0])
    late = compare_logits(logits(go_on, go_on), logits(go_on, end), ended=True)
    assert late["missed_end"].tolist() == [1]
    assert "missed_end" not in compare_logits(logits(go_on), logits(go_on), ended=False)


def test_fsq_levels() -> None:
    """Levels are 0.1 apart; the middle of one is half a level from its boundary."""
    base = np.array([[0.0, 0.1, 0.149, -1.7]], dtype=np.float32)
    ours = np.array([[0.0, 0.3, 0.151, -1.2]], dtype=np.float32)
    rows = compare_latents(ours, base, levels=21)
    assert rows["fsq_exact"].tolist() == [0.5]  # the two clamped ones are the same
    assert rows["fsq_within_one"].tolist() == [0.75]
    assert rows["fsq_exact_per_codebook"].tolist() == [[1, 0, 0, 1]]
    counts, flipped = rows["boundary"][0].T
    assert counts.sum() == 4
    assert (flipped[0], flipped[BINS - 1]) == (1, 1)  # 0.149 lay near its boundary, 0.1 did not


@pytest.fixture(scope="module")
def voiced() -> tuple[str, str]:
    return "Hello there.", "first"


def test_a_bundle_against_itself_loses_nothing(
    micro_bundles: dict[str, Path], voiced: tuple[str, str]
) -> None:
    artifact = open_artifact(micro_bundles["fp32"])
    codes = artifact.speak(*voiced, 0, 1.0).codes
    truth = record_truth(artifact, *voiced, codes, False, frame_noise(0, len(codes) + 1, 5))
    rows = compare(artifact, *voiced, truth)
    assert rows["kld"].max() == 0
    assert rows["fsq_exact"].min() == 1
    assert rows["velocity_error_per_step"][0, :, 0].max() == 0
    assert rows["hidden_error"][0, 0] == 0


def test_reference_and_fp32_bundle_agree_and_int4_does_not(
    micro_bundles: dict[str, Path], random_micro: Path, voiced: tuple[str, str]
) -> None:
    reference = open_artifact(random_micro)
    codes = reference.speak(*voiced, 0, 1.0).codes
    truth = record_truth(reference, *voiced, codes, False, frame_noise(0, len(codes) + 1, 5))
    np.testing.assert_allclose(
        truth.states[-1] + truth.velocities[-1] / len(truth.states), truth.latents, atol=1e-5
    )
    same = compare(open_artifact(micro_bundles["fp32"]), *voiced, truth)
    assert same["kld"].max() < 1e-9
    assert same["fsq_exact"].min() == 1
    steps = same["velocity_error_per_step"][0]
    assert np.sqrt(steps[:, 0] / steps[:, 1]).max() < 1e-4
    coarse = compare(open_artifact(micro_bundles["int4"]), *voiced, truth)
    assert coarse["kld"].mean() > 1e-6
    assert coarse["hidden_error"][0, 0] > 1e-4 * coarse["hidden_error"][0, 1]

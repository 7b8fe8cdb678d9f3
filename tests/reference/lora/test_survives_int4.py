"""An adapter that teaches the prompt of one voice to speak in the other survives four bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tests.conftest import export_source
from tests.reference.lora.training import Example, semantic_loss, train

from flowvox.eval.artifact import BundleArtifact
from flowvox.noise import frame_noise
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.lora.merged import MergedSource
from flowvox.reference.model import load_model
from flowvox.reference.speak import ReferenceTTS, embed_prompt

LEARNED = ("There are new messages.", "Pop it into the pot.", "We must believe in free will.")
UNSEEN = "Put things back where you found them."
STEPS = 24


class Judge:
    """(semantic loss in nats, error of the acoustic values) of a model on a text's target codes."""

    def __init__(self, tts: ReferenceTTS) -> None:
        self.speaker, *_, like = tts.model.config.voices
        self.codes = {
            text: tts.generate(text, like, seed=0, max_frames=80).codes
            for text in (*LEARNED, UNSEEN)
        }  # fmt: skip
        self.levels = tts.model.config.codec.acoustic_codebook_size

    def __call__(self, model: ReferenceTTS | BundleArtifact, text: str) -> tuple[float, float]:
        codes = self.codes[text]
        hidden = model.hidden_states(text, self.speaker, codes)
        noise = frame_noise(0, len(hidden), codes.shape[1] - 1)
        if isinstance(model, BundleArtifact):
            logits, latents = model.semantic_logits(hidden), model.latents(hidden, noise)
        else:
            with torch.inference_mode():
                state = torch.from_numpy(hidden)
                logits = model.model.flow.semantic_logits(state).numpy()
                latents = model.model.flow.sample(state, torch.from_numpy(noise)).numpy()
        logits = logits.copy()
        logits[:, 0] = -np.inf
        target = codes[:, 1:] * (2 / (self.levels - 1)) - 1
        error = np.square(latents[:-1].clip(-1, 1) - target).mean()
        return float(semantic_loss(torch.from_numpy(logits), codes)), float(error)


def test_a_voice_survives_int4(tiny: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tiny)
    base = ReferenceTTS(checkpoint, load_model(checkpoint))
    judge = Judge(base)
    examples = [
        Example(
            embed_prompt(base.model, checkpoint, text, judge.speaker).clone(), judge.codes[text]
        )
        for text in LEARNED
    ]
    adapter = train(load_model(checkpoint), examples, STEPS, tmp_path / "adapter")
    source = MergedSource(checkpoint, adapter)
    merged = ReferenceTTS(source, load_model(source))
    int4 = BundleArtifact(export_source(source, "int4", tmp_path / "int4"), threads=1)

    def judged(model: ReferenceTTS | BundleArtifact) -> np.ndarray:
        """[learned or not, semantic or acoustic]."""
        learned = np.mean([judge(model, text) for text in LEARNED], axis=0)
        return np.stack([learned, judge(model, UNSEEN)])

    before, after, quantized = judged(base), judged(merged), judged(int4)
    # On an unseen text the sound changes as much; which phoneme comes when is hardly the voice's, and
    # stays about as likely.
    of_the_voice = np.array([[True, True], [False, True]])
    assert (after < before / 2)[of_the_voice].all()
    assert after[1, 0] < before[1, 0] + 0.2
    assert (before - quantized > 0.85 * (before - after))[of_the_voice].all()

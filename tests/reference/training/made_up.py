"""A folder as the stage `speech` leaves it, of a few made-up utterances."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from flowvox.reference.training.corpus import write
from flowvox.reference.training.speech import FRAME, Speech

TEXTS = ["The old man went home.", "Two words.", "A cat and a dog sat there.", "Go on, then."] * 4
FRAMES = 48


def make_work(folder: Path) -> Speech:
    """Sixteen utterances of FRAMES frames by two speakers; one in four is held out."""
    rng = np.random.default_rng(0)
    rows = []
    for text in TEXTS:
        words = text.split()
        ids = [
            0,
            *[x for i, word in enumerate(words) for x in [16] * (i > 0) + [50] * len(word)],
            0,
        ]
        rows.append((text, False, ids))
    write(folder, rows, [bytes([b]) for b in range(256)])
    shape = resources.files("flowvox") / "shapes" / "tiny.json"
    (folder / "params.json").write_text(shape.read_text("utf-8"), encoding="utf-8")
    n, labels = len(TEXTS), FRAMES * 16 // 5 + 1
    words_of = [len(text.split()) for text in TEXTS]
    speech = Speech(
        audio=(rng.standard_normal(n * FRAMES * FRAME) * 3000).astype(np.int16),
        phoneme=rng.integers(40, 60, n * labels).astype(np.uint8),
        word=np.concatenate(
            [np.minimum(np.arange(labels) * w // labels, w - 1) for w in words_of]
        ).astype(np.int8),
        starts=np.arange(n + 1) * FRAMES,
        labels=np.arange(n + 1) * labels,
        sentence=np.arange(n),
        speaker=np.arange(n) % 2,
    )
    speech.save(folder / "speech")
    np.save(folder / "held_out.npy", np.arange(n) % 4 == 0)
    return speech

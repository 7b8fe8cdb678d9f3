"""A few hundred training sentences that every training repeats until they are spoken intelligibly.

Hours of training on two cores hardly teach open vocabulary. A quality measure of quantization needs
speech that the fp32 model gets right; so a share of the batches is a fixed script of sentences out of
the training set. `script.txt` beside the weights lists them.
"""

from __future__ import annotations

import numpy as np

from flowvox.reference.training.dataset import Dataset
from flowvox.reference.training.text import text_hash

SENTENCES = (160, 40)  # per voice
SHORTEST, LONGEST = 18, 55  # frames
MOST_TOKENS_PER_WORD = 1.4  # frequent words, which are whole tokens


def script_utterances(data: Dataset, voice: int) -> list[int]:
    """The script of one voice, in the order of the sentences' hashes."""
    lengths = np.diff(data.starts)
    usable = ~data.held_out & ~data.example & (data.voice == voice)
    usable &= (lengths >= SHORTEST) & (lengths <= LONGEST)
    plain = [
        int(i)
        for i in np.flatnonzero(usable)
        if len(data.token_ids[i]) - 1 <= MOST_TOKENS_PER_WORD * len(data.texts[i].split())
        and len(data.texts[i].split()) >= 4
    ]
    return sorted(plain, key=lambda i: text_hash(data.texts[i]))[: SENTENCES[voice]]

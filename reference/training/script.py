"""Stage `script`: rehearse a few hundred training sentences until they are spoken intelligibly.

Hours of training on two cores do not teach open vocabulary. A quality measure of quantization needs
speech that the fp32 model gets right; so the last minutes go to a fixed script of sentences out of
the training set, mixed with general batches. `script.txt` beside the weights lists them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from flowvox.config import ModelConfig
from flowvox.reference.training.batches import Sampler
from flowvox.reference.training.dataset import Dataset
from flowvox.reference.training.lm import MATRIX_LR, WEIGHTS, LanguageModel
from flowvox.reference.training.optim import Optimizers
from flowvox.reference.training.session import Session
from flowvox.reference.training.text import text_hash

SENTENCES = (160, 40)  # per voice
SHORTEST, LONGEST = 18, 55  # frames
MOST_TOKENS_PER_WORD = 1.4  # frequent words, which are whole tokens
GENERAL_SHARE, OWN_SHARE = 0.1, 0.5
# The semantic codes are learned in two minutes, the acoustic values need all of the time.
SCRIPT_WEIGHTS = WEIGHTS | {"flow": 2.5, "probe": 6.0}


def script_utterances(data: Dataset, voice: int) -> list[int]:
    """The script of one voice, in the order of the sentences' hashes."""
    lengths = np.diff(data.starts)
    usable = ~data.held_out & (data.voice == voice) & (lengths >= SHORTEST) & (lengths <= LONGEST)
    plain = [
        int(i)
        for i in np.flatnonzero(usable)
        if len(data.token_ids[i]) - 1 <= MOST_TOKENS_PER_WORD * len(data.texts[i].split())
        and len(data.texts[i].split()) >= 4
    ]
    return sorted(plain, key=lambda i: text_hash(data.texts[i]))[: SENTENCES[voice]]


def rehearse(work: Path, minutes: float, frames: int, lr: float) -> None:
    """Continue from the moving average of stage `lm`; resumes from `work`/script."""
    torch.manual_seed(23)
    config, data = ModelConfig.load(work / "params.json"), Dataset.load(work)
    model = LanguageModel(config)
    model.load_state_dict(torch.load(work / "lm" / "latest.pt", weights_only=True)["average"])
    model.flow_share = 1.0
    optimizers = Optimizers(model, lr, MATRIX_LR / 2, warmup=20)
    session = Session(work / "script", model, optimizers, minutes, decay=0.98)
    sampler = Sampler(data, config, frames, seed=1000 + session.number)
    general = sampler.training
    script = np.array([i for voice in range(2) for i in script_utterances(data, voice)])
    while session.progress < 1:
        sampler.training = general if torch.rand(()) < GENERAL_SHARE else script
        batch = sampler.batch(progress=1.0)
        if torch.rand(()) < OWN_SHARE:
            batch = model.own_history(batch)
        terms = model.losses(batch)
        loss = torch.stack([SCRIPT_WEIGHTS[name] * value for name, value in terms.items()]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        session.step()
        if session.number % 25 == 0:
            session.log(**{name: value.item() for name, value in terms.items()})
    session.save()

"""What stage `adapt` starts from: the first training's model, told what the new acoustic codes mean.

The layers and all that is semantic are taken as they are. The same speech in both code spaces gives, by
ridge regression, the new acoustic embeddings that add up to what the old ones did, and the linear maps
between the values that the flow head reads and writes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from flowvox.config import SPECIAL_CODES, ModelConfig
from flowvox.reference.codec import Codec
from flowvox.reference.training.locked.codes import LEVELS
from flowvox.reference.training.speech import FRAME, Speech
from flowvox.tensors import CODE_EMBEDDINGS

UTTERANCES = 500  # that both codes are compared on
PENALTY = 3.0


def ridge(x: Tensor, y: Tensor) -> Tensor:
    """W [n, m] of least |x W - y|² + PENALTY |W|², for x [F, n], y [F, m]."""
    return torch.linalg.solve(x.T @ x + PENALTY * torch.eye(x.shape[1]), x.T @ y)


@torch.inference_mode()
def old_codes(codec: Codec, speech: Speech, utterances: NDArray[np.int64]) -> Tensor:
    """Acoustic codes [F, 36] that the first codec gives to the utterances."""
    codes = []
    for u in utterances:
        span = slice(int(speech.starts[u]) * FRAME, int(speech.starts[u + 1]) * FRAME)
        samples = torch.from_numpy(np.array(speech.audio[span])).float() / 32767
        codes.append(codec.encode(samples[None])[0, :, 1:])
    return torch.cat(codes)


def values(codes: Tensor) -> Tensor:
    """Codes -> acoustic values in [-1, 1]."""
    return codes.float() * 2 / (LEVELS - 1) - 1


def carried(work: Path) -> dict[str, Tensor]:
    """The model of `work`/export for the codes of `work`/locked, by parameter name."""
    export, folder = work / "export", work / "locked"
    state: dict[str, Tensor] = {}
    for name in ("backbone", "flow"):
        state |= torch.load(export / f"{name}.pt", weights_only=True)
    state = {name: tensor.float() for name, tensor in state.items()}
    config = ModelConfig.load(work / "params.json")
    codec = Codec(config.codec, encoder=True)
    codec.load_state_dict(torch.load(export / "codec.pt", weights_only=True))
    speech, codes = Speech.load(folder / "speech"), np.load(folder / "codes.npy", mmap_mode="r")
    utterances = np.random.default_rng(13).permutation(speech.audible)[:UTTERANCES]
    old = old_codes(codec, speech, utterances)
    spans = [codes[speech.starts[u] : speech.starts[u + 1]] for u in utterances]
    new = torch.from_numpy(np.concatenate(spans)).long()

    table = state[f"backbone.{CODE_EMBEDDINGS}"]
    offsets = torch.tensor(config.code_offsets[1:]) + SPECIAL_CODES
    sums = F.embedding_bag(old + offsets, table, mode="sum")
    mean = sums.mean(0)
    rows = ridge(F.one_hot(new, LEVELS).flatten(1).float(), sums - mean)
    table[(offsets[:, None] + torch.arange(LEVELS)).flatten()] = rows + mean / len(offsets)
    to_old, to_new = ridge(values(new), values(old)), ridge(values(old), values(new))
    state["flow.input_projection.weight"] = state["flow.input_projection.weight"] @ to_old.T
    for name in (
        "flow.acoustic_codebook_output.weight",
        "expectation.linear.weight",
        "expectation.linear.bias",
        "expectation.down.weight",
    ):
        state[name] = to_new.T @ state[name]
    state["expectation.shift.weight"] = state["expectation.shift.weight"] @ to_new
    return state

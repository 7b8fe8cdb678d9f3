"""Stage `unpack`: a checkpoint that `pack` wrote -> what its codec's training begins with.

No checkpoint has the codebook's `places`. The committed ones, of models/tiny only, were estimated
such that the labels of training sentences get the codes that its language model expects.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import torch

from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.model import load_model
from flowvox.reference.training.semantics import LABELS, Semantics


def unpack(checkpoint: Path, work: Path) -> None:
    """Write semantics.npz and codec.pt of `checkpoint` into `work`/export.

    Raises FileExistsError where a training exported a codec already.
    """
    folder = work / "export"
    if (folder / "codec.pt").exists():
        raise FileExistsError(f"{folder} has a codec already: take another folder")
    folder.mkdir(parents=True, exist_ok=True)
    codec = load_model(Checkpoint.open(checkpoint)).codec
    torch.save(codec.state_dict(), folder / "codec.pt")
    codebook(codec.quantizer.semantic_codebook.centroids().detach().numpy()).save(
        folder / "semantics.npz"
    )


def codebook(vectors: np.ndarray) -> Semantics:
    """vectors [size, dim] of the codebook, and the committed places."""
    file = resources.files("flowvox.reference.training.locked") / "places.npz"
    with file.open("rb") as opened:
        places = np.load(opened)["places"].astype(np.float32)
    nothing = np.empty((0, LABELS), np.uint8)
    return Semantics(nothing, np.empty(0, np.int16), vectors, places)

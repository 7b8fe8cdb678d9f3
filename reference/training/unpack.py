"""Stage `unpack`: a checkpoint that `pack` wrote -> what its training goes on with.

No checkpoint has the heads that only training needs (`lm.teach_probes` makes new ones), nor the
codebook's `places`. The committed ones, of models/tiny only, were estimated such that the labels of
training sentences get the codes that its language model expects.
"""

from __future__ import annotations

import base64
import json
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.model import load_model
from flowvox.reference.training.pack import HASHES
from flowvox.reference.training.semantics import LABELS, Semantics


def unpack(checkpoint: Path, work: Path) -> None:
    """Write language.pt, codec.pt, semantics.npz and the hashes of `checkpoint` into `work`/export, and
    its vocabulary into `work`, for the stage `corpus`.

    Raises FileExistsError where a training exported a codec already, or made a corpus of other tokens.
    """
    folder = work / "export"
    if (folder / "codec.pt").exists():
        raise FileExistsError(f"{folder} has a codec already: take another folder")
    tekken = json.loads((checkpoint / "tekken.json").read_text("utf-8"))
    tokens = json.dumps([base64.b64decode(entry["token_bytes"]).hex() for entry in tekken["vocab"]])
    vocabulary = work / "vocabulary.json"
    if vocabulary.exists() and vocabulary.read_text("utf-8") != tokens:
        raise FileExistsError(
            f"{work} has a corpus of other tokens: unpack before the stage corpus"
        )
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary.write_text(tokens, "utf-8")
    model = load_model(Checkpoint.open(checkpoint))
    language = {
        f"{name}.{key}": tensor
        for name, part in (("backbone", model.backbone), ("flow", model.flow))
        for key, tensor in part.state_dict().items()
    }
    torch.save(language, folder / "language.pt")
    shutil.copy(checkpoint / HASHES, folder / HASHES)
    codec = model.codec
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

"""Stage `export`: what leaves the machine that trained, a few files of less than 16 MB each.

Weights in bfloat16, as the checkpoint has them; codes of training speech to choose the voice prompts
from; the codebook that other speech can be coded with; and which sentences were spoken.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowvox.reference.training.codec import state_of
from flowvox.reference.training.pack import HASHES
from flowvox.reference.training.semantics import Semantics
from flowvox.reference.training.speech import Speech

CANDIDATES = 30  # utterances of each preset voice
PROMPT_SHORTEST, PROMPT_LONGEST = 50, 90  # frames of the utterances for voice prompts


def codec_state(work: Path, before: Path | None) -> dict[str, Tensor]:
    """The codec that was trained in `work`; encoder or decoder that were not are those of `before`."""
    if (work / "codec").exists():
        return state_of(work / "codec") | state_of(work / "decoder")
    vectors = torch.from_numpy(Semantics.load(work / "semantics.npz").vectors)
    codebook = "quantizer.semantic_codebook."
    state = {
        f"{codebook}embedding_sum": vectors,
        f"{codebook}cluster_usage": torch.ones(len(vectors)),
    }
    trained = [name for name in ("encoder", "decoder") if (work / name).exists()]
    if before and len(trained) < 2:
        state = torch.load(before / "codec.pt", weights_only=True)
    for name in trained:
        state |= state_of(work / name)
    return state


def export(work: Path, voices: Collection[str], before: Path | None = None) -> None:
    """Write `work`/export.

    voices: names of the first speakers; before: what the training before this one exported, so that its
    sentences count as spoken, too.
    """
    folder = work / "export"
    folder.mkdir(exist_ok=True)
    language = state_of(work / "lm")
    backbone = {k: v for k, v in language.items() if k.startswith("backbone.")}
    flow = {k: v for k, v in language.items() if k not in backbone}  # and the probes
    codec = codec_state(work, before)
    for name, state in {"backbone": backbone, "flow": flow, "codec": codec}.items():
        torch.save({k: v.bfloat16().cpu() for k, v in state.items()}, folder / f"{name}.pt")
    speech, acoustic = Speech.load(work / "speech"), np.load(work / "codes.npy", mmap_mode="r")
    semantics = Semantics.load(work / "semantics.npz")
    semantic = semantics.codes
    replace(semantics, labels=semantics.labels[:0], codes=semantic[:0]).save(
        folder / "semantics.npz"
    )
    held, lengths = np.load(work / "held_out.npy"), np.diff(speech.starts)
    usable = ~held & (lengths >= PROMPT_SHORTEST) & (lengths <= PROMPT_LONGEST)
    of_voice = [np.flatnonzero(usable & (speech.speaker == v)) for v in range(len(voices))]
    rows = np.concatenate([mine[:CANDIDATES] for mine in of_voice])
    spans = [slice(int(speech.starts[u]), int(speech.starts[u + 1])) for u in rows]
    codes = [np.column_stack([semantic[s], acoustic[s]]).astype(np.int16) for s in spans]
    np.savez_compressed(
        folder / "prompts.npz",
        speaker=speech.speaker[rows],
        lengths=lengths[rows],
        codes=np.concatenate(codes),
    )
    spoken = np.unique(speech.sentence)
    if before and (before / HASHES).exists():
        shutil.copy(before / HASHES, folder / HASHES)
    elif before:
        spoken = np.union1d(spoken, np.load(before / "spoken.npz")["sentence"])
    np.savez_compressed(folder / "spoken.npz", sentence=spoken, voices=np.array(list(voices)))

"""Stages `lm` and `adapt`: backbone and flow head on fixed codes.

`lm` starts from nothing, on the codes of the learned codec; `adapt` takes its layers to other codes.
"""

from __future__ import annotations

import dataclasses
import zlib
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from flowvox.config import END_VALUE, ModelConfig
from flowvox.reference.training.batches import Batch, Sampler, Utterances
from flowvox.reference.training.language_model import LanguageModel, Settings
from flowvox.reference.training.locked.carry import carried
from flowvox.reference.training.locked.codes import CodeSpace
from flowvox.reference.training.optim import Optimizers
from flowvox.reference.training.semantics import PHONEMES
from flowvox.reference.training.session import Session

EVALUATE_EVERY = 250
PROBE_BATCHES, PROBE_STEPS, PROBE_FRAMES, PROBE_LR = 150, 2500, 1024, 4e-3  # of `teach_probes`
WEIGHTS = {"semantic": 0.5, "flow": 2.0, "attention": 0.3, "phoneme": 0.2, "probe": 2.0}


FROM_NOTHING = Settings(
    lr=2e-3, matrix_lr=4e-3, warmup=200, decay=0.999, spread=0.7, flow_frames=2.0,
    own_from=0.15, own_share=0.5, own_steps=3, voice=(10, 40),
)  # fmt: skip
ADAPTING = Settings(
    lr=1.5e-3, matrix_lr=1.5e-3, warmup=40, decay=0.995, spread=0.3, flow_frames=0.6,
    own_from=0.12, own_share=0.4, own_steps=2, voice=(10, 18),
)  # fmt: skip
GOING_ON = dataclasses.replace(ADAPTING, lr=1e-3, matrix_lr=1e-3)  # after `adapt`, by `unpack`


@torch.no_grad()
def evaluate(model: LanguageModel, batches: list[Batch]) -> dict[str, float]:
    """Held-out, teacher-forced: semantic accuracy, END recall, normalized acoustic errors."""
    sums: dict[str, list[float]] = {}
    for batch in batches:
        hidden, guided = model.hidden(batch)
        logits = model.flow.semantic_logits(hidden).float()
        hit = logits.argmax(-1) == batch.semantic
        frames = hidden[~batch.is_end].float()
        mean = model.expectation(frames, batch.semantic[~batch.is_end])
        sample = model.flow.sample(frames, torch.randn_like(batch.latents)).float().clamp(-1, 1)
        variance = batch.latents.var(dim=0).sum()
        row = {
            "accuracy": hit[~batch.is_end].float().mean(),
            "end": hit[batch.is_end].float().mean(),
            "false_end": (logits[~batch.is_end].argmax(-1) == END_VALUE).float().mean(),
            "error": (sample - batch.latents).square().mean(0).sum() / variance,
            "mean_error": (mean - batch.latents).square().mean(0).sum() / variance,
            "hit": guided["hit"],
            "cross_entropy": F.cross_entropy(logits, batch.semantic),
        }
        for name, value in row.items():
            sums.setdefault(name, []).append(float(value))
    return {f"held_{name}": float(np.mean(values)) for name, values in sums.items()}


def train(work: Path, minutes: float, positions: int, device: str) -> None:
    """Stage `lm`: from nothing, about `positions` positions per step; resumes from `work`/lm."""
    torch.manual_seed(11)
    model = LanguageModel(ModelConfig.load(work / "params.json"), FROM_NOTHING)
    _train(work, model, minutes, positions, device)


def adapt(work: Path, minutes: float, positions: int, device: str) -> None:
    """Stage `adapt`: the model of `work`/export goes on with the codes of `work`/locked.

    One that `unpack` wrote knows these codes already and begins with new probes.
    """
    torch.manual_seed(11)
    folder = work / "locked"
    scale = torch.from_numpy(CodeSpace.load().scale).sqrt()
    importance = torch.cat([torch.ones(2), scale / scale.mean()])
    unpacked, begun = work / "export" / "language.pt", (folder / "lm" / "latest.pt").exists()
    config = ModelConfig.load(folder / "params.json")
    settings = GOING_ON if unpacked.exists() else ADAPTING
    model = LanguageModel(config, settings, importance)
    if unpacked.exists() and not begun:
        model.load_state_dict(torch.load(unpacked, weights_only=True), strict=False)
        data = Utterances(folder, device)
        teach_probes(model.to(device), Sampler(data, config, positions, settings.voice, seed=0))
    elif not begun:
        model.load_state_dict(carried(work), strict=False)
    _train(folder, model, minutes, positions, device, seed_of(unpacked))


def seed_of(unpacked: Path) -> int:
    """Another seed for every checkpoint: a model that goes on would be shown the same batches again."""
    if not unpacked.exists():
        return 0
    weights = torch.load(unpacked, weights_only=True)
    return zlib.crc32(weights["backbone.norm.weight"].float().numpy().tobytes())


def teach_probes(model: LanguageModel, sampler: Sampler) -> None:
    """Train what reads the hidden states, and nothing else: a target drawn towards an expectation that
    has learned nothing yet would spoil the flow head."""
    read = []
    with torch.no_grad(), torch.autocast(sampler.data.device, dtype=torch.bfloat16):
        for _ in range(PROBE_BATCHES):
            batch = sampler.batch()
            here = ~batch.is_end
            hidden = model.hidden(batch)[0][here].float()
            read.append((hidden, batch.semantic[here], batch.latents, batch.phonemes))
    hidden, codes, latents, phonemes = (torch.cat(parts) for parts in zip(*read, strict=True))
    probes = [*model.phoneme_probe.parameters(), *model.expectation.parameters()]
    optimizer = torch.optim.AdamW(probes, lr=PROBE_LR, betas=(0.9, 0.98), weight_decay=0.0)
    for step in range(PROBE_STEPS):
        optimizer.param_groups[0]["lr"] = PROBE_LR * (1 - step / PROBE_STEPS)
        some = torch.randint(len(hidden), (PROBE_FRAMES,), device=hidden.device)
        said = model.phoneme_probe(hidden[some]).view(-1, PHONEMES)
        expected = model.expectation(hidden[some], codes[some])
        loss = F.cross_entropy(said, phonemes[some].flatten())
        loss = loss + model.distance(expected, latents[some])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()


def _train(
    work: Path, model: LanguageModel, minutes: float, positions: int, device: str, seed: int = 0
) -> None:
    model, settings = model.to(device), model.settings
    data = Utterances(work, device)
    optimizers = Optimizers(model, settings.lr, settings.matrix_lr, settings.warmup)
    session = Session(work / "lm", model, optimizers, minutes, settings.decay)
    config = ModelConfig.load(work / "params.json")
    sampler = Sampler(data, config, positions, settings.voice, seed=seed + session.number)
    held = sampler.held_out_batches(4)
    while session.progress < 1:
        batch = sampler.batch()
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
            if session.progress > settings.own_from and torch.rand(()) < settings.own_share:
                batch = model.own_history(batch)
            terms = model.losses(batch)
        loss = torch.stack([WEIGHTS[name] * value for name, value in terms.items()]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        session.step()
        if session.number % 50 == 0:
            session.log(**{name: value.item() for name, value in terms.items()})
        if session.number % EVALUATE_EVERY == 0:
            evaluate_average(model, session, held, device)
    evaluate_average(model, session, held, device)
    session.save()


def evaluate_average(
    model: LanguageModel, session: Session, held: list[Batch], device: str
) -> None:
    """Log `evaluate` of the moving average."""
    current = {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(session.average)
    with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
        session.log(**evaluate(model, held))
    model.load_state_dict(current)

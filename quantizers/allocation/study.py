"""`python -m flowvox.quantizers.allocation.study CHECKPOINT`: what the allocation rests on, measured.

1. Do estimates rank as measurements do? Two candidates of every group, both ways.
2. Does the loss predict what happens when the model speaks freely, fed back its own errors? Backbone
   and flow head each in several formats; every such model speaks by itself, and the unquantized one is
   asked how unlikely it finds what it hears. Mixtures of KLD and latent error are ranked against that.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from flowvox.config import END_VALUE, SPECIAL_CODES
from flowvox.noise import frame_noise
from flowvox.quantizers.allocation.candidates import MATRICES, UNIFORM, label, rule_of
from flowvox.quantizers.allocation.damage import Damage, Yardstick
from flowvox.quantizers.allocation.encoder import Encoder
from flowvox.quantizers.allocation.estimate import SPEECH, Measured, SecondOrder, trajectories
from flowvox.quantizers.allocation.groups import all_groups
from flowvox.quantizers.allocation.ledger import default_folder as ledger_folder
from flowvox.quantizers.allocation.problem import Problem, Request
from flowvox.quantizers.allocation.sensitivity import Change, Measurer, changed
from flowvox.quantizers.calibration.speech import Spoken
from flowvox.quantizers.calibration.texts import Line
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.generate import generate, teacher_forced
from flowvox.reference.model import VoxtralTTS, load_model
from flowvox.reference.speak import embed_prompt
from flowvox.source import ModelSource

FORMATS = ("float16", "int4/32", "int4/128", "int2/64 zp")
RANKED = ("int8/32", "int4/32")
UTTERANCES, FRAMES = 6, 48
SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)  # of the KLD in the loss


def rank_agreement(problem: Problem, source_hash: str, folder: Path) -> list[str]:
    """Spearman's rank correlation of estimates with measurements, and their ratios."""
    measured = Measured(problem, source_hash, folder)
    estimated = SecondOrder(problem, source_hash, folder, speech=SPEECH["measured"])
    places = [
        (g, i)
        for g, rules in enumerate(problem.rules)
        for i, rule in enumerate(rules)
        if label(rule) in RANKED
    ]
    pairs = [(measured.part(g, i), estimated.part(g, i)) for g, i in places]
    lines = []
    for figure in ("kld", "latent"):
        both = np.array([[getattr(x, figure) for x in pair] for pair in pairs])
        both = both[(both > 0).all(axis=1)]
        low, middle, high = np.percentile(both[:, 1] / both[:, 0], [5, 50, 95])
        lines.append(
            f"{figure}: {len(both)} candidates, Spearman {spearmanr(both).statistic:.3f}, estimate / "
            f"measurement {middle:.2f} (90 % within {low:.2f} ... {high:.2f})"
        )
    return lines


def free_running(source: ModelSource, source_hash: str) -> list[str]:
    """How well mixtures of KLD and latent error rank models by what they say on their own."""
    model, encoder = load_model(source), Encoder(source, source_hash)
    spoken = trajectories(source, *SPEECH["measured"])
    measurer = Measurer(model, source, spoken)
    lines = [one.line for one in spoken[:UTTERANCES]]
    found: list[tuple[Damage, float]] = []
    truth = _surprise(model, source, _speak(model, source, lines))
    rows = ["backbone   flow        KLD      latent   surprise"]
    reference = None
    for backbone, flow in itertools.product(FORMATS, FORMATS):
        changes = list(_changes(source, encoder, {"backbone": backbone, "flow": flow}))
        if not changes:
            continue
        damage = measurer.damage(changes)
        with changed(model, changes):
            said = _speak(model, source, lines)
        surprise = _surprise(model, source, said) - truth
        found.append((damage, surprise))
        if backbone == flow == label(UNIFORM):
            reference = damage
        rows.append(
            f"{backbone:10} {flow:10} {damage.kld:.5f}  {damage.latent:.4f}   {surprise:+.4f}"
        )
    assert reference is not None
    yardstick = Yardstick(reference.kld, reference.latent)
    for share in SHARES:
        losses = [
            share * d.kld / yardstick.kld + (1 - share) * d.latent / yardstick.latent
            for d, _ in found
        ]
        rank = spearmanr(losses, [surprise for _, surprise in found]).statistic
        rows.append(f"KLD counts {share:.0%}: Spearman with surprise {rank:.3f}")
    return rows


def _changes(source: ModelSource, encoder: Encoder, formats: dict[str, str]) -> Iterator[Change]:
    rules = {label(rule): rule for rule in MATRICES}
    for group in all_groups(source.config):
        rule = rules.get(formats.get(group.component, ""))
        if rule is not None and rule.format != "float16" and group.layer is not None:
            ours = rule_of(group, rule, "search")
            yield Change(group, ours, {n: encoder.dequantized(n, ours) for n in group.tensors})


def _speak(model: VoxtralTTS, source: ModelSource, lines: Sequence[Line]) -> list[Spoken]:
    said = []
    for line in lines:
        prompt = embed_prompt(model, source, line.text, line.voice)
        noise = frame_noise(line.seed, FRAMES, source.config.codec.acoustic_dim)
        made = generate(model, prompt, torch.from_numpy(noise))
        said.append(Spoken(line, made.codes, made.ended))
    return said


def _surprise(model: VoxtralTTS, source: ModelSource, said: Sequence[Spoken]) -> float:
    """Mean of -log p of the semantic codes and endings that were said, in nats per frame."""
    total = count = 0.0
    for one in said:
        prompt = embed_prompt(model, source, one.line.text, one.line.voice)
        frames = len(one.codes)
        noise = frame_noise(one.line.seed, frames + 1, source.config.codec.acoustic_dim)
        forced = teacher_forced(model, prompt, torch.from_numpy(one.codes), torch.from_numpy(noise))
        log = torch.log_softmax(forced.semantic_logits.double(), -1)
        values = [*(one.codes[:, 0] + SPECIAL_CODES).tolist(), END_VALUE]
        kept = frames + one.ended
        total -= float(log[torch.arange(kept), torch.tensor(values[:kept])].sum())
        count += kept
    return total / max(count, 1)


def main() -> None:
    """Print both parts for the checkpoint on the command line."""
    parser = argparse.ArgumentParser(description="What the bit allocation rests on, measured.")
    parser.add_argument("checkpoint", type=Path)
    source = Checkpoint.open(parser.parse_args().checkpoint)
    source_hash, folder = source.source_hash(), ledger_folder()
    problem = Problem(source, Request(), "gptq")
    for line in (*rank_agreement(problem, source_hash, folder), *free_running(source, source_hash)):
        print(line)


if __name__ == "__main__":
    main()

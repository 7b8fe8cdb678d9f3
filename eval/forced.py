"""The teacher-forced level: the same codes and the same noise through two models, frame by frame.

Free-running speech diverges after a few frames even between two 16-bit builds; here every frame starts
from the same history, so that what differs is the model. Names and definitions of the figures on the
semantic logits follow llama.cpp's perplexity tool (KL divergence in nats, "RMS delta p", "same top p").
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowvox.config import EMPTY_VALUE, END_VALUE
from flowvox.eval.artifact import Artifact, Codes, Floats
from flowvox.eval.statistics import Rows

BINS = 10  # of the distance to the rounding boundary, 0 to half a level


@dataclass(frozen=True)
class Truth:
    """What the baseline says over codes that it spoke itself.

    hidden: [F + 1, dim]; logits: [F + 1, rows]; noise, latents: [F + 1, 36]; states, velocities:
    [steps, F + 1, 36], the Euler path that led to the latents; ended: END follows the last frame.
    """

    codes: Codes
    ended: bool
    hidden: Floats
    logits: Floats
    noise: Floats
    latents: Floats
    states: Floats
    velocities: Floats


def record_truth(
    artifact: Artifact, text: str, voice: str, codes: Codes, ended: bool, noise: Floats
) -> Truth:
    """Run the baseline over `codes` [F, 37]; noise: [F + 1, 36]."""
    hidden = artifact.hidden_states(text, voice, codes)
    x, states, velocities = noise, [], []
    for time, step in _grid(artifact.sampling.steps):
        velocity = artifact.velocity(hidden, x, time)
        states.append(x)
        velocities.append(velocity)
        x = x + np.float32(step) * velocity
    return Truth(
        codes, ended, hidden, artifact.semantic_logits(hidden), noise,
        artifact.latents(hidden, noise), np.stack(states), np.stack(velocities),
    )  # fmt: skip


def compare(
    artifact: Artifact, text: str, voice: str, truth: Truth, *, one_basis: bool = True
) -> dict[str, Rows]:
    """Rows of every teacher-forced metric for one utterance (see flowvox.eval.metrics).

    one_basis: whether hidden states mean the same in both; where not they are not compared.
    """
    hidden = artifact.hidden_states(text, voice, truth.codes)
    rows = compare_logits(artifact.semantic_logits(hidden), truth.logits, truth.ended)
    levels = artifact.config.codec.acoustic_codebook_size
    rows |= compare_latents(artifact.latents(hidden, truth.noise), truth.latents, levels)
    if one_basis:
        own_flow = artifact.latents(truth.hidden, truth.noise)
        rows["fsq_exact_flow_only"] = _agreement(own_flow, truth.latents, levels, 0).mean(-1)
        errors = hidden.astype(np.float64) - truth.hidden
        rows["hidden_error"] = _energies(errors, truth.hidden).sum(0, keepdims=True)
    steps = []
    for k, (time, _) in enumerate(_grid(len(truth.states))):
        error = artifact.velocity(hidden, truth.states[k], time) - truth.velocities[k]
        steps.append(_energies(error, truth.velocities[k]).sum(0))
    rows["velocity_error"] = np.sum(steps, axis=0, keepdims=True)
    rows["velocity_error_per_step"] = np.stack(steps)[None]
    return rows


def compare_logits(ours: Floats, baseline: Floats, ended: bool) -> dict[str, Rows]:
    """Figures on the semantic logits, [N, rows] each; EMPTY can never win and takes no part."""
    base = _log_softmax(baseline[:, EMPTY_VALUE + 1 :])
    log = _log_softmax(ours[:, EMPTY_VALUE + 1 :])
    pick, here = base.argmax(-1), np.arange(len(base))
    end = END_VALUE - EMPTY_VALUE - 1
    margins = [_end_margin(x, end) for x in (log, base)]
    says_end, should_end = log.argmax(-1) == end, pick == end
    rows = {
        "kld": (np.exp(base) * (base - log)).sum(-1),
        "same_top_p": (log.argmax(-1) == pick).astype(np.float64),
        "delta_p": np.exp(log[here, pick]) - np.exp(base[here, pick]),
        # Not "above": NaN, which is above nothing, has the last place.
        "baseline_rank": 1.0 + (~(log <= log[here, pick][:, None])).sum(-1),
        "end_margin": margins[0] - margins[1],
        "false_end": (says_end & ~should_end).astype(np.float64),
    }
    if ended:
        rows["missed_end"] = np.array([float(not says_end[-1])])
    return rows


def compare_latents(ours: Floats, baseline: Floats, levels: int) -> dict[str, Rows]:
    """Figures on the acoustic latents, [N, 36] each, and on the FSQ levels they round to."""
    exact, near = (_agreement(ours, baseline, levels, distance) for distance in (0, 1))
    inside = np.clip(baseline.astype(np.float64), -1, 1)
    energy = _energies(np.clip(ours.astype(np.float64), -1, 1) - inside, inside)
    scaled = _scaled(baseline, levels)
    distance = 0.5 - np.abs(scaled - np.rint(scaled))
    index = np.minimum((distance * 2 * BINS).astype(int), BINS - 1)
    # Per utterance: how many latents lie in each bin, and how many of those changed their level.
    counts = np.bincount(index.ravel(), minlength=BINS)
    flipped = np.bincount(index.ravel(), weights=1 - exact.ravel(), minlength=BINS)
    return {
        "latent_snr": energy[:, ::-1],
        "fsq_exact": exact.mean(-1),
        "fsq_within_one": near.mean(-1),
        "fsq_exact_per_codebook": exact.mean(0)[None],
        "boundary": np.stack([counts, flipped], axis=-1)[None].astype(np.float64),
    }


def _grid(steps: int) -> list[tuple[float, float]]:
    """(time, step) of Euler's method from 0 to 1."""
    edges = np.linspace(0.0, 1.0, steps + 1)
    return [(float(a), float(b - a)) for a, b in itertools.pairwise(edges)]


def _log_softmax(logits: Floats) -> Rows:
    x = logits.astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(-1, keepdims=True)))


def _end_margin(log: Rows, end: int) -> Rows:
    """How far END is ahead of the best other value, in nats: [N]."""
    others = np.delete(log, end, axis=-1).max(-1)
    return np.asarray(log[:, end] - others)


def _scaled(latents: Floats, levels: int) -> Rows:
    return (np.clip(latents.astype(np.float64), -1, 1) + 1) / 2 * (levels - 1)


def _agreement(ours: Floats, baseline: Floats, levels: int, distance: int) -> Rows:
    """1 where both round to levels at most `distance` apart: [N, 36]."""
    gap = np.abs(np.rint(_scaled(ours, levels)) - np.rint(_scaled(baseline, levels)))
    return (gap <= distance).astype(np.float64)


def _energies(error: NDArray[np.floating], signal: NDArray[np.floating]) -> Rows:
    """(error energy, signal energy) per row: [N, 2]."""
    pair = [np.square(x.astype(np.float64)).sum(-1) for x in (error, signal)]
    return np.stack(pair, axis=-1)

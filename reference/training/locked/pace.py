"""How fast each weight of a computed decoder may move.

A step that a learned weight hardly feels undoes what was computed: gates are steep, and the constant
that the places are told by is 300 times as large as a coefficient. But most of what makes the decoder
one is silent yet: attention at 25 Hz and above, and the feed-forwards' units that `construct` left
over. They learn at the full rate beside it; from what they add comes nearly all that training gives.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowvox.reference.training.locked.construct import Units
from flowvox.reference.training.locked.lapped import COEFFICIENTS
from flowvox.reference.training.optim import Pace

FRONT = 0.25  # of the first stage, which has been taught
COMPUTED = 0.02  # of units and convolutions that were computed
OUTPUT = 0.05  # of how the coefficients sound; what else is in the stream is not to be heard


def paces(decoder: nn.ModuleDict, filled: list[Units]) -> dict[str, Pace]:
    """Of the parameters of `decoder` (`decoder_parts`) that are trained, by name.

    filled: what `construct` returned. Norms and the scales of branches stay what they are.
    """
    units = {id(each.ffn): each for each in filled}
    found: dict[str, Pace] = {}
    for name, module in decoder.named_modules():
        if id(module) in units:
            found |= _units(name, units[id(module)])
    for name, parameter in decoder.named_parameters():
        if name.startswith(("decoder_blocks.0.", "decoder_blocks.1.")):
            found[name] = FRONT
        elif name.endswith("original1"):  # the direction of a kernel; its length stays
            found[name] = _heard(parameter) if name.startswith("output_proj") else COMPUTED
        elif ".attention.w" in name:
            found[name] = 1.0
    return found


def _units(name: str, units: Units) -> dict[str, Pace]:
    """Of a feed-forward's matrices: w1 and w3 have a row for each unit, w2 a column."""
    pace = torch.ones(units.ffn.w1.out_features)
    pace[: units.used] = COMPUTED
    return {
        f"{name}.w1.weight": pace[:, None],
        f"{name}.w3.weight": pace[:, None],
        f"{name}.w2.weight": pace[None],
    }


def _heard(kernel: Tensor) -> Tensor:
    """[1, dim, 1]: of a kernel [PATCH, dim, k] that reads coefficients, and more that it should not."""
    pace = torch.zeros(kernel.shape[1])
    pace[:COEFFICIENTS] = OUTPUT
    return pace[None, :, None]

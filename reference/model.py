"""The whole reference model, loaded from a checkpoint one tensor at a time."""

from __future__ import annotations

import torch
from torch import nn

from flowvox.config import ModelConfig
from flowvox.reference.backbone import Backbone
from flowvox.reference.codec import Codec
from flowvox.reference.flow import FlowHead
from flowvox.source import ModelSource
from flowvox.tensors import CODEC, FLOW, WeightSource


class VoxtralTTS(nn.Module):
    """Backbone, flow head and codec. Checkpoint names are part prefix + parameter name."""

    PREFIXES = {"backbone": "", "flow": FLOW, "codec": CODEC}  # noqa: RUF012

    def __init__(self, config: ModelConfig, *, encoder: bool) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.flow = FlowHead(config)
        self.codec = Codec(config.codec, encoder=encoder)

    def checkpoint_parameters(self) -> dict[str, nn.Parameter]:
        """Every parameter under its name in the checkpoint."""
        return {
            prefix + name: parameter
            for part, prefix in self.PREFIXES.items()
            for name, parameter in self.get_submodule(part).named_parameters()
        }


def load_weights(model: VoxtralTTS, source: WeightSource) -> None:
    """Copy every tensor of the checkpoint into the model, converting to the model's dtype."""
    with torch.no_grad():
        for name, parameter in model.checkpoint_parameters().items():
            parameter.copy_(torch.from_numpy(source.read(name)))


def load_model(checkpoint: ModelSource, dtype: torch.dtype = torch.float32) -> VoxtralTTS:
    """The reference model with the checkpoint's weights, in `dtype`, for inference.

    Raises CheckpointError for weights that are missing, misshapen or not finite.
    """
    with torch.device("meta"):
        model = VoxtralTTS(checkpoint.config, encoder=checkpoint.has_encoder)
    model.to(dtype)
    model.to_empty(device="cpu")
    model.backbone.code_offsets.copy_(torch.tensor(checkpoint.config.code_offsets))
    load_weights(model, checkpoint)
    return model.eval().requires_grad_(False)

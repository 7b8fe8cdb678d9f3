"""The neural codec: codes -> 24 kHz audio, and audio -> codes where the encoder is present.

Format notes B.8 (decoder) and C (encoder). Blocks are numbered as in the checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowvox.config import CodecConfig
from flowvox.reference.codec_layers import CausalConv1d, CausalConvTranspose1d, CodecTransformer
from flowvox.reference.flow import quantize_latents

USAGE_FLOOR = 1e-5


class SemanticCodebook(nn.Module):
    """EMA statistics of the semantic centroids: centroid = embedding_sum / cluster_usage."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.cluster_usage = nn.Parameter(torch.ones(size), requires_grad=False)
        self.embedding_sum = nn.Parameter(torch.zeros(size, dim), requires_grad=False)

    def centroids(self) -> Tensor:
        """[size, dim], divided in at least float32."""
        return self.embedding_sum / self.cluster_usage.clamp(min=USAGE_FLOOR)[:, None]


class Quantizer(nn.Module):
    """Latents [B, semantic_dim + acoustic_dim, T] <-> codes [B, T, 1 + acoustic_dim]."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.levels = config.acoustic_codebook_size
        self.semantic_dim = config.semantic_dim
        self.semantic_codebook = SemanticCodebook(
            config.semantic_codebook_size, config.semantic_dim
        )

    def decode(self, codes: Tensor) -> Tensor:
        """Codes without the +2 offset -> latents."""
        centroids = self.semantic_codebook.centroids()
        semantic = centroids[codes[..., 0]]
        # c * 2 / (levels - 1) - 1 in this order: c * 0.1 - 1 differs by an ulp.
        acoustic = codes[..., 1:].to(centroids.dtype) * 2 / (self.levels - 1) - 1
        return torch.cat([semantic, acoustic], dim=-1).transpose(1, 2)

    def encode(self, latents: Tensor) -> Tensor:
        """Nearest centroid (L2), and tanh + half-to-even rounding for the acoustic part."""
        steps = latents.transpose(1, 2)
        semantic, acoustic = steps[..., : self.semantic_dim], steps[..., self.semantic_dim :]
        distance = torch.cdist(
            semantic,
            self.semantic_codebook.centroids(),
            compute_mode="donot_use_mm_for_euclid_dist",
        )
        nearest = distance.argmin(dim=-1, keepdim=True)
        return torch.cat([nearest, quantize_latents(acoustic.tanh(), self.levels)], dim=-1)


class Codec(nn.Module):
    """Decoder always, encoder where the checkpoint has one (`encoder=True`)."""

    def __init__(self, config: CodecConfig, *, encoder: bool) -> None:
        super().__init__()
        self.config = config
        self.quantizer = Quantizer(config)
        self.decoder_blocks = nn.ModuleList()
        channels = config.latent_dim
        for stage in config.decoder_stages:
            if stage.conv_block is not None:
                self.decoder_blocks.append(
                    CausalConv1d(channels, config.dim, stage.kernel)
                    if stage.stride == 1
                    else CausalConvTranspose1d(channels, config.dim, stage.kernel, stage.stride)
                )
                channels = config.dim
            self.decoder_blocks.append(CodecTransformer(config, stage.n_layers, stage.window))
        self.output_proj = CausalConv1d(
            config.dim, config.patch_size, config.patch_kernel, mode="reflect"
        )
        self.input_proj: CausalConv1d | None = None
        if encoder:
            self.input_proj = CausalConv1d(
                config.patch_size, config.dim, config.patch_kernel, mode="reflect"
            )
            self.encoder_blocks = nn.ModuleList()
            last = config.encoder_stages[-1]
            for stage in config.encoder_stages:
                self.encoder_blocks.append(CodecTransformer(config, stage.n_layers, stage.window))
                if stage.conv_block is not None:
                    out = config.latent_dim if stage is last else config.dim
                    self.encoder_blocks.append(
                        CausalConv1d(config.dim, out, stage.kernel, stage.stride)
                    )

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Latents [B, latent_dim, T] -> samples [B, T * frame_samples]."""
        x = latents
        for block in self.decoder_blocks:
            x = block(x)
        return self.output_proj(x).transpose(1, 2).flatten(1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [B, T, 37] without the +2 offset -> samples [B, T * frame_samples], not clipped."""
        return self.decode_latents(self.quantizer.decode(codes))

    def encode_latents(self, samples: Tensor) -> Tensor:
        """Samples [B, n] -> latents [B, latent_dim, ceil(n / frame_samples)], before tanh.

        Raises RuntimeError when the checkpoint has no encoder; callers check first.
        """
        if self.input_proj is None:
            raise RuntimeError("this codec was built without an encoder")
        patch = self.config.patch_size
        padded = F.pad(samples, (0, -samples.shape[-1] % patch))
        x: Tensor = self.input_proj(padded.view(len(padded), -1, patch).transpose(1, 2))
        for block in self.encoder_blocks:
            x = block(x)
        return x

    def encode(self, samples: Tensor) -> Tensor:
        """Samples [B, n] at 24 kHz -> codes [B, ceil(n / frame_samples), 37] without the +2."""
        return self.quantizer.encode(self.encode_latents(samples))

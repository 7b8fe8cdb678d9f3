"""The torch codec encoder against the oracle, and the errors that ports can make (format C)."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from tests.oracle import codec as decoder
from tests.oracle import encoder as oracle
from tests.oracle.compare import EXACT, NOTICED, Pair, difference, normal
from tests.oracle.layers import Array


def torch_latents(pair: Pair, samples: Array) -> Array:
    return pair.model.codec.encode_latents(torch.from_numpy(samples)[None])[0].T.numpy()


LENGTHS = [1, 11, 12, 13, 71, 72, 73, 84, 85, 96, 97, 200, 333]


@pytest.mark.parametrize("length", LENGTHS)
def test_latents_and_codes_of_any_length(pair: Pair, length: int) -> None:
    """Micro: patches of 12 and a kernel of 7, so up to 72 samples are zero-extended first."""
    samples, codec = normal((length,), length), pair.config.codec
    expected = oracle.encode_latents(samples, pair.tensors, codec)
    assert expected.shape == (-(-length // codec.frame_samples), codec.latent_dim)
    assert difference(torch_latents(pair, samples), expected) < EXACT
    codes = pair.model.codec.encode(torch.from_numpy(samples)[None])[0]
    assert codes.tolist() == oracle.encode(samples, pair.tensors, codec).tolist()


def test_windows_halve_with_the_rate(micro: Pair) -> None:
    stages = oracle.encoder_stages(micro.config.codec)
    assert [stage.window for stage in stages] == [16, 8, 4, 2]


right_patches = oracle.patches


def no_right_pad(x: Array, kernel: int, stride: int) -> Array:
    """Drops what does not fill the stride."""
    return decoder.pad_replicate(x, kernel - stride)


def zero_right_pad(x: Array, kernel: int, stride: int) -> Array:
    padded = decoder.pad_replicate(x, kernel - stride)
    return np.concatenate([padded, np.zeros((-len(x) % stride, x.shape[1]))])


def left_pad_of_kernel_minus_one(x: Array, kernel: int, stride: int) -> Array:
    return decoder.pad_replicate(x, kernel - 1, -len(x) % stride)


def reflect_stage_pad(x: Array, kernel: int, stride: int) -> Array:
    return decoder.pad_replicate(decoder.pad_reflect(x, kernel - stride), 0, -len(x) % stride)


def samples_before_patches(samples: Array, size: int) -> Array:
    patches = right_patches(samples, size)
    return patches.reshape(size, -1).T


def silence_first(samples: Array, size: int) -> Array:
    return right_patches(np.concatenate([np.zeros(-len(samples) % size), samples]), size)


right_stages = oracle.encoder_stages


def same_window(codec: Any) -> list[decoder.Stage]:
    return [stage._replace(window=codec.window) for stage in right_stages(codec)]


def reflect_without_extension(x: Array, left: int) -> Array:
    """Bounces back and forth in a short signal, as numpy's reflect does."""
    return np.pad(x, ((left, 0), (0, 0)), mode="reflect")


LONG, RAGGED, SHORT = 420, 365, 50
ERRORS: dict[str, tuple[int, ModuleType, str, Any]] = {
    "ragged end dropped": (RAGGED, oracle, "stage_pad", no_right_pad),
    "ragged end padded with zeros": (RAGGED, oracle, "stage_pad", zero_right_pad),
    "left pad of kernel - 1": (LONG, oracle, "stage_pad", left_pad_of_kernel_minus_one),
    "reflect pad of the stages": (LONG, oracle, "stage_pad", reflect_stage_pad),
    "replicate pad at the input": (LONG, oracle, "input_pad", decoder.pad_replicate),
    "short input without zero extension": (SHORT, oracle, "input_pad", reflect_without_extension),
    "patches transposed": (LONG, oracle, "patches", samples_before_patches),
    "silence before, not after": (RAGGED, oracle, "patches", silence_first),
    "one window for all rates": (LONG, oracle, "encoder_stages", same_window),
}


@pytest.mark.parametrize("error", ERRORS)
def test_port_error_is_noticed(micro: Pair, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    length, *mutation = ERRORS[error]
    monkeypatch.setattr(*mutation)
    samples = normal((length,), length)
    wrong = oracle.encode_latents(samples, micro.tensors, micro.config.codec)
    assert difference(torch_latents(micro, samples), wrong) > NOTICED


CODE_ERRORS: dict[str, tuple[str, Any]] = {
    "no tanh": ("squash", lambda x: x),
    "nearest by inner product": ("nearest", lambda v, points: int((points @ v).argmax())),
}


@pytest.mark.parametrize("error", CODE_ERRORS)
def test_quantizer_error_is_noticed(
    micro: Pair, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle, *CODE_ERRORS[error])
    samples = normal((1900,), 14)
    codes = micro.model.codec.encode(torch.from_numpy(samples)[None])[0].numpy()
    assert (codes != oracle.encode(samples, micro.tensors, micro.config.codec)).mean() > 0.02


def test_encoder_is_causal_up_to_the_frame(micro: Pair) -> None:
    """Whole frames in front do not depend on what follows."""
    samples = normal((6 * micro.config.codec.frame_samples,), 15)
    whole = torch_latents(micro, samples)
    part = torch_latents(micro, samples[: 4 * micro.config.codec.frame_samples])
    assert difference(part, whole[:4]) < EXACT

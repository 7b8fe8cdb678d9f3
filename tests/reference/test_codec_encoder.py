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


@pytest.mark.parametrize("ragged", [0, 5])
@pytest.mark.parametrize("patches", [1, 4, 5, 6, 7, 8, 17, 24, 33])
def test_latents_and_codes_of_any_length(pair: Pair, patches: int, ragged: int) -> None:
    """With a kernel of 7, up to 6 patches are zero-extended before the reflection."""
    codec = pair.config.codec
    samples = normal((patches * codec.patch_size - ragged,), patches)
    expected = oracle.encode_latents(samples, pair.tensors, codec)
    assert expected.shape == (-(-len(samples) // codec.frame_samples), codec.latent_dim)
    assert difference(torch_latents(pair, samples), expected) < EXACT
    codes = pair.model.codec.encode(torch.from_numpy(samples)[None])[0]
    assert codes.tolist() == oracle.encode(samples, pair.tensors, codec).tolist()


def test_a_single_sample_is_a_frame(pair: Pair) -> None:
    expected = oracle.encode_latents(np.ones(1), pair.tensors, pair.config.codec)
    assert len(expected) == 1
    assert difference(torch_latents(pair, np.ones(1)), expected) < EXACT


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


LONG, RAGGED, SHORT = 35.0, 30.5, 4.2  # patches: no stage is even; ends inside a patch; below 7
ERRORS: dict[str, tuple[float, ModuleType, str, Any]] = {
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
    patches, *mutation = ERRORS[error]
    monkeypatch.setattr(*mutation)
    samples = normal((int(patches * micro.config.codec.patch_size),), 14)
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
    samples = 3 * normal((20 * micro.config.codec.frame_samples,), 14)
    codes = micro.model.codec.encode(torch.from_numpy(samples)[None])[0].numpy()
    wrong = oracle.encode(samples, micro.tensors, micro.config.codec)
    assert (codes != wrong).sum() > 3


def test_encoder_is_causal_up_to_the_frame(micro: Pair) -> None:
    """Whole frames in front do not depend on what follows."""
    samples = normal((6 * micro.config.codec.frame_samples,), 15)
    whole = torch_latents(micro, samples)
    part = torch_latents(micro, samples[: 4 * micro.config.codec.frame_samples])
    assert difference(part, whole[:4]) < EXACT

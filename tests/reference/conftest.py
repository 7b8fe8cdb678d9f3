"""Checkpoints in both spellings, the torch reference and the oracle, made once per session."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from tests.oracle.compare import Pair, load_pair

from flowvox.reference.random_checkpoint import write_random_checkpoint

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def micro(random_micro: Path) -> Pair:
    """The micro model of tests/conftest.py."""
    return load_pair(random_micro)


@pytest.fixture(scope="session")
def uncommon(random_micro: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """What the format allows and the published model does not use.

    A codec stage without a conv, odd kernels, a stride of 4, heads wider than the model, 5 ALiBi
    heads, as many key as query heads, an even number of levels, other eps and theta.
    """
    params = copy.deepcopy(json.loads((random_micro / "params.json").read_text("utf-8")))
    params |= {"n_kv_heads": 6, "norm_eps": 0.02, "rope_theta": 500.0}
    audio = params["multimodal"]["audio_model_args"]
    audio |= {"acoustic_codebook_size": 6, "n_acoustic_codebook": 3}
    audio["acoustic_transformer_args"] |= {"n_layers": 1, "n_heads": 4, "n_kv_heads": 1}
    params["multimodal"]["audio_tokenizer_args"] |= {
        "acoustic_codebook_size": 6,
        "acoustic_dim": 3,
        "pretransform_patch_size": 7,
        "patch_proj_kernel_size": 5,
        "attn_sliding_window_size": 24,
        "dim": 20,
        "head_dim": 6,
        "n_heads": 5,
        "n_kv_heads": 5,
        "norm_eps": 0.05,
        "qk_norm_eps": 0.001,
        "decoder_transformer_lengths_str": "1,2,1,1",
        "decoder_convs_kernels_str": "1,5,1,7",
        "decoder_convs_strides_str": "1,2,1,4",
        "encoder_transformer_lengths_str": "1,1,2,1",
        "encoder_convs_kernels_str": "5,1,6,1",
        "encoder_convs_strides_str": "4,1,2,1",
    }
    path = tmp_path_factory.mktemp("uncommon") / "checkpoint"
    write_random_checkpoint(params, path, seed=2)
    return load_pair(path)


@pytest.fixture(scope="session", params=["micro", "uncommon"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Both models in turn."""
    return request.getfixturevalue(request.param)

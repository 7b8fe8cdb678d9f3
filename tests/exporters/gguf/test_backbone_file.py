"""The backbone alone in llama.cpp (`pip install llama-cpp-python`): the reference's hidden states."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from numpy.typing import NDArray

from flowvox.exporters.gguf.backbone_file import export_backbone
from flowvox.recipe import load_recipe
from flowvox.reference.checkpoint import Checkpoint
from flowvox.reference.model import load_model
from flowvox.reference.speak import embed_prompt

TEXT = "We cannot put off living until we are ready."
Hidden = Callable[[Path, NDArray[np.float32]], NDArray[np.float32]]


@pytest.fixture(scope="module")
def llama_cpp() -> Hidden:
    """(model, embeddings [T, dim]) -> hidden states [T, dim], in float32 throughout."""
    if find_spec("llama_cpp") is None:
        pytest.skip("needs llama-cpp-python")
    import llama_cpp as api

    def run(path: Path, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        count, dim = embeddings.shape
        model = api.llama_model_load_from_file(str(path).encode(), api.llama_model_default_params())
        params = api.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = 256
        params.n_threads = params.n_threads_batch = 1
        params.embeddings, params.pooling_type, params.flash_attn_type = True, 0, 0
        params.type_k = params.type_v = 0  # the cache in float32
        context = api.llama_init_from_model(model, params)
        batch = api.llama_batch_init(count, dim, 1)
        batch.n_tokens = count
        ctypes.memmove(batch.embd, embeddings.ctypes.data, embeddings.nbytes)
        for i in range(count):
            batch.pos[i], batch.n_seq_id[i], batch.logits[i] = i, 1, 1
            batch.seq_id[i][0] = 0
        assert api.llama_decode(context, batch) == 0
        rows = [api.llama_get_embeddings_ith(context, i) for i in range(count)]
        hidden = np.stack([np.ctypeslib.as_array(row, shape=(dim,)).copy() for row in rows])
        api.llama_batch_free(batch)
        api.llama_free(context)
        api.llama_model_free(model)
        return hidden

    return run


@pytest.mark.parametrize(
    ("recipe", "largest"),
    [("fp32", 2e-6), ("fp16", 1e-3), ("q8_0", 0.03), ("q6_k", 0.08), ("q4_k", 0.25)],
)
def test_llama_cpp_has_the_hidden_states_of_the_reference(
    tiny: Path, tmp_path: Path, llama_cpp: Hidden, recipe: str, largest: float
) -> None:
    """With blocks llama.cpp rounds activations to 8 bits, too."""
    source = Checkpoint.open(tiny)
    export_backbone(source, load_recipe(recipe), tmp_path / "x.gguf")
    model = load_model(source)
    prompt = embed_prompt(model, source, TEXT, "heart")
    with torch.inference_mode():
        expected = model.backbone(prompt[None])[0].numpy()
    found = llama_cpp(tmp_path / "x.gguf", prompt.numpy())
    error = np.sqrt(np.square(found - expected).mean() / np.square(expected).mean())
    print(f"{recipe}: {error:.2g}")  # quoted in docs/gguf.md; pytest -s shows it
    assert error < largest


def test_it_holds_the_backbone_and_nothing_else(random_micro: Path, tmp_path: Path) -> None:
    export_backbone(Checkpoint.open(random_micro), load_recipe("fp16"), tmp_path / "x.gguf")
    reader = GGUFReader(tmp_path / "x.gguf")
    names = {tensor.name for tensor in reader.tensors}
    assert len(names) == 2 + 2 * 9
    assert names > {"token_embd.weight", "output_norm.weight", "blk.1.ffn_down.weight"}
    expected = {"general.architecture": "llama", "llama.block_count": 2, "llama.vocab_size": 1400}
    assert {key: reader.fields[key].contents() for key in expected} == expected

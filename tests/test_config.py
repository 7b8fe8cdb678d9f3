"""params.json: the published numbers, and one-line errors that name the key."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowvox.config import ModelConfig
from flowvox.errors import ConfigError, FlowvoxError
from flowvox.tensors import checkpoint_tensors, encoder_tensors
from tests.conftest import published_params


def test_the_published_model_has_the_published_numbers() -> None:
    config = ModelConfig.from_dict(published_params())
    tensors = checkpoint_tensors(config, encoder=False)
    assert len(tensors) == 386
    assert sum(math.prod(shape) for shape in tensors.values()) == 4_002_353_392
    assert len(encoder_tensors(config)) == 114
    assert config.semantic_rows_padded == 8320
    assert config.code_table_rows_padded == 9088
    assert config.code_offsets[:3] == (0, 8194, 8217)
    assert (config.codec.frame_samples, config.frame_rate) == (1920, 12.5)
    assert [stage.window for stage in config.codec.decoder_stages] == [2, 4, 8, 16]
    assert [stage.window for stage in config.codec.encoder_stages] == [16, 8, 4, 2]
    assert len(config.voices) == 20


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [(("model_type",), "voxtral", "model_type"), (("dim",), None, "dim"), (("dim",), -1, "dim"),
     (("dim",), "3072", "dim"), (("n_kv_heads",), 5, "n_kv_heads"), (("norm_eps",), 0, "norm_eps"),
     (("head_dim",), 127, "head_dim"), (("vocab_size",), 10**12, "vocab_size"),
     (("use_biases",), True, "use_biases"), (("multimodal",), [], "multimodal"),
     (("multimodal", "audio_tokenizer_args", "decoder_convs_strides_str"), "1,2,x", "strides"),
     (("multimodal", "audio_tokenizer_args", "decoder_convs_strides_str"), "1,2,2", "stages"),
     (("multimodal", "audio_tokenizer_args", "acoustic_dim"), 35, "n_acoustic_codebook"),
     (("multimodal", "audio_tokenizer_args", "attn_sliding_window_size"), 4, "window")],
)  # fmt: skip
def test_a_bad_key_is_named(path: tuple[str, ...], value: object, named: str) -> None:
    params = published_params()
    target = params
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(ConfigError, match=named) as caught:
        ModelConfig.from_dict(params)
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_replaced_value_is_an_error_or_a_model(data: st.DataObject) -> None:
    params = published_params()
    target = params
    while True:
        key = data.draw(st.sampled_from(sorted(target)))
        if not isinstance(target[key], dict) or data.draw(st.booleans()):
            break
        target = target[key]
    target[key] = data.draw(JSON)
    try:
        checkpoint_tensors(ModelConfig.from_dict(params), encoder=True)
    except FlowvoxError as error:
        assert "\n" not in str(error)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not found"):
        ModelConfig.load(tmp_path)
    for content in (b"{", b"\xff\xfe", b"[1]", json.dumps({"model_type": "other"}).encode()):
        (tmp_path / "params.json").write_bytes(content)
        with pytest.raises(ConfigError):
            ModelConfig.load(tmp_path)

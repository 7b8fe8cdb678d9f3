"""Another engine speaks our files: CrispASR (`pip install crispasr`), a ggml engine of its own.

It differs from the reference in known ways, which are rebuilt here: one more backbone step before the
first frame, its own noise, and in the codec other slopes, shorter windows and reflected pads. Its audio
carries a watermark, and its convolutions compute in float16.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.exporters.gguf.conftest import Convert

from flowvox.exporters.gguf.reader import GgufCheckpoint
from flowvox.reference import codec_layers
from flowvox.reference.generate import decode_audio, generate
from flowvox.reference.model import VoxtralTTS, load_model
from flowvox.reference.speak import embed_prompt

pytestmark = pytest.mark.skipif(find_spec("crispasr") is None, reason="needs crispasr")

TEXT = "We cannot put off living until we are ready."
SEED = 0x12345678ABCDEF01
END = 1
FRAMES = 12  # later ones may differ where the two sum in another order and a code is at a tie
ENVIRONMENT = {
    "CRISPASR_VOXTRAL_TTS_DEBUG": "1",
    "CRISPASR_KV_QUANT": "f32",  # else the cache is float16, and codes flip after some frames
    "OMP_NUM_THREADS": "1",
}


def speak(model: Path, folder: Path) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """(codes [frames, 37] without END and the +2, samples) of the engine."""
    out = folder / "samples.npy"
    command = [sys.executable, str(Path(__file__).with_name("crispasr_run.py")), model, TEXT, out]
    environment = os.environ | ENVIRONMENT
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    frames = re.findall(r"codes=([\d,]+)", done.stderr)
    codes = np.array([[int(code) for code in frame.split(",")[:-1]] for frame in frames])
    return (codes[codes[:, 0] != END] - 2).astype(np.int32), np.load(out)


def engine_noise(frames: int, dim: int) -> NDArray[np.float32]:
    """xorshift64 and Box-Muller, as the engine draws."""
    state, mask = SEED, (1 << 64) - 1

    def uniform() -> np.float32:
        nonlocal state
        state ^= (state << 13) & mask
        state ^= state >> 7
        state ^= (state << 17) & mask
        return np.float32(state >> 11) * np.float32(2.0**-53)

    def normal() -> np.float32:
        radius = np.sqrt(np.float32(-2) * np.log(uniform()))
        return radius * np.cos(np.float32(2 * np.pi) * uniform())

    return np.array([[normal() for _ in range(dim)] for _ in range(frames)], dtype=np.float32)


def reference_codes(model: VoxtralTTS, source: GgufCheckpoint, frames: int) -> NDArray[np.int32]:
    first = min(source.voices())  # by name, as the engine does
    prompt = embed_prompt(model, source, TEXT, first)
    with torch.inference_mode():
        extra = model.backbone.embed_tokens(torch.tensor([source.config.audio_id]))
    noise = torch.from_numpy(engine_noise(frames, source.config.codec.acoustic_dim))
    return generate(model, torch.cat([prompt, extra]), noise).codes


def told(recipe: str, codes: NDArray[np.int32], expected: NDArray[np.int32]) -> None:
    """What docs/gguf.md quotes; `pytest -s` shows it."""
    frames = min(len(codes), len(expected))
    same = (codes[:frames] == expected[:frames]).mean()
    print(f"{recipe}: {len(codes)} frames, {len(expected)} expected, {same:.1%} of the codes equal")


def difference(samples: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Relative, root of the mean square."""
    return float(np.sqrt(np.square(samples - expected).mean() / np.square(expected).mean()))


@pytest.mark.parametrize("recipe", ["fp32", "fp16"])
def test_the_codes_are_those_of_the_reference(
    tiny: Path, convert: Convert, tmp_path: Path, recipe: str
) -> None:
    source = GgufCheckpoint(convert(tiny, recipe))
    codes, _ = speak(source.path, tmp_path)
    expected = reference_codes(load_model(source), source, len(codes) + 1)
    assert len(codes) > FRAMES
    told(recipe, codes, expected)
    np.testing.assert_array_equal(codes[:FRAMES], expected[:FRAMES])


def test_the_codec_is_the_reference_but_for_what_it_does_otherwise(
    tiny: Path, convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = GgufCheckpoint(convert(tiny, "fp32"))
    codes, samples = speak(source.path, tmp_path)
    model = load_model(source)
    print(f"audio differs by {difference(samples, decode_audio(model, codes)):.1%}", end=", ")
    monkeypatch.setattr(
        codec_layers, "alibi_slopes", lambda heads: [2.0 ** -(head + 1) for head in range(heads)]
    )
    for block in model.codec.decoder_blocks:
        if isinstance(block, codec_layers.CodecTransformer):
            block.window -= 1
        elif isinstance(block, codec_layers.CausalConv1d):
            block.mode = "reflect"
    found = difference(samples, decode_audio(model, codes))
    print(f"with its habits by {found:.1%}")
    assert found < 0.02


@pytest.mark.parametrize("recipe", ["q8_0", "q6_k", "q5_k", "q4_k", "q4_0"])
def test_every_format_is_spoken_to_its_end(
    tiny: Path, convert: Convert, tmp_path: Path, recipe: str
) -> None:
    """The engine rounds activations to 8 bits where weights are in blocks: codes differ, the length
    hardly does."""
    source = GgufCheckpoint(convert(tiny, recipe))
    codes, samples = speak(source.path, tmp_path)
    expected = reference_codes(load_model(source), source, 2 * len(codes))
    told(recipe, codes, expected)
    assert len(codes) == pytest.approx(len(expected), abs=4)
    assert len(samples) == len(codes) * source.config.codec.frame_samples
    assert np.isfinite(samples).all()
    assert 0.02 < np.abs(samples).max() < 2

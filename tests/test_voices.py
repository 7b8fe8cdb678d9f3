"""Voice files: torch reads ours, we read torch's, and nothing in them is ever executed."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flowvox.errors import FlowvoxError, VoiceError
from flowvox.voices import read_voice_pt, write_voice_pt

ROWS = np.random.default_rng(0).normal(size=(7, 16)).astype(np.float32)


def test_torch_reads_what_we_write(tmp_path: Path) -> None:
    write_voice_pt(tmp_path / "a.pt", ROWS)
    tensor = torch.load(tmp_path / "a.pt", weights_only=True)
    assert tensor.dtype == torch.bfloat16
    assert torch.equal(tensor, torch.from_numpy(ROWS).to(torch.bfloat16))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_we_read_what_torch_writes(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.from_numpy(ROWS).to(dtype)
    torch.save(tensor, tmp_path / "a.pt")
    np.testing.assert_array_equal(read_voice_pt(tmp_path / "a.pt", 16), tensor.float().numpy())


@pytest.mark.parametrize(
    ("content", "says"),
    [(torch.zeros(3, 15), "needs"), (torch.zeros(16), "needs"), (torch.zeros(0, 16), "needs"),
     (torch.zeros(16, 3).T, "contiguous"), (torch.zeros(4, 16)[1:], "contiguous"),
     (torch.full((2, 16), torch.nan), "finite"), ({"a": torch.zeros(2, 16)}, "tensor"),
     (torch.zeros(2, 16, dtype=torch.int32), "refused")],
)  # fmt: skip
def test_other_tensors_are_refused(tmp_path: Path, content: object, says: str) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(VoiceError, match=says):
        read_voice_pt(tmp_path / "a.pt", 16)


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (os.environ["BOMB"],)


def test_a_malicious_pickle_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("voice_embed/data.pkl", pickle.dumps(Bomb(), protocol=2))
        archive.writestr("voice_embed/data/0", b"\0" * 32)
    with pytest.raises(VoiceError, match="refused"):
        read_voice_pt(tmp_path / "a.pt", 16)
    assert not (tmp_path / "exploded").exists()


def voice_bytes() -> bytes:
    buffer = io.BytesIO()
    torch.save(torch.from_numpy(ROWS).to(torch.bfloat16), buffer)
    return buffer.getvalue()


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_files_never_crash(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(voice_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.mktemp("voice") / "a.pt"
    file.write_bytes(bytes(content))
    try:
        assert read_voice_pt(file, 16).shape == (7, 16)
    except FlowvoxError as error:
        assert "\n" not in str(error)

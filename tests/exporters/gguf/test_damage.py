"""Damaged and hostile files: always one FlowvoxError or a usable model, quickly, in little memory."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.exporters.gguf.conftest import Convert

from flowvox.errors import CheckpointError, FlowvoxError
from flowvox.exporters.gguf.container import GgufFile
from flowvox.exporters.gguf.reader import GgufCheckpoint
from flowvox.machine import peak_rss_bytes

MUTATIONS = 4000
SLOWEST_SECONDS = 5.0
GROWTH = 200 << 20
NUMBERS = [0, 1, 2, 7, 31, 64, 255, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40,
           (1 << 63) - 1, 1 << 63, (1 << 64) - 1]  # fmt: skip


def use(path: Path) -> None:
    """Everything that a conversion asks of a source; raises nothing but FlowvoxError."""
    try:
        source = GgufCheckpoint(path)
        for name in source.shapes:
            source.read(name)
        for voice in source.voices():
            source.voice(voice)
        source.tokenizer()
        assert source.licence
        assert source.recipe
    except FlowvoxError as error:
        assert "\n" not in str(error)


@pytest.fixture(scope="module")
def whole(wide_micro: Path, convert: Convert) -> bytes:
    return convert(wide_micro, "q4_k").read_bytes()


@pytest.fixture(scope="module")
def header(wide_micro: Path, convert: Convert) -> int:
    """Bytes before the data."""
    tensors = GgufFile(convert(wide_micro, "q4_k")).tensors.values()
    return min(tensor.start for tensor in tensors)


def mutate(data: bytearray, header: int, rng: np.random.Generator) -> bytearray:
    """One to four changes, most of them in the header."""
    for _ in range(int(rng.integers(1, 5))):
        limit = header if rng.random() < 0.9 else len(data)
        place = int(rng.integers(0, max(1, min(limit, len(data)) - 8)))
        kind = rng.integers(5)
        if kind == 0:
            data[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[place : place + 8] = struct.pack("<Q", NUMBERS[int(rng.integers(len(NUMBERS)))])
        elif kind == 2:
            data[place : place + 4] = struct.pack("<I", int(rng.integers(1 << 32)))
        elif kind == 3:
            del data[place : place + int(rng.integers(1, 64))]
        else:
            other = int(rng.integers(0, header))
            data[place : place + 32] = data[other : other + 32]
    if rng.random() < 0.1:
        del data[int(rng.integers(len(data))) :]
    return data


def test_mutated_files(whole: bytes, header: int, tmp_path: Path) -> None:
    """Every other one lacks params.json, so that sizes come from the engine's keys."""
    path, before = tmp_path / "x.gguf", peak_rss_bytes()
    foreign = whole.replace(b"flowvox.params", b"flowvox.psalms")
    for seed in range(MUTATIONS):
        base = foreign if seed % 2 else whole
        path.write_bytes(mutate(bytearray(base), header, np.random.default_rng(seed)))
        started = time.perf_counter()
        use(path)
        assert time.perf_counter() - started < SLOWEST_SECONDS, seed
    assert peak_rss_bytes() - before < GROWTH


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_number_of_the_header_may_be_anything(
    whole: bytes, header: int, tmp_path: Path, data: st.DataObject
) -> None:
    changed = bytearray(whole)
    for place in data.draw(st.lists(st.integers(0, header - 8), min_size=1, max_size=3)):
        value = data.draw(st.one_of(st.sampled_from(NUMBERS), st.integers(0, (1 << 64) - 1)))
        changed[place : place + 8] = struct.pack("<Q", value)
    (tmp_path / "x.gguf").write_bytes(changed)
    use(tmp_path / "x.gguf")


def test_a_file_cut_anywhere_is_refused(whole: bytes, header: int, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    for length in (0, 3, 4, 20, 24, 100, header // 2, header, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            GgufCheckpoint(path)


def keys(count: int, body: bytes, tensors: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, count) + body


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def tensor(name: bytes, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    sizes = struct.pack(f"<{len(shape)}Q", *shape)
    return text(name) + struct.pack("<I", len(shape)) + sizes + struct.pack("<IQ", kind, offset)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"GGML" + bytes(100), "not a GGUF file"),
     (b"GGUF" + struct.pack("<I", 0x03000000) + bytes(99), "little-endian"),
     (keys(1 << 40, b""), "promises"),
     (keys(0, b"", tensors=1 << 62), "promises"),
     (keys(1, struct.pack("<Q", 1 << 63) + bytes(64)), "bytes"),
     (keys(1, text(b"\xff\xfe") + bytes(64)), "UTF-8"),
     (keys(1, text(b"k") + struct.pack("<I", 77) + bytes(64)), "type 77"),
     (keys(1, text(b"k") + struct.pack("<IIQ", 9, 4, 1 << 61) + bytes(64)), "promises"),
     (keys(1, text(b"k") + struct.pack("<IIQ", 9, 8, 1 << 19) + bytes(64)), "promises"),
     (keys(1, text(b"k") + struct.pack("<IIQ", 9, 9, 1) + bytes(64)), "array of type 9"),
     (keys(2, 2 * (text(b"k") + struct.pack("<II", 4, 1))), "twice"),
     (keys(0, tensor(b"t", (4,), 0, 0) + bytes(99), 1)[:-99], "ends before t"),
     (keys(0, tensor(b"t", (0,), 0, 0) + bytes(99), 1), "malformed"),
     (keys(0, tensor(b"t", (33,), 2, 0) + bytes(99), 1), "malformed"),
     (keys(0, tensor(b"t", (4,), 0, 4) + bytes(99), 1), "malformed"),
     (keys(0, tensor(b"t", (4,), 0, 1 << 62) + bytes(99), 1), "ends before t"),
     (keys(0, tensor(b"t", (1 << 32, 1 << 32, 4), 0, 0) + bytes(99), 1), "ends before t"),
     (keys(0, tensor(b"t", (1, 1, 1, 1, 4), 0, 0) + bytes(99), 1), "5 axes"),
     (keys(0, tensor(b"t", (4,), 16, 0) + bytes(99), 1), "stored as ggml type 16"),
     (keys(0, tensor(b"t" * 65, (4,), 0, 0) + bytes(99), 1), "65 bytes"),
     (keys(0, 2 * tensor(b"t", (4,), 0, 0) + bytes(99), 2), "twice"),
     (keys(0, tensor(b"t", (9,), 0, 0) + tensor(b"u", (4,), 0, 32) + bytes(99), 2), "overlaps")],
)  # fmt: skip
def test_headers_that_lie(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(CheckpointError, match=says):
        GgufFile(tmp_path / "x.gguf")


def test_a_huge_sparse_file_is_read_in_no_time(tmp_path: Path) -> None:
    """A terabyte of nothing after the header."""
    path = tmp_path / "x.gguf"
    path.write_bytes(keys(0, tensor(b"t", (1 << 37,), 0, 0), 1))
    os.truncate(path, 1 << 40)
    with pytest.raises(CheckpointError, match="architecture"):
        GgufCheckpoint(path)

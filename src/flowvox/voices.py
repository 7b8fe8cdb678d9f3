"""Voices: already-embedded prompt rows [N, dim], read from torch's .pt files without unpickling.

A voice file is a zip with a small pickle that describes one tensor and the tensor's raw bytes. The
pickle is only *scanned*: its opcodes are walked with `pickletools`, nothing is imported or called.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowvox.errors import VoiceError
from flowvox.files import write_beside

MAX_ROWS = 1 << 14
MAX_PICKLE_BYTES = 1 << 16
STORAGES = {"BFloat16Storage": 2, "FloatStorage": 4, "HalfStorage": 2}
REBUILD = "torch._utils _rebuild_tensor_v2"
ALLOWED_GLOBALS = {REBUILD, "collections OrderedDict"} | {f"torch {name}" for name in STORAGES}
# Opcodes that push a constant: their argument, or the value given here.
CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1")),
    "NEWFALSE": False,
    "NEWTRUE": True,
    "EMPTY_TUPLE": (),
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def check_name(name: str) -> str:
    """A voice name is a plain file name. Raises VoiceError."""
    if not NAME.fullmatch(name):
        raise VoiceError(f"{name!r} is not a voice name; use letters, digits, '_', '-' and '.'")
    return name


def unknown_voice(name: str, voices: list[str]) -> VoiceError:
    """The error for a voice that does not exist; it names those that do."""
    return VoiceError(f"there is no voice {name!r}; the voices are: {', '.join(sorted(voices))}")


def read_voice_pt(path: Path, dim: int) -> NDArray[np.float32]:
    """Read a .pt file holding one bf16/fp16/fp32 tensor [N, dim]; returns float32.

    Raises VoiceError for anything else, without executing anything.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, dim)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise VoiceError(f"{path}: not a readable voice file ({error}); copy it again") from None
    except ValueError as error:
        raise VoiceError(f"{path}: {error}") from None


def _read(archive: zipfile.ZipFile, dim: int) -> NDArray[np.float32]:
    members = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1 or members[pickles[0]].file_size > MAX_PICKLE_BYTES:
        raise ValueError("not a torch file of one tensor")
    storage, key, shape, stride, offset = _scan(archive.read(pickles[0]))
    rows = shape[0]
    if len(shape) != 2 or shape[1] != dim or not 0 < rows <= MAX_ROWS:
        raise ValueError(f"the voice has shape {shape}, but this model needs [N, {dim}]")
    if stride != [dim, 1] or offset != 0:
        raise ValueError("the tensor is not stored contiguously; save it with .contiguous()")
    size = STORAGES[storage]
    data = members.get(pickles[0].removesuffix("data.pkl") + f"data/{key}")
    if data is None or data.file_size < rows * dim * size or data.file_size > 4 * MAX_ROWS * dim:
        raise ValueError("the tensor's bytes are missing or cut short; copy the file again")
    raw = archive.read(data)[: rows * dim * size]
    if storage == "BFloat16Storage":
        values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(raw, "<f4" if size == 4 else "<f2").astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("the voice holds values that are not finite; make it again")
    return values.reshape(rows, dim)


def _scan(data: bytes) -> tuple[str, str, list[int], list[int], int]:
    """(storage type, storage key, shape, stride, offset) of the one tensor that torch pickled.

    torch writes _rebuild_tensor_v2(('storage', type, key, device, numel), offset, shape, stride, ...).
    A symbolic stack machine follows the opcodes; calls are recorded, never made.
    """
    try:
        call = _interpret(data)
        function, (storage, offset, shape, stride, *_) = call["call"], call["arguments"]
        _, kind, key, *_ = storage["storage"]
        kind = kind["global"].removeprefix("torch ")
        sizes = [int(n) for n in shape], [int(n) for n in stride]
        if function != {"global": REBUILD} or kind not in STORAGES:
            raise ValueError("not one plain bf16, fp16 or fp32 tensor")
        return kind, str(key), *sizes, int(offset)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"not one plain tensor ({type(error).__name__} in its pickle)") from None


def _interpret(data: bytes) -> Any:
    """Run the pickle symbolically: globals, storages and calls become dictionaries."""
    mark = object()
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name == "GLOBAL":
            if argument not in ALLOWED_GLOBALS:
                raise ValueError(f"refused: its pickle names {argument!r}, which no voice needs")
            stack.append({"global": argument})
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name] if argument is None else argument)
        elif name == "MARK":
            stack.append(mark)
        elif name == "TUPLE":
            start = len(stack) - 1 - stack[::-1].index(mark)
            stack[start:] = [tuple(stack[start + 1 :])]
        elif name in {"TUPLE1", "TUPLE2", "TUPLE3"}:
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "BINPERSID":
            stack.append({"storage": stack.pop()})
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append({"call": stack.pop(), "arguments": arguments})
        elif name in {"BINPUT", "LONG_BINPUT"}:
            memo[argument] = stack[-1]
        elif name in {"BINGET", "LONG_BINGET"}:
            stack.append(memo[argument])
        elif name not in {"PROTO", "STOP"}:
            raise ValueError(f"holds more than one plain tensor (pickle opcode {name})")
    return stack[-1]


def write_voice_pt(path: Path, rows: NDArray[np.float32]) -> None:
    """Write [N, dim] as a bf16 .pt file that torch.load(weights_only=True) reads."""
    rounded = to_bfloat16(np.ascontiguousarray(rows, dtype=np.float32))
    shape = rows.shape
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (
            ("data.pkl", _pickle(shape)),
            ("byteorder", b"little"),
            ("data/0", rounded.astype("<u2").tobytes()),
            ("version", b"3\n"),
        ):
            archive.writestr(zipfile.ZipInfo(f"voice_embed/{name}", (1980, 1, 1, 0, 0, 0)), content)
    write_beside(path, buffer.getvalue())


def _pickle(shape: tuple[int, ...]) -> bytes:
    """Protocol 2 opcodes of torch's tensor pickle, spelled out: there is no object to dump."""

    def text(value: str) -> bytes:
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    def integer(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little", signed=True)

    rows, dim = shape
    persistent = (
        b"("
        + text("storage")
        + b"ctorch\nBFloat16Storage\n"
        + text("0")
        + text("cpu")
        + integer(math.prod(shape))
        + b"tQ"
    )
    sizes = integer(rows) + integer(dim) + b"\x86" + integer(dim) + integer(1) + b"\x86"
    tail = b"\x89ccollections\nOrderedDict\n)RtR."
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + integer(0) + sizes + tail


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round finite float32 to bfloat16 bits, half to even."""
    bits = values.view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded >> 16).astype(np.uint16)

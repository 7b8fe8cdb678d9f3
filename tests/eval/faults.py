"""Bundles that are broken in one known way, with manifests that agree: only measuring can tell."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from flowvox.bundle import file_hash
from flowvox.eval.ears import Ears
from flowvox.eval.suite_data import Suite
from flowvox.manifest import MANIFEST

ONE_LEVEL = 0.1  # FSQ with 21 levels in [-1, 1]
FAINT_NOISE = 0.003  # RMS, full scale 1: -50 dBFS

HEARD = ("wer", "cer", "similarity", "mos", "dnsmos", "codec_pesq", "codec_stoi")
DEAF = Ears(None, None, {}, dict.fromkeys(HEARD, "install flowvox[eval]"))

Fault = Callable[[Path], None]


def plant(fault: Fault, healthy: Path, out: Path) -> Path:
    """A copy of the bundle with the fault, listed as if it had been exported so."""
    shutil.copytree(healthy, out)
    fault(out)
    manifest = json.loads((out / MANIFEST).read_text("utf-8"))
    manifest["files"] = {
        name: {"bytes": (out / name).stat().st_size, "sha256": file_hash(out / name)}
        for name in manifest["files"]
    }
    (out / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    return out


def wrong_rope_layout(bundle: Path) -> None:
    """Rotate the first half against the second, as Hugging Face's layout does, not neighbours."""
    with _edited(bundle, "backbone") as graph:
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.name == "rotary_interleaved":
                    attribute.i = 0


def swapped_guidance(bundle: Path) -> None:
    """guidance * v(0) + (1 - guidance) * v(hidden): the two branches change places."""
    with _edited(bundle, "flow") as graph:
        body = next(node for node in graph.node if node.op_type == "Loop").attribute[0].g
        (rest,) = (n.output[0] for n in body.node if n.op_type == "Sub")
        (null,) = (n for n in body.node if n.op_type == "Mul" and rest in n.input)
        (both,) = (n for n in body.node if n.op_type == "Add" and null.output[0] in n.input)
        (other,) = (n for n in body.node if n.output[0] in both.input and n is not null)
        null.input[1], other.input[1] = other.input[1], null.input[1]


def off_by_one_level(bundle: Path) -> None:
    """Acoustic latents one FSQ level too high, as by rounding up."""
    with _edited(bundle, "flow") as graph:
        _after(graph, "latents", "Add", _constant(graph, ONE_LEVEL))


def half_the_scales_zero(tensor: str) -> Fault:
    """The fault: the first half of the rows of a blockwise quantized backbone matrix is silenced."""

    def fault(bundle: Path) -> None:
        with _stored(bundle, "backbone", f"{tensor}.scales.half") as scales:
            scales[: len(scales) // 2] = 0

    return fault


def noisy_codec(bundle: Path) -> None:
    """Hiss below everything that the codec decodes."""
    with _edited(bundle, "codec_decoder") as graph:
        graph.node.append(
            helper.make_node(
                "RandomNormalLike", ["samples.clean"], ["hiss"], scale=FAINT_NOISE, seed=1.0
            )
        )
        _after(graph, "samples", "Add", "hiss")


def nan_in_codec(bundle: Path) -> None:
    """One weight of the last layer is not a number."""
    with _stored(bundle, "codec_decoder", "audio_tokenizer.output_proj.weight.half") as weight:
        weight.flat[0] = np.nan


def without_speed(suite: Suite) -> Suite:
    """The suite, but nothing is timed."""
    return replace(suite, limits=replace(suite.limits, speed=0))


@contextmanager
def _edited(bundle: Path, name: str) -> Iterator[onnx.GraphProto]:
    """The graph, to be changed; its weights stay where they are."""
    file = bundle / f"{name}.onnx"
    model = onnx.load(str(file), load_external_data=False)
    before = model.SerializeToString()
    yield model.graph
    assert model.SerializeToString() != before, "the fault found nothing to change"
    file.write_bytes(model.SerializeToString())


def _after(graph: onnx.GraphProto, output: str, operation: str, operand: str) -> None:
    """Put `output` = operation(what it was, operand) last; `<output>.clean` is what it was."""
    (source,) = (node for node in graph.node if output in node.output)
    source.output[list(source.output).index(output)] = f"{output}.clean"
    graph.node.append(helper.make_node(operation, [f"{output}.clean", operand], [output]))


def _constant(graph: onnx.GraphProto, value: float) -> str:
    graph.initializer.append(numpy_helper.from_array(np.float32(value), "planted"))
    return "planted"


@contextmanager
def _stored(bundle: Path, name: str, tensor: str) -> Iterator[NDArray[np.float16]]:
    """A float16 tensor inside the weight file, to be written in place."""
    model = onnx.load(str(bundle / f"{name}.onnx"), load_external_data=False)
    (found,) = (entry for entry in model.graph.initializer if entry.name == tensor)
    where = {entry.key: entry.value for entry in found.external_data}
    values = np.memmap(
        bundle / where["location"], np.float16, "r+", int(where["offset"]), tuple(found.dims)
    )
    yield values
    values.flush()

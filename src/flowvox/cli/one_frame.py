"""One frame with every voice of a bundle, through every graph: what `flowvox verify` runs.

With onnx installed, a slice of one graph is in memory at a time, so that a bundle can be verified on a
machine that could not speak with it; without, one whole graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from flowvox.bundle import Bundle
from flowvox.config import DEFAULT_GUIDANCE, SPECIAL_CODES
from flowvox.errors import BundleError
from flowvox.feeds import Feeds, backbone_feeds, decoder_feeds
from flowvox.graphs import BACKBONE, CODEC_DECODER, CODEC_ENCODER, FLOW, GraphSpec
from flowvox.noise import frame_noise
from flowvox.prompt import build_prompt, prompt_embeddings
from flowvox.schedule import flow_schedule

TEXT = "Hello."


def speak_one_frame(bundle: Bundle) -> None:
    """Raises FlowvoxError where a graph is not what it should be or a value is not finite."""
    from flowvox.runtime.sampling import acoustic_values, semantic_value

    config = bundle.config
    specs = bundle.graphs
    cache = specs[BACKBONE].inputs[-1].dtype
    prompts = [
        backbone_feeds(config, _prompt(bundle, voice)[None], cache) for voice in bundle.voices
    ]
    states = _run(bundle, specs[BACKBONE], ["hidden"], prompts)
    hidden = np.concatenate([state["hidden"][:, -1] for state in states])
    feeds = {
        "hidden": hidden,
        "noise": frame_noise(0, len(hidden), config.codec.acoustic_dim),
        "schedule": flow_schedule("euler", 1, DEFAULT_GUIDANCE),
    }
    (said,) = _run(bundle, specs[FLOW], ["semantic_logits", "latents"], [feeds])
    levels = config.codec.acoustic_codebook_size
    values = [
        [semantic_value(logits, config.semantic_rows), *acoustic_values(latents, levels)]
        for logits, latents in zip(said["semantic_logits"], said["latents"], strict=True)
    ]
    codes = np.maximum(np.array(values, dtype=np.int64) - SPECIAL_CODES, 0)
    frames = [decoder_feeds(config, frame[None, None]) for frame in codes]
    sounds = _run(bundle, specs[CODEC_DECODER], ["samples"], frames)
    if not all(np.isfinite(sound["samples"]).all() for sound in sounds):
        raise BundleError(
            f"{bundle.path}: the codec gives values that are not finite; make the bundle again"
        )
    if CODEC_ENCODER in specs:
        _run(bundle, specs[CODEC_ENCODER], ["codes"], sounds)


def _prompt(bundle: Bundle, voice: str) -> NDArray[np.float32]:
    rows = bundle.voice(voice)
    prompt = build_prompt(bundle.tokenizer().encode(TEXT), len(rows))
    return prompt_embeddings(prompt, bundle.table("token_embeddings").rows(prompt), rows)


def _run(
    bundle: Bundle, spec: GraphSpec, outputs: list[str], feeds: Sequence[Feeds]
) -> list[Feeds]:
    """The values `outputs` for each of `feeds`. Raises BundleError."""
    if find_spec("onnx") is None:
        from flowvox.runtime.sessions import open_session

        session = open_session(bundle, spec, "cpu", threads=1)
        return [dict(zip(outputs, session.run(outputs, feed), strict=True)) for feed in feeds]
    from flowvox.exporters.onnx.slices import SlicedGraph

    file = bundle.file(f"{spec.name}.onnx")
    try:
        graph = SlicedGraph(bundle.path, spec.name)
        if graph.keeps(spec):
            return graph.run(outputs, feeds)
    except Exception as error:  # noqa: BLE001 - onnxruntime raises bare C++ exceptions
        first = str(error).strip().splitlines()[0]
        raise BundleError(f"{file}: onnxruntime cannot run it ({first})") from None
    raise BundleError(f"{file}: is not the graph that the manifest tells; make the bundle again")

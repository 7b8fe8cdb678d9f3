"""The contract of every ONNX graph: names, dtypes and shapes, declared once as data.

The exporter builds to it, the runtime binds to it, the tests check it. Symbolic axes are strings.
All activations cross a graph's border in float32 whatever the weights are stored in; the KV cache has
the type that the recipe gives it.

backbone
    `embeddings` are the S new positions (prompt, or one frame's B.7 sum). The KV cache is a set of
    buffers of fixed length that the runtime allocates once; `present.*` is bound to the same memory
    as `past.*` and is written in place. `total_length` is the number of valid positions after this
    call and `seqlens_k` one less, both as onnxruntime's GroupQueryAttention wants them.
    `rope_cos`/`rope_sin` row p is cos/sin of p * theta^(-2i/head_dim), for interleaved pairs.
flow
    One call per frame. `schedule` row e drives evaluation e of the velocity v, solver included:
    with columns (time, guidance, advance, weight, previous_weight)

        z = x + advance * v_previous
        v = guidance * net(z, time, hidden) + (1 - guidance) * net(z, time, 0)
        x = x + weight * v + previous_weight * v_previous

    Euler: (t, g, 0, dt, 0). Midpoint: (t, g, 0, 0, 0), (t + dt/2, g, dt/2, dt, 0). Heun: (t, g, 0,
    0, 0), (t + dt, g, dt, dt/2, dt/2). Adams-Bashforth of equal steps: (t, g, 0, 3/2 dt, -1/2 dt).
    Time grid, solver, guidance and its interval are thus inputs, not constants of the export
    (flowvox.schedule). `latents` are not clamped.
codec_decoder
    `codes` are values without the +2 offset; `position` is the number of frames decoded before, 0
    at the start of an utterance, when the contents of the state are ignored. Feeding F frames at
    once or one by one gives the same samples.
codec_encoder
    Whole utterances: a multiple of the patch, at least `patch_kernel` patches. Codes lack the +2.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowvox.config import CodecConfig, ModelConfig

Axis = int | str


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. dtype is a numpy name; a string axis is symbolic."""

    name: str
    dtype: str
    shape: tuple[Axis, ...]


@dataclass(frozen=True)
class GraphSpec:
    """One graph: its file is `<name>.onnx` in the bundle."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def to_dict(self) -> dict[str, object]:
        """JSON form, as the manifest holds it."""

        def rows(specs: tuple[TensorSpec, ...]) -> list[dict[str, object]]:
            return [{"name": s.name, "dtype": s.dtype, "shape": list(s.shape)} for s in specs]

        return {"name": self.name, "inputs": rows(self.inputs), "outputs": rows(self.outputs)}


BACKBONE, FLOW, CODEC_DECODER, CODEC_ENCODER = "backbone", "flow", "codec_decoder", "codec_encoder"
SCHEDULE_COLUMNS = ("time", "guidance", "advance", "weight", "previous_weight")


def graph_specs(
    config: ModelConfig, *, encoder: bool, cache: str = "float32"
) -> dict[str, GraphSpec]:
    """All graphs of a bundle, by name. cache: dtype of the KV cache."""
    graphs = [backbone_graph(config, cache), flow_graph(config), codec_decoder_graph(config)]
    if encoder:
        graphs.append(codec_encoder_graph(config))
    return {graph.name: graph for graph in graphs}


def cache_specs(config: ModelConfig, prefix: str, dtype: str = "float32") -> tuple[TensorSpec, ...]:
    """Key and value buffer of every backbone layer; prefix "past" (input) or "present" (output)."""
    backbone = config.backbone
    shape = (1, backbone.n_kv_heads, "max_positions", backbone.head_dim)
    return tuple(
        TensorSpec(f"{prefix}.{i}.{kind}", dtype, shape)
        for i in range(backbone.n_layers)
        for kind in ("key", "value")
    )


def backbone_graph(config: ModelConfig, cache: str = "float32") -> GraphSpec:
    """embeddings [1, S, dim] -> normed hidden state of every position [1, S, dim]."""
    backbone = config.backbone
    rope = ("rope_positions", backbone.head_dim // 2)
    return GraphSpec(
        BACKBONE,
        inputs=(
            TensorSpec("embeddings", "float32", (1, "sequence", backbone.dim)),
            TensorSpec("seqlens_k", "int32", (1,)),
            TensorSpec("total_length", "int32", (1,)),
            TensorSpec("rope_cos", "float32", rope),
            TensorSpec("rope_sin", "float32", rope),
            *cache_specs(config, "past", cache),
        ),
        outputs=(
            TensorSpec("hidden", "float32", (1, "sequence", backbone.dim)),
            *cache_specs(config, "present", cache),
        ),
    )


def flow_graph(config: ModelConfig) -> GraphSpec:
    """hidden [B, dim], noise [B, n] -> semantic logits [B, padded rows], latents [B, n]."""
    n = config.codec.acoustic_dim
    return GraphSpec(
        FLOW,
        inputs=(
            TensorSpec("hidden", "float32", ("batch", config.flow.input_dim)),
            TensorSpec("noise", "float32", ("batch", n)),
            TensorSpec("schedule", "float32", ("evaluations", len(SCHEDULE_COLUMNS))),
        ),
        outputs=(
            TensorSpec("semantic_logits", "float32", ("batch", config.semantic_rows_padded)),
            TensorSpec("latents", "float32", ("batch", n)),
        ),
    )


def decoder_state_specs(codec: CodecConfig, prefix: str) -> tuple[TensorSpec, ...]:
    """State of the streaming decoder; prefix "state" (input) or "next" (output).

    `<prefix>.<block>.conv`: the last kernel-1 inputs of a causal conv, [1, channels, kernel - 1],
    or the last ceil(kernel/stride)-1 inputs of a transposed conv.
    `<prefix>.<block>.<layer>.key|value`: the last `window` keys and values, [1, heads, window,
    head_dim]. `<prefix>.output`: the last kernel-1 inputs of output_proj.
    """
    specs: list[TensorSpec] = []
    channels = codec.latent_dim
    for stage in codec.decoder_stages:
        if stage.conv_block is not None:
            tail = stage.kernel - 1 if stage.stride == 1 else -(-stage.kernel // stage.stride) - 1
            name = f"{prefix}.{stage.conv_block}.conv"
            specs.append(TensorSpec(name, "float32", (1, channels, tail)))
            channels = codec.dim
        for layer in range(stage.n_layers):
            for kind in ("key", "value"):
                name = f"{prefix}.{stage.transformer_block}.{layer}.{kind}"
                shape = (1, codec.n_heads, stage.window, codec.head_dim)
                specs.append(TensorSpec(name, "float32", shape))
    output = (1, codec.dim, codec.patch_kernel - 1)
    specs.append(TensorSpec(f"{prefix}.output", "float32", output))
    return tuple(specs)


def codec_decoder_graph(config: ModelConfig) -> GraphSpec:
    """codes [1, F, 1 + n] + state -> samples [1, F * frame_samples] + state."""
    return GraphSpec(
        CODEC_DECODER,
        inputs=(
            TensorSpec("codes", "int64", (1, "frames", config.n_codebooks)),
            TensorSpec("position", "int64", (1,)),
            *decoder_state_specs(config.codec, "state"),
        ),
        outputs=(
            TensorSpec("samples", "float32", (1, "samples")),
            *decoder_state_specs(config.codec, "next"),
        ),
    )


def codec_encoder_graph(config: ModelConfig) -> GraphSpec:
    """samples [1, n] -> codes [1, ceil(n / frame_samples), 1 + n_acoustic]."""
    return GraphSpec(
        CODEC_ENCODER,
        inputs=(TensorSpec("samples", "float32", (1, "samples")),),
        outputs=(TensorSpec("codes", "int64", (1, "frames", config.n_codebooks)),),
    )

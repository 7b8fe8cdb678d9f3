"""Where along the backbone the error grows: hidden states after every layer, teacher-forced.

The residual stream is read out of the bundle's own graph: a copy in memory names the sums of the layers
among its outputs, the weights stay in their file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from flowvox.graphs import BACKBONE, cache_specs
from flowvox.schedule import rope_tables

NORM = "SkipSimplifiedLayerNormalization"  # its fourth output is the sum it normalizes
Floats = NDArray[np.float32]


class LayerProbe:
    """The backbone of a bundle with an output per layer."""

    def __init__(self, folder: Path, config: ModelConfig, threads: int | None = None) -> None:
        import onnx
        import onnxruntime as ort

        self._config = config
        model = onnx.load(str(folder / f"{BACKBONE}.onnx"), load_external_data=False)
        sums = [node.output[3] for node in model.graph.node if node.op_type == NORM and
                len(node.output) > 3 and node.output[3]]  # fmt: skip
        element = model.graph.input[-1].type.tensor_type.elem_type
        self._cache = onnx.helper.tensor_dtype_to_np_dtype(element).name
        self._names = sums[1::2]  # two a layer: after attention, after the feed-forward part
        for name in self._names:
            shape = (1, "sequence", config.backbone.dim)
            value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            model.graph.output.append(value)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0
        weights = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(weights, str(folder))
        self._session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, sequence: Floats) -> list[Floats]:
        """Embeddings [S, dim] -> the residual stream after each layer, [S, dim] each."""
        length = len(sequence)
        cos, sin = rope_tables(self._config.backbone, length)
        feeds = {
            "embeddings": sequence[None],
            "seqlens_k": np.array([length - 1], dtype=np.int32),
            "total_length": np.array([length], dtype=np.int32),
            "rope_cos": cos,
            "rope_sin": sin,
        }
        for spec in cache_specs(self._config, "past", self._cache):
            shape = [length if isinstance(axis, str) else axis for axis in spec.shape]
            feeds[spec.name] = np.zeros(shape, dtype=spec.dtype)
        return [values[0] for values in self._session.run(self._names, feeds)]

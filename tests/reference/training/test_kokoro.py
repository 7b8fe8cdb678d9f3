"""The teacher's graph, spelled again: names, gates and activations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flowvox.reference.training.kokoro import _lstm, _module_path, modulated, snake


@pytest.mark.parametrize(
    ("node", "path"),
    [
        ("/encoder/F0.0/conv1/Conv_quant", "encoder.predictor.F0.0.conv1"),
        ("/encoder/N_proj/Conv_quant", "encoder.predictor.N_proj"),
        ("/encoder/text_encoder/cnn.0/cnn.0.0/Conv_quant", "encoder.text_encoder.cnn.0.0"),
        ("/decoder/decoder/asr_res/asr_res.0/Conv_quant", "decoder.decoder.asr_res.0"),
        (
            "/decoder/decoder/generator/resblocks.1/convs1.0/Conv_quant",
            "decoder.decoder.generator.resblocks.1.convs1.0",
        ),
        (
            "/encoder/predictor/text_encoder/lstms.5/fc/Gemm_MatMul_quant",
            "encoder.predictor.text_encoder.lstms.5.fc",
        ),
    ],
)
def test_nodes_name_the_modules_of_their_weights(node: str, path: str) -> None:
    assert _module_path(node) == path


def test_gates_are_reordered() -> None:
    torch.manual_seed(0)
    W, R, B = torch.randn(2, 8, 3), torch.randn(2, 8, 2), torch.randn(2, 16)
    lstm = _lstm({"x.W": W, "x.R": R, "x.B": B}, "x")
    x = torch.randn(1, 1, 3)
    gates = W[0] @ x[0, 0] + B[0, :8] + B[0, 8:]
    i, o, _, c = gates.chunk(4)  # as ONNX orders them: input, output, forget, cell
    expected = torch.sigmoid(o) * torch.tanh(torch.sigmoid(i) * torch.tanh(c))
    torch.testing.assert_close(lstm(x)[0][0, 0, :2], expected)


def test_activations() -> None:
    x, alpha = torch.tensor([[0.5]]), torch.tensor([[2.0]])
    np.testing.assert_allclose(snake(x, alpha).item(), 0.5 + np.sin(1.0) ** 2 / 2, rtol=1e-6)
    assert modulated(x, torch.tensor([[1.0]]), torch.tensor([[3.0]])).item() == 4.0

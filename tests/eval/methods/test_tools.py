"""What other people's tools make of matrices is read back as onnxruntime multiplies with it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from flowvox.eval.methods import others
from flowvox.eval.methods.method import Method
from flowvox.eval.methods.onnx_tools import Inputs, float_graph, one_scale, onnx_methods, read_back
from flowvox.quantizers.matrix import quantize_blocks
from flowvox.quantizers.statistics import InputStatistics

SHAPES = {"layers.0.attention.wq.weight": (24, 64), "layers.0.feed_forward.w2.weight": (16, 128)}


class Source:
    """As much of a model as the tools ask for."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.weights = {n: rng.normal(size=s).astype(np.float32) for n, s in SHAPES.items()}

    def read(self, name: str) -> np.ndarray:
        return self.weights[name].copy()


def statistics(name: str) -> InputStatistics:
    """Of inputs that a few directions explain."""
    rng, columns = np.random.default_rng(1), SHAPES[name][1]
    x = rng.normal(size=(300, 6)) @ rng.normal(size=(6, columns))
    x += 0.3 * rng.normal(size=x.shape)
    hessian = (x.T @ x / len(x)).astype(np.float32)
    return InputStatistics(np.diag(hessian).copy(), np.abs(x).max(0), hessian.copy)


def errors(method: Method) -> list[float]:
    """Relative, of the outputs, by matrix."""
    source, found = Source(), []
    encoded = method.encode(list(SHAPES), source, statistics)  # type: ignore[arg-type]
    for name, exact in source.weights.items():
        error, hessian = encoded[name].values - exact, statistics(name).hessian()
        assert encoded[name].values.shape == exact.shape
        lost, had = (np.einsum("ij,ij->", m @ hessian, m) for m in (error, exact))
        found.append(float(np.sqrt(lost / had)))
    return found


def named(name: str) -> Method:
    return next(method for method in onnx_methods() if method.name == name)


def test_a_graph_that_nothing_was_done_to_has_the_weights() -> None:
    weights = Source().weights
    for name, values in read_back(float_graph(weights), weights).items():
        np.testing.assert_array_equal(values, weights[name])


@pytest.mark.parametrize("name", [m.name for m in onnx_methods() if m.tool == "onnxruntime"])
def test_onnxruntime_has_an_error_of_four_bits(name: str) -> None:
    assert all(0.003 < error < 0.15 for error in errors(named(name)))


def test_its_default_is_our_plain_rounding() -> None:
    source = Source()
    encoded = named("default").encode(list(SHAPES), source, statistics)  # type: ignore[arg-type]
    for name, weights in source.weights.items():
        ours = quantize_blocks(weights, 4, 32, "round").dequantized()
        assert (np.abs(encoded[name].values - ours) > 1e-2).mean() < 0.005  # ties in float16 scales


def test_its_gptq_sees_what_ours_sees() -> None:
    """It asks for inputs; those that it is given have the second moments of calibration."""
    rows = Inputs(Source().weights, statistics).rows()
    for name in SHAPES:
        x = rows[f"x.{name}"]
        hessian = statistics(name).hessian()
        np.testing.assert_allclose(x.T @ x / len(x), hessian, atol=1e-4 * hessian.max())


@pytest.mark.skipif(not find_spec("optimum"), reason="needs optimum")
def test_optimum_has_an_error_of_eight_bits(tmp_path: Path) -> None:
    assert all(1e-4 < error < 0.02 for error in errors(named("dynamic int8")))


def test_one_activation_scale_a_call() -> None:
    x = torch.tensor([[0.0, 1.0, 255.0, 0.4]])
    assert one_scale(x).tolist() == [[0, 1, 255, 0]]
    tokens = torch.stack([x, 1000 * x, x], dim=1)  # the second token takes the levels of the others
    assert one_scale(tokens)[0, 0].tolist() == [0, 0, 0, 0]


@pytest.mark.skipif(not find_spec("bitsandbytes"), reason="needs bitsandbytes")
def test_llm_int8_keeps_outlier_columns() -> None:
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    x[2, 7] = 60.0
    kept = others.mixed_precision(x)
    torch.testing.assert_close(kept[:, 7], x[:, 7], rtol=1e-3, atol=1e-3)
    others_error = (kept - x).abs().max()
    assert 0 < others_error < 0.03  # a step of rows without the outlier, not of 60 / 127
    for method in others.bitsandbytes_methods():
        assert all(error < 0.2 for error in errors(method))


def test_ggml_formats_fall_back_where_rows_are_narrow() -> None:
    """Rows of 64 and 128 are no multiple of 256: q5_0 in place of q4_k, as in llama.cpp."""
    for method in others.ggml_methods():
        encoded = method.encode(list(SHAPES), Source(), statistics)  # type: ignore[arg-type]
        expected = 5.5 if "q4_k" in method.name.lower() else None
        assert expected is None or {e.bits for e in encoded.values()} == {expected}

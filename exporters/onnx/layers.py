"""Layers that several graphs share."""

from __future__ import annotations

from flowvox.exporters.onnx.builder import MICROSOFT, GraphBuilder


def rms_norm(g: GraphBuilder, x: str, name: str, eps: float) -> str:
    """x * rsqrt(mean(x^2) + eps) * weight over the last axis."""
    return g.op("SimplifiedLayerNormalization", x, g.parameter(name), axis=-1, epsilon=eps)


def add_and_norm(g: GraphBuilder, x: str, branch: str, name: str, eps: float) -> tuple[str, str]:
    """(rms_norm(x + branch), x + branch) in one kernel."""
    normed, _, _, total = g.ops(
        "SkipSimplifiedLayerNormalization",
        x,
        branch,
        g.parameter(name),
        outputs=4,
        domain=MICROSOFT,
        epsilon=eps,
    )
    return normed, total


def swiglu(g: GraphBuilder, x: str, prefix: str) -> str:
    """w2(silu(w1 x) * w3 x)."""
    gate = g.linear(x, f"{prefix}w1.weight")
    silu = g.op("Mul", gate, g.op("Sigmoid", gate), half=True)
    gated = g.op("Mul", silu, g.linear(x, f"{prefix}w3.weight"), half=True)
    return g.linear(gated, f"{prefix}w2.weight")

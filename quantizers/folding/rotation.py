"""Rotations of the residual stream (R1) and of the heads' values (R2): outliers are spread evenly.

QuaRot (Ashkboos et al. 2024, arXiv:2404.00456) and SpinQuant (Liu et al. 2024, arXiv:2405.16406), the
two rotations that cost nothing when the model runs: x R takes the place of x everywhere in the stream.
What writes to it has R behind it, what reads from it R^T before it; norms without a gain commute with
R, so gains go into the matrices behind them first. R2 turns the values of a head and is taken back in
the output projection. R is a random-sign Hadamard matrix, times a cosine transform for the odd part of
a size; the stream of the backbone and that of the flow head have one each.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from flowvox.errors import CheckpointError
from flowvox.quantizers.blocks import Floats
from flowvox.recipe import Recipe
from flowvox.source import ModelSource
from flowvox.tensors import CODE_EMBEDDINGS, FLOW, TOKEN_EMBEDDINGS
from flowvox.wrapped_source import WrappedSource

SEEDS = {"backbone": 1, "flow": 2, "heads": 3}
ROWS_AT_ONCE = 1 << 21  # weights that are turned at a time, in float64
READERS = {  # of a layer's stream, by the norm before them
    "attention_norm": ("attention.wq", "attention.wk", "attention.wv"),
    "ffn_norm": ("feed_forward.w1", "feed_forward.w3"),
}
WRITERS = ("attention.wo", "feed_forward.w2")


def rotated(source: ModelSource, recipe: Recipe) -> ModelSource:
    """The model as the recipe wants it turned; the source itself where it does not."""
    return source if recipe.rotation == "none" else RotatedSource(source, recipe.rotation)


def statistics_key(source_hash: str, recipe: Recipe) -> str:
    """What calibration of the model as it is turned is kept under."""
    if recipe.rotation == "none":
        return source_hash
    return hashlib.sha256(f"{source_hash} {recipe.rotation}".encode()).hexdigest()


def turn(rows: NDArray[np.floating], which: str) -> NDArray[np.float64]:
    """rows [..., n] R, with R of that size and use: "backbone", "flow" or "heads"."""
    n = rows.shape[-1]
    odd = n // (n & -n)
    signs = np.random.Generator(np.random.Philox(SEEDS[which])).integers(0, 2, n) * 2.0 - 1
    x = (rows * signs).reshape(*rows.shape[:-1], odd, -1)
    half = 1
    while half < x.shape[-1]:
        pairs = x.reshape(*x.shape[:-1], -1, 2, half)
        low, high = pairs[..., 0, :], pairs[..., 1, :]
        x = np.stack([low + high, low - high], axis=-2).reshape(x.shape)
        half *= 2
    x = np.swapaxes(np.swapaxes(x, -1, -2) @ _cosines(odd), -1, -2)
    turned: NDArray[np.float64] = x.reshape(rows.shape) / np.sqrt(half)
    return turned


def _cosines(n: int) -> NDArray[np.float64]:
    """The orthonormal DCT-II: [n, n]."""
    k, i = np.arange(n)[:, None], np.arange(n)[None]
    matrix = np.cos(np.pi * k * (2 * i + 1) / (2 * n)) * np.sqrt(2 / n)
    matrix[0] = np.sqrt(1 / n)
    return matrix


class RotatedSource(WrappedSource):
    """Another model that says the same, to rounding; its hash stays that of where it came from."""

    def __init__(self, base: ModelSource, rotation: str) -> None:
        """rotation: "residual", "heads" or "residual+heads"."""
        super().__init__(base)
        self._gains: dict[str, str] = {}  # of the norms that go into each matrix
        self._inputs: dict[str, str] = {}  # which rotation a matrix undoes at its inputs
        self._outputs: dict[str, str] = {}  # and which one it ends with
        self._norms: set[str] = set()
        if "residual" in rotation:
            self._turn_streams()
        self._heads: dict[str, int] = {}  # value and output projections: the width of a head
        if "heads" in rotation:
            for prefix, part in (("", base.config.backbone), (FLOW, base.config.flow)):
                for i in range(part.n_layers):
                    for name in ("wv", "wo"):
                        self._heads[f"{prefix}layers.{i}.attention.{name}.weight"] = part.head_dim

    def _turn_streams(self) -> None:
        config = self._base.config
        self._inputs |= dict.fromkeys((TOKEN_EMBEDDINGS, CODE_EMBEDDINGS), "backbone")
        for prefix, which, count in (
            ("", "backbone", config.backbone.n_layers),
            (FLOW, "flow", config.flow.n_layers),
        ):
            for i in range(count):
                layer = f"{prefix}layers.{i}."
                for norm, readers in READERS.items():
                    self._reads(which, f"{layer}{norm}", [layer + name for name in readers])
                self._outputs |= {f"{layer}{name}.weight": which for name in WRITERS}
        heads = [f"{FLOW}llm_projection", f"{FLOW}semantic_codebook_output"]
        self._reads("backbone", "norm", heads)
        self._reads("flow", f"{FLOW}norm", [f"{FLOW}acoustic_codebook_output"])
        for name in ("input_projection", "time_projection", "llm_projection"):
            self._outputs[f"{FLOW}{name}.weight"] = "flow"

    def _reads(self, which: str, norm: str, matrices: list[str]) -> None:
        self._norms.add(f"{norm}.weight")
        for matrix in matrices:
            self._gains[f"{matrix}.weight"] = f"{norm}.weight"
            self._inputs[f"{matrix}.weight"] = which

    def touches(self, name: str) -> bool:
        """Whether a tensor is not what it is in the checkpoint."""
        return any(
            name in known for known in (self._norms, self._inputs, self._outputs, self._heads)
        )

    def read(self, name: str) -> Floats:
        """Raises CheckpointError."""
        return (
            self._turned(name, self._base.read(name))
            if self.touches(name)
            else self._base.read(name)
        )

    def read_rows(self, name: str, start: int, stop: int) -> Floats:
        """Raises CheckpointError. Rows that others are mixed into take reading all."""
        if name in self._outputs or name in self._heads:
            return self.read(name)[start:stop]
        rows = self._base.read_rows(name, start, stop)
        return self._turned(name, rows) if self.touches(name) else rows

    def block_format(self, name: str) -> str | None:
        """None for what is turned: its values are no longer those of the stored blocks."""
        return None if self.touches(name) else self._base.block_format(name)

    def packed(self, name: str) -> NDArray[np.uint8]:
        """Raises CheckpointError for what is turned."""
        if self.touches(name):
            raise CheckpointError(f"{self.path}: {name} is rotated, its blocks are not it any more")
        return self._base.packed(name)

    def voice(self, name: str) -> Floats:
        """Rows of the stream, turned as it is."""
        rows = self._base.voice(name)
        if TOKEN_EMBEDDINGS not in self._inputs:
            return rows
        return turn(rows, "backbone").astype(np.float32)

    def _turned(self, name: str, values: Floats) -> Floats:
        """Rows of a tensor, or all of it, float32."""
        if name in self._norms:
            return np.ones_like(values)
        if name in self._gains:
            values = values * self._base.read(self._gains[name])
        if name in self._inputs:
            values = _by_pieces(values, self._inputs[name])
        if name in self._heads and name.endswith("wo.weight"):
            heads = values.reshape(len(values), -1, self._heads[name])
            values = _by_pieces(heads, "heads").reshape(values.shape)
        if name in self._heads and name.endswith("wv.weight"):
            heads = values.reshape(-1, self._heads[name], values.shape[1]).swapaxes(1, 2)
            values = _by_pieces(heads, "heads").swapaxes(1, 2).reshape(values.shape)
        if name in self._outputs:
            values = np.ascontiguousarray(_by_pieces(values.T, self._outputs[name]).T)
        return values


def _by_pieces(rows: Floats, which: str) -> Floats:
    """`turn` in float32, a piece of the first axis at a time."""
    turned = np.empty(rows.shape, dtype=np.float32)
    step = max(1, ROWS_AT_ONCE * len(rows) // max(1, rows.size))
    for start in range(0, len(rows), step):
        turned[start : start + step] = turn(rows[start : start + step], which)
    return turned

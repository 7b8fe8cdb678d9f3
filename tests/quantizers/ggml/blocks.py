"""Rows of weights for hypothesis: noise of any size, with zeros, repeats and outliers in it."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from flowvox.quantizers.ggml.formats import Floats

LARGEST = 6e4


@st.composite
def rows(draw: st.DrawFn, columns: int) -> Floats:
    """float32 [1 ... 4, columns], finite, within float16; nothing between 0 and 1e-30."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = draw(st.integers(1, 4))
    exponents = draw(st.lists(st.integers(-20, 4), min_size=count, max_size=count))
    values = rng.normal(size=(count, columns)) * 10.0 ** np.array(exponents)[:, None]
    values += draw(st.sampled_from([0.0, 0.0, 1.0, -5.0]))
    values[rng.random(values.shape) < draw(st.sampled_from([0.0, 0.2, 0.99]))] = 0
    for value in draw(st.lists(st.floats(-LARGEST, LARGEST, width=32), max_size=6)):
        values.flat[rng.integers(values.size)] = value
    values[np.abs(values) < 1e-30] = 0
    return np.clip(values, -LARGEST, LARGEST).astype(np.float32)

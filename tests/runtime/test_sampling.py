"""From logits and latents to codes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowvox.errors import BundleError
from flowvox.runtime.sampling import acoustic_values, semantic_value


def test_empty_and_padding_never_win_and_end_may() -> None:
    logits = np.array([9, 1, 2, 3, 8], dtype=np.float32)
    assert semantic_value(logits, rows=4) == 3
    assert semantic_value(-logits, rows=4) == 1


def test_padding_may_hold_anything_and_real_logits_may_not() -> None:
    assert semantic_value(np.array([np.nan, 0, 1, np.nan], dtype=np.float32), rows=3) == 2
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(BundleError, match="not finite"):
            semantic_value(np.array([0, bad, 1], dtype=np.float32), rows=3)


def test_latents_are_clamped_and_rounded_half_to_even() -> None:
    latents = np.array([-0.75, -0.25, 0.25, 0.75, 3.0, -3.0], dtype=np.float32)
    assert (acoustic_values(latents, 5) - 2).tolist() == [0, 2, 2, 4, 4, 0]
    with pytest.raises(BundleError, match="not finite"):
        acoustic_values(np.array([np.inf], dtype=np.float32), 5)


@given(st.lists(st.floats(-2, 2, width=32), min_size=1), st.sampled_from([2, 7, 21]))
def test_quantization_is_that_of_the_reference(latents: list[float], levels: int) -> None:
    import torch

    from flowvox.reference.flow import quantize_latents

    x = np.array(latents, dtype=np.float32)
    expected = quantize_latents(torch.from_numpy(x), levels).numpy()
    np.testing.assert_array_equal(acoustic_values(x, levels) - 2, expected)

"""Numbers as people read them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowvox.eval.report.words import interval, number, ratio, size


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "dB", "–"),
        (0.0, "nats", "0 nats"),
        (0.04123, "fraction", "4.12 %"),
        (12.5, "%", "12.5 %"),
        (-3.14159, "dB", "−3.14 dB"),
        (0.847, "cosine", "0.847"),
        (13_912_345.0, "bytes", "13.9 MB"),
        (912.0, "bytes", "912 B"),
        (0.000012, "nats", "1.20×10⁻⁵ nats"),
        (1234.0, "", "1234"),
    ],
)
def test_numbers(value: float | None, unit: str, text: str) -> None:
    assert number(value, unit).replace("\u202f", " ").replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("values", "unit", "text"),
    [
        ((0.31, -0.1, 0.721), "dB", "+0.31 [−0.10, +0.72] dB"),
        ((0.0031, -0.001, 0.0072), "fraction", "+0.31 [−0.10, +0.72] pp"),
        ((-11e6, -11e6, -11e6), "bytes", "−11 MB"),
        ((0.5, None, None), "", "+0.50"),
        ((0.0, -0.04, 0.04), "", "0.000 [−0.040, +0.040]"),
        ((None, None, None), "dB", "–"),
    ],
)
def test_intervals(values: tuple[float | None, ...], unit: str, text: str) -> None:
    assert interval(*values, unit).replace("\u00a0", " ") == text


def test_sizes_of_differences() -> None:
    assert size(0.02, "fraction") == "2\u00a0pp"
    assert size(-0.125, "dB") == "0.125\u00a0dB"
    assert size(0.0, "") == "0"


def test_ratios() -> None:
    assert ratio(0.25) == "0.250×"
    assert ratio(None) == "–"


@given(
    st.floats(-1e300, 1e300),
    st.sampled_from(["", "%", "fraction", "bytes"]),
)
def test_every_number_has_a_short_text_that_means_it(value: float, unit: str) -> None:
    text = number(value, unit)
    assert len(text) <= 20
    found = re.match(r"(−?)([\d.]+)(?:×10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text)
    assert found
    power = (found[3] or "0").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    meant = float(f"{'-' if found[1] else ''}{found[2]}e{power}")
    scale = {"%": 1, "fraction": 100, "": 1}.get(unit) or 1 / {"G": 1e9, "M": 1e6, "k": 1e3, "B": 1.0}[text.split("\u00a0")[1][0]]  # fmt: skip
    assert meant == pytest.approx(value * scale, rel=6e-3, abs=2e-12)

"""The drawing in a table cell: worse is right, the margin keeps its place across bundles."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowvox.eval.report.strips import WIDTH, Strip, strip
from flowvox.eval.report.verdicts import Cell, Line

small = st.floats(-5, 5, allow_subnormal=False).map(lambda x: round(x, 4))


def line(better: str, margin: float | None, *rows: dict[str, Any]) -> Line:
    metric: Any = {"better": better, "margin": margin}
    cells = [Cell("b", "", "", 1, "pass", row) for row in rows]  # type: ignore[arg-type]
    return Line(metric, "", "", None, "", 1, cells)


def row(delta: float | None, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"delta": delta, "low": low, "high": high}


def drawn(better: str, margin: float | None, one: dict[str, Any]) -> Strip:
    whole = line(better, margin, one)
    found = strip(whole, whole.cells[0])
    assert found is not None
    return found


def test_worse_is_right_for_both_directions() -> None:
    rising, falling = (
        drawn("lower", 0.1, row(0.05, 0.0, 0.08)),
        drawn("higher", 0.1, row(-0.05, -0.08, 0.0)),
    )
    assert rising == falling
    assert rising.margin is not None
    assert WIDTH / 2 == rising.low < rising.point < rising.high < rising.margin < WIDTH


def test_what_lies_far_out_stays_at_the_edge() -> None:
    far = drawn("lower", 0.1, row(100.0, 90.0, 110.0))
    assert (far.low, far.point, far.high) == (WIDTH, WIDTH, WIDTH)
    assert far.margin is not None
    assert WIDTH / 2 < far.margin < WIDTH


def test_nothing_to_draw() -> None:
    for whole in (line("lower", 0.1, row(None)), line("lower", None, row(0.0))):
        assert strip(whole, whole.cells[0]) is None


def test_a_point_without_interval() -> None:
    found = drawn("lower", 0.1, row(0.05))
    assert found.low == found.point == found.high


@given(
    small,
    small,
    small,
    st.one_of(st.none(), st.floats(0.001, 5)),
    st.sampled_from(["lower", "higher", "none"]),
)
def test_marks_stay_inside_and_in_order(
    a: float, b: float, c: float, margin: float | None, better: str
) -> None:
    low, delta, high = sorted((a, b, c))
    whole = line(better, margin, row(delta, low, high), row(-delta, -high, -low))
    found = [strip(whole, cell) for cell in whole.cells]
    if None in found:
        assert margin is None
        return
    assert len({one.margin for one in found if one}) == 1
    for one in found:
        assert one is not None
        assert 0 <= one.low <= one.point <= one.high <= WIDTH
        assert one.margin is None or WIDTH / 2 <= one.margin <= WIDTH

"""Numbers as people read them: three digits, a true minus, units, powers of ten."""

from __future__ import annotations

import math

from flowvox.eval.report.schema import Number

NOTHING = "–"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PREFIXES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
_PERCENT, _POINTS = "\u202f%", "\u00a0pp"
_UNNAMED = {"", "ratio", "cosine", "place", "MOS", "MOS-LQO"}  # say nothing beside a number
_NEXT_TO_NOTHING = 1e-12  # written as 0: what rounding leaves of equal numbers
_WRITTEN_OUT = range(-3, 6)  # powers of ten


def number(value: Number, unit: str = "", *, signed: bool = False) -> str:
    """`value` with its unit, to three digits: "4.12 %", "13.9 MB", "1.20×10⁻⁵ nats"."""
    if value is None:
        return NOTHING
    texts, after = _texts([value], unit, 3, signed=signed)
    return texts[0] + after


def interval(middle: Number, low: Number, high: Number, unit: str = "") -> str:
    """A signed difference with its bounds, all to two digits of the largest.

    "+0.31 [−0.10, +0.72] dB"; differences of percentages are in "pp", percentage points. Bounds that
    are missing, or equal as for a size, are left out. A line breaks before the bracket only.
    """
    if middle is None:
        return NOTHING
    known = low is not None and high is not None and low != high
    texts, after = _texts([middle, low or 0.0, high or 0.0], unit, 2, signed=True)
    after = after.replace(_PERCENT, _POINTS)
    return f"{texts[0]} [{texts[1]},\u00a0{texts[2]}]{after}" if known else texts[0] + after


def size(value: float, unit: str = "") -> str:
    """How large a difference is, without sign and closing zeros: "2 pp", "0.05 nats"."""
    texts, after = _texts([abs(value)], unit, 3, signed=False)
    text = texts[0].rstrip("0").rstrip(".") if "." in texts[0] else texts[0]
    return text + after.replace(_PERCENT, _POINTS)


def ratio(value: Number) -> str:
    """A factor: "3.9×"."""
    return NOTHING if value is None else f"{number(value)}×"


def _texts(values: list[float], unit: str, digits: int, *, signed: bool) -> tuple[list[str], str]:
    """The values to `digits` digits of the largest, and what follows the last one."""
    largest = max(map(abs, values))
    after = "" if unit in _UNNAMED else f"\u00a0{unit}"
    factor = 1.0
    if unit in {"%", "fraction"}:
        factor, after = (100.0 if unit == "fraction" else 1.0), _PERCENT
    elif unit == "bytes":
        scale, prefix = next((p for p in _PREFIXES if largest >= p[0]), _PREFIXES[-1])
        factor, after = 1 / scale, f"\u00a0{prefix}"
    largest = largest if largest > _NEXT_TO_NOTHING else 0.0
    power = math.floor(math.log10(largest * factor)) if largest else 0
    if power not in _WRITTEN_OUT:
        factor, after = factor * 10.0**-power, f"×10{str(power).translate(_SUPERSCRIPT)}{after}"
        power = 0
    decimals = max(0, digits - 1 - power) if largest else 0
    return [_text(value * factor, decimals, signed) for value in values], after


def _text(value: float, decimals: int, signed: bool) -> str:
    rounded = round(value, decimals) + 0.0  # no minus zero
    text = f"{abs(rounded):.{decimals}f}"
    sign = "−" if rounded < 0 else "+" if signed and rounded > 0 else ""
    return sign + text

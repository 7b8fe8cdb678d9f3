"""Scales of least squared error for small groups of weights.

Groups are the columns of x, [group, n]: every sum then runs along contiguous memory, many groups at
once. A candidate is a way to lay the group's range on the grid of levels; it gives levels q, and those
give the scale (and minimum) of least squared error in closed form. The best candidate is refined by
rounding to its own grid once more, as often as that helps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flowvox.quantizers.ggml.formats import Floats, inverse

# (levels more than there are that the range is stretched to, share of those cut off at the low end).
# Chosen by experiment on Gaussian, Student (4 degrees) and uniform weights.
AFFINE_CANDIDATES = (
    *((stretch, share) for stretch in (-0.8, -0.1, 0.6, 1.3, 2.0) for share in (0.15, 0.85)),
    (-0.4, 0.5),
    (1.0, 0.5),
)
AFFINE_REFINEMENTS = 2
# Where the weight of largest magnitude lies, in units of the largest level of its sign.
SYMMETRIC_CANDIDATES = (*-np.linspace(0.953, 1.031, 6), *np.linspace(0.931, 0.984, 4))
SYMMETRIC_REFINEMENTS = 1
FLAT = 1e-5  # levels that vary less, relative to their mean square, leave s or m undetermined


@dataclass(frozen=True)
class Sums:
    """Sums over each group, [n] each, of x, q, q x, q q and 1, all weighted by importance."""

    x: Floats
    q: Floats
    qx: Floats
    qq: Floats
    one: Floats


class Groups:
    """The weights x [group, n] and their importance, with buffers for levels."""

    def __init__(self, x: Floats, importance: Floats | None) -> None:
        self.x, self.importance = x, importance
        self.q = np.empty_like(x)
        self._product = np.empty_like(x)
        self._weighted_x = x if importance is None else x * importance
        self._sum_x: Floats = self._weighted_x.sum(axis=0)
        self._sum_one: Floats = (
            np.full_like(self._sum_x, len(x)) if importance is None else importance.sum(axis=0)
        )

    def round(self, slope: Floats, offset: Floats | float, low: int, high: int) -> None:
        """q = x slope + offset to nearest, within low ... high."""
        np.multiply(self.x, slope, out=self.q)
        np.add(self.q, offset, out=self.q)
        np.rint(self.q, out=self.q)
        np.clip(self.q, low, high, out=self.q)

    def sums(self) -> Sums:
        """Those of the present levels."""
        q, product, weighted = self.q, self._product, self.q
        qx: Floats = np.multiply(q, self._weighted_x, out=product).sum(axis=0)
        if self.importance is not None:
            weighted = np.multiply(q, self.importance, out=product)
        total = weighted.sum(axis=0)
        qq = np.multiply(weighted, q, out=product).sum(axis=0)
        return Sums(self._sum_x, total, qx, qq, self._sum_one)


def search_affine(groups: Groups, top: int) -> tuple[Floats, Floats]:
    """(s, m), [n] each, s >= 0, m >= 0, for x ~ s q - m with q in 0 ... top."""
    low = np.minimum(groups.x.min(axis=0), np.float32(0))
    unit = inverse(groups.x.max(axis=0) - low)
    best, least_m, most = np.zeros_like(low), -low, np.zeros_like(low)

    def attempt(slope: Floats, offset: Floats) -> None:
        nonlocal best, least_m, most
        groups.round(slope, offset, 0, top)
        s, m, gain = _affine_optimum(groups.sums())
        better = gain > most
        best, least_m, most = (
            np.where(better, new, old) for new, old in ((s, best), (m, least_m), (gain, most))
        )

    for stretch, share in AFFINE_CANDIDATES:
        slope = unit * np.float32(top + stretch)
        attempt(slope, -low * slope - np.float32(share * stretch))
    for _ in range(AFFINE_REFINEMENTS):
        slope = inverse(best)
        attempt(slope, least_m * slope)
    return best, least_m


def _affine_optimum(sums: Sums) -> tuple[Floats, Floats, Floats]:
    """(s, m, sum x^2 - sum (s q - m - x)^2) of least error under m >= 0; no gain where s < 0."""
    power = sums.one * sums.qq
    determinant = power - sums.q * sums.q
    scale = inverse(determinant)
    s = (sums.one * sums.qx - sums.x * sums.q) * scale
    m = (sums.q * sums.qx - sums.qq * sums.x) * scale
    alone = (m < 0) | (determinant <= FLAT * power)
    s = np.where(alone, sums.qx * inverse(sums.qq), s)
    m = np.where(alone, np.float32(0), m)
    gain = s * (2 * sums.qx - s * sums.qq) + m * (2 * (s * sums.q - sums.x) - m * sums.one)
    return s, m, np.where(s > 0, gain, np.float32(-1))


def search_symmetric(groups: Groups, half: int) -> Floats:
    """s [n], of either sign, for x ~ s q with q in -half ... half - 1."""
    high, low = groups.x.max(axis=0), groups.x.min(axis=0)
    unit = inverse(np.where(high > -low, high, low)) * np.float32(half)
    best, most = np.zeros_like(high), np.zeros_like(high)

    def attempt(slope: Floats) -> None:
        nonlocal best, most
        groups.round(slope, 0.0, -half, half - 1)
        sums = groups.sums()
        s = sums.qx * inverse(sums.qq)
        gain = s * sums.qx
        better = gain > most
        best, most = np.where(better, s, best), np.where(better, gain, most)

    for position in SYMMETRIC_CANDIDATES:
        attempt(unit * np.float32(position))
    for _ in range(SYMMETRIC_REFINEMENTS):
        attempt(inverse(best))
    return best

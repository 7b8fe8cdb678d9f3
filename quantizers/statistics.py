"""What calibration says of the inputs of a matrix: the currency between it and the methods."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from flowvox.quantizers.gptq import feedback

Floats = NDArray[np.float32]
LEAST_IMPORTANCE = 1e-4  # of the mean: an input that calibration did not see still counts a little


class InputStatistics:
    """Of the inputs x [positions, columns] of one or several matrices, over weighted positions.

    mean_square: float32 [columns], mean of x^2; maximum: float32 [columns], the largest |x|.
    `read_hessian` gives the mean of x^T x, float32 [columns, columns], a fresh array.
    """

    def __init__(
        self, mean_square: Floats, maximum: Floats, read_hessian: Callable[[], Floats]
    ) -> None:
        self.mean_square, self.maximum, self.hessian = mean_square, maximum, read_hessian
        self._feedback: Floats | None = None

    def importance(self) -> Floats:
        """What a squared error in each column counts: [columns], never 0."""
        floor = max(float(self.mean_square.mean()) * LEAST_IMPORTANCE, 1e-30)
        return np.maximum(self.mean_square, np.float32(floor))

    def feedback(self) -> Floats:
        """GPTQ's, computed once for all matrices that share the inputs."""
        if self._feedback is None:
            self._feedback = feedback(self.hessian())
        return self._feedback

    def folded(self, scales: Floats) -> InputStatistics:
        """Those of x / scales [columns], where the scales went into the matrices."""
        return InputStatistics(
            self.mean_square / np.square(scales),
            self.maximum / scales,
            lambda: self.hessian() / np.outer(scales, scales),
        )

"""Noise of known truth, for the tests of statistics."""

from __future__ import annotations

import math

import numpy as np
import scipy.signal
from numpy.typing import NDArray

Array = NDArray[np.float64]


def ar1(rho: float, size: int, random: np.random.Generator) -> Array:
    """AR(1) of standard deviation 1, stationary from its first value."""
    steps = random.normal(size=size)
    steps[1:] *= math.sqrt(1 - rho**2)
    values: Array = scipy.signal.lfilter([1.0], [1.0, -rho], steps)
    return values

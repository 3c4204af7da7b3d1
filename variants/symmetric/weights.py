"""Symmetric weights of two blocks of tokens, and what they are multiplied by on either side.

With symmetric E, P_ij = E_ij w_j / t_i are the weights of rows, where w is of keys and t, the sum
of a row, of queries: out_i = sum_j E_ij (w_j v_j) / t_i.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor

from variants.chunked.part import LOG2_E, MODERATE

SPREAD = 120.0
"""Of s_ii, in base e: half of it each is what 1/t and w may be, e^60, and float32 ends at e^88."""


class Range(Enum):
    """How far the scores s_ii of tokens with themselves reach.

    No score exceeds the largest of them (Cauchy-Schwarz), and no row's largest one is below its
    own. MODERATE: exp(s_ij) itself is in range, and a row's sum is at least 1, for s_ii >= 0.
    SHIFTED: exp(s_ij - (s_ii + s_jj)/2) = exp(-scale |x_i - x_j|^2 / 2) is at most 1, and
    exp(s_jj/2 - c), c their largest half, is in range. WIDE: neither; float32 gives 0/0 there.
    """

    MODERATE = "moderate"
    SHIFTED = "shifted"
    WIDE = "wide"

    @classmethod
    def of(cls, own: Tensor) -> Range:
        """Of scores with themselves in base 2; of what is not a number, the widest."""
        low, high = (float(end) for end in own.aminmax())
        if high <= MODERATE:
            return cls.MODERATE
        return cls.SHIFTED if high - low <= SPREAD * LOG2_E else cls.WIDE


@dataclass(frozen=True, eq=False)
class Weights:
    """E of n sequences of tokens x, from products of vectors.

    y (n, L, D): tokens scaled; slope: what a gradient by y is multiplied by to be one by x. rows,
    keys: what is multiplied, y, or y with two more features for the shift. times: w (n, L, 1), None
    where rows are not divided by a sum. degree: None for exponentials.
    """

    y: Tensor
    rows: Tensor
    keys: Tensor
    slope: float
    range: Range = Range.MODERATE
    times: Tensor | None = None
    degree: int | None = None

    @classmethod
    def softmax(cls, x: Tensor, scale: float) -> Weights:
        """E = 2^(y_i y_j), y = x sqrt(scale log2(e)), or shifted by half of each own score."""
        y = x * (scale * LOG2_E) ** 0.5
        slope = (scale / LOG2_E) ** 0.5
        own = y.square().sum(-1, keepdim=True)
        found, one = Range.of(own), torch.ones_like(own)
        if found is not Range.SHIFTED:
            return cls(y, y, y, slope, found, one)
        half = own / -2
        rows, keys = torch.cat([y, half, one], 2), torch.cat([y, one, half], 2)
        return cls(y, rows, keys, slope, found, (half.amin() - half).exp2_())

    @classmethod
    def polynomial(cls, x: Tensor, scale: float, degree: int) -> Weights:
        """E = (y_i y_j)^degree, y = x sqrt(scale) L^(-1/(4 degree)); rows are not normalised."""
        slope = float(scale * x.shape[1] ** (-0.5 / degree)) ** 0.5
        y = x * slope
        return cls(y, y, y, slope, degree=degree)

    def take(self, part: slice) -> Weights:
        """Some of the sequences."""
        y, rows, keys = self.y[part], self.rows[part], self.keys[part]
        times = None if self.times is None else self.times[part]
        return replace(self, y=y, rows=rows, keys=keys, times=times)

    def weigh(self, scores: Tensor) -> None:
        """Scores to E, in place."""
        if self.degree is None:
            scores.exp2_()
        elif self.degree > 1:
            scores.pow_(self.degree)

    def differentiate(self, scores: Tensor, spare: Tensor) -> Tensor:
        """Scores to E, in place; returned is what gradients by E become those by scores with.

        E itself, the factor of base 2 being in `slope`; degree scores^(degree - 1).
        """
        if self.degree is None:
            return scores.exp2_()
        if self.degree == 1:
            return spare.fill_(1.0)
        torch.pow(scores, self.degree - 1, out=spare)
        scores.mul_(spare)
        return spare.mul_(self.degree)

"""What every polynomial kernel computes, and the parameters that change it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from harness import AttentionOp, Mask, Workload

Norm = Literal["sequence", "row", "fixed"]
_RARE = 18.0  # minus the logarithm of a chance that few among many millions of scores have


@dataclass(frozen=True)
class PolynomialFamily(AttentionOp):
    """Every kernel of zero_masked((scale q k^T)^degree * norm) v, element-wise.

    Saratchandran et al. 2024 (arXiv:2410.18613): x^p / sqrt(N) replaces softmax, so weights may
    be negative and rows are not normalised. The paper evaluates no masks; here a masked weight is
    0 after the power, and what N is then is a choice:

    norm: `sequence`, 1/sqrt(Lkv), whatever the mask; `row`, 1/sqrt(keys that the row sees);
    `fixed`, 1/divisor, of which the paper's x^3/14 is the square root of a ViT's 196 tokens.
    inner_scale: whether the workload's scale, usually 1/sqrt(D), stays inside the power; what
    could be read of the paper does not say.
    """

    family: ClassVar[str] = "polynomial"
    degree: int = 3
    norm: Norm = "sequence"
    divisor: float = 14.0
    inner_scale: bool = True

    def __post_init__(self) -> None:
        if self.degree < 1:
            raise ValueError(
                f"degree must be at least 1: degree={self.degree}; write 1, 2, 3 or more"
            )
        if not 0 < self.divisor < float("inf"):
            raise ValueError(
                f"divisor must be above 0: divisor={self.divisor}; write 14 or another number"
            )
        if self.norm != "fixed" and self.divisor != PolynomialFamily.divisor:
            raise ValueError(
                f"divisor is read under norm=fixed alone: divisor={self.divisor}, "
                f"norm={self.norm}; write norm=fixed or leave divisor out"
            )
        # The formula takes q and k by themselves where the scale is left out of it.
        object.__setattr__(self, "scaled", self.inner_scale)

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """zero_masked((scale q k^T)^degree * norm) v."""
        scores = q @ k.mT * (scale if self.inner_scale else 1.0)
        norm = row_norms(mask, self.norm, self.divisor, q.dtype)
        return mask.zero(scores**self.degree * norm) @ v


def row_norms(mask: Mask, norm: Norm, divisor: float, dtype: torch.dtype) -> float | Tensor:
    """What the weights of a row are multiplied by: (B', 1, R, 1) under `row`, else one number.

    A row that sees no key has any: its weights are 0.
    """
    if norm == "row":
        seen = (mask.stop - mask.start).clamp(min=1)
        return seen.double().rsqrt().to(dtype)[:, None, :, None]
    return 1 / divisor if norm == "fixed" else mask.kv_len**-0.5


def overflow(workload: Workload, degree: int, scale: float) -> str | None:
    """Why the dtype cannot hold the weights of scores times `scale`; None if it can."""
    largest = torch.finfo(workload.torch_dtype).max
    deviation = workload.logit_std / workload.scale * scale
    # Where q = k, the score of a token with itself is a sum of squares.
    most = _most(workload.logit_rank) if workload.shared == "none" else 2 * _RARE
    if degree * math.log(most * deviation) <= math.log(largest):
        return None
    return (
        f"{workload.dtype} ends at {largest:.3g}, which scores of standard deviation "
        f"{deviation:.3g} to the power {degree} pass; use bfloat16 or float32, a lower degree or "
        "smaller scores"
    )


def _most(rank: int) -> float:
    """Standard deviations that hardly a score passes: 6.0 of many terms, 20.0 of a single one.

    Of S = sum x_i y_i / sqrt(r), x and y normal, E exp(l S) = (1 - l^2 / r)^(-r / 2), so that
    P(S > t) <= exp(-max over l of (l t + r / 2 log(1 - l^2 / r))) (Chernoff).
    """

    def exponent(t: float) -> float:
        best = rank * (math.sqrt(1 + 4 * t * t / rank) - 1) / (2 * t)
        return best * t + rank / 2 * math.log1p(-best * best / rank)

    low, high = 1.0, 2 * _RARE
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (low, middle) if exponent(middle) > _RARE else (middle, high)
    return high

"""Performer: softmax attention estimated from positive random features (arXiv:2009.14794)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness import Attention, AttentionOp, Cost, Mask, Recurrence, Workload, register
from variants import prefix


@register("performer")
@dataclass(frozen=True)
class Performer(AttentionOp):
    """FAVOR+ (Choromanski et al. 2021, arXiv:2009.14794, lemma 1).

    phi(x) = exp(w_i x - |x|^2 / 2) / sqrt(m), w_i of `features` random directions, orthogonal
    within blocks of D; exp(q k) is the mean of phi(q) phi(k)^T, with q and k scaled by sqrt(scale)
    each. The directions are drawn once, from `seed`. Without the small constant that the paper's
    code adds to each feature, which would bias the estimate.
    """

    family: ClassVar[str] = "performer"
    approximates: ClassVar[str] = "softmax"
    grouped: ClassVar[bool] = True
    scaled: ClassVar[bool] = False

    features: int = 256
    seed: int = 0
    chunk: int = 128

    def __post_init__(self) -> None:
        if self.features < 1:
            raise ValueError(
                f"features must be at least 1: features={self.features}; write 64, 256 or more"
            )
        prefix.check(self.chunk)

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """w v / (sum of w), w = phi(q) phi(k)^T over the attended keys."""
        # 16 bit has no room for the exponentials: they are taken in float32 there.
        wide = prefix.wide(q)
        w = draw(self.features, q.shape[-1], self.seed).to(q.device, wide)

        def phi(x: Tensor) -> Tensor:
            x = x.to(wide) * scale**0.5
            exponents: Tensor = x @ w.mT - x.square().sum(-1, keepdim=True) / 2
            features: Tensor = exponents.exp() * self.features**-0.5
            return features

        weights = mask.zero(phi(q) @ phi(k).mT)
        total = weights.sum(-1, keepdim=True)
        return (weights / total.masked_fill(total == 0, 1.0) @ v.to(wide)).to(q.dtype)

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Draw the directions and cut the mask into chunks."""
        queries, keys = self._maps(workload)
        plan = prefix.Plan.of(mask, self.chunk)

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out = prefix.normalised(queries(q), keys(k), v.to(prefix.wide(v)), plan)
            return out.to(q.dtype)

        return call

    def recurrence(self, workload: Workload, mask: Mask) -> Recurrence | None:
        """The sums of phi(k) v^T and of phi(k): causal attention, one position at a time."""
        return prefix.recurrence(*self._maps(workload), mask)

    def cost(self, workload: Workload) -> Cost:
        """The products of features, of states and of tiles."""
        mapped = workload.head_dim * self.features
        return prefix.cost(workload, self.chunk, self.features, mapped)

    def _maps(self, workload: Workload) -> tuple[prefix.Features, prefix.Features]:
        wide = workload.sum_dtype
        directions = draw(self.features, workload.head_dim, self.seed)
        # Scaling them in place of q and k leaves the long tensors alone.
        directions = directions.to(workload.device, wide).mT * workload.scale**0.5

        def queries(q: Tensor) -> Tensor:
            # A factor of a row cancels in its division: the largest feature stands for |q|^2 / 2.
            exponents: Tensor = q.to(wide) @ directions
            return (exponents - exponents.detach().amax(-1, keepdim=True)).exp()

        def keys(k: Tensor) -> Tensor:
            k = k.to(wide)
            lengths = k.square().sum(-1, keepdim=True) * workload.scale
            exponents: Tensor = k @ directions - lengths / 2
            return exponents.exp()

        return queries, keys


def draw(features: int, width: int, seed: int) -> Tensor:
    """(features, width) float64 directions: orthogonal within each block of `width`.

    Each has the length of a normal vector of its own, so that it is normal by itself
    (Choromanski et al. 2021, section 2.4).
    """
    generator = torch.Generator().manual_seed(seed)
    blocks = -(-features // width)
    normal = torch.randn((blocks, width, width), generator=generator, dtype=torch.float64)
    lengths = torch.randn(normal.shape, generator=generator, dtype=torch.float64).norm(dim=-1)
    q, r = torch.linalg.qr(normal)
    # The signs of R's diagonal make Q uniform over rotations (Mezzadri 2007, math-ph/0609050).
    rotations = q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None]
    directions: Tensor = rotations.mT * lengths[..., None]
    return directions.flatten(0, 1)[:features]

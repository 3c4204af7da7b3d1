"""Features whose products are powers of scores: degree 1, the vector; degree 2, its pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """f with times * f(q) . f(k) = (q . k)^degree, of vectors of head_dim D.

    Degree 2 has the symmetric tensor's D (D + 1) / 2 elements: x_a x_b of each pair once, squares
    divided by sqrt(2), so that every element of the product counts twice. Pairs stand by their
    distance: x_a x_(a + s mod D) for s = 0, 1, .. D / 2. One distance is one product of x with x
    rotated, so that all are two products of views, and nothing is gathered.
    """

    degree: int
    head_dim: int

    @property
    def width(self) -> int:
        """Elements of a feature vector."""
        return self.head_dim if self.degree == 1 else self.head_dim * (self.head_dim + 1) // 2

    @property
    def times(self) -> int:
        """What a product of features is multiplied by to be the power."""
        return self.degree

    def of(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """(n, L, D) -> (n, L, width), for degree 2 written into `out` if given."""
        if self.degree == 1:
            return x
        if out is None:
            out = x.new_empty((*x.shape[:2], self.width))
        d, whole = self.head_dim, self._whole
        twice = torch.cat([x, x], -1)
        rotated = twice.unfold(-1, d, 1)[:, :, :whole]
        torch.mul(rotated, x[:, :, None], out=out[..., : whole * d].view(rotated.shape))
        if d % 2 == 0:
            torch.mul(x[..., d // 2 :], x[..., : d // 2], out=out[..., whole * d :])
        out[..., :d].mul_(0.5**0.5)
        return out

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        """Of x (n, L, D), given that of its features, which is not kept."""
        if self.degree == 1:
            return upstream
        d = self.head_dim
        upstream[..., :d].mul_(0.5**0.5)
        twice = torch.cat([x, x], -1)
        found = torch.zeros_like(twice)
        for shift in range(d // 2 + 1):
            # At half of an even D each pair would come twice.
            count = d // 2 if 2 * shift == d else d
            part = upstream[..., shift * d : shift * d + count]
            found[..., :count].addcmul_(part, twice[..., shift : shift + count])
            found[..., shift : shift + count].addcmul_(part, twice[..., :count])
        return found[..., :d].add_(found[..., d:])

    @property
    def _whole(self) -> int:
        """Distances at which every element of x has a partner that it meets once."""
        return (self.head_dim + 1) // 2

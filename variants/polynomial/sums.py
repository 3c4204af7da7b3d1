"""A sum of features times values, which rows read and gradients flow through."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from variants.polynomial.features import Features

ROWS = 512
"""Vectors of all heads whose features exist at once: more would not fit the caches."""


class FeatureSum:
    """M = times * sum_j f(x_j) y_j^T, (n, width, Dv), of n heads; f(q) M = sum_j (q . x_j)^p y_j.

    It serves forward with keys and values, and the gradients of those with queries and the gradient
    of the output, added in the opposite order.
    """

    def __init__(self, features: Features, heads: int, v_head_dim: int, like: Tensor) -> None:
        self._features = features
        self._matrix = like.new_zeros((heads, features.width, v_head_dim))
        self._length = max(1, ROWS // heads)
        size = self._length * heads * features.width if features.degree > 1 else 0
        self._scratch = like.new_empty(size)

    def empty(self) -> None:
        """Start anew."""
        self._matrix.zero_()

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add x (n, L, D) with y (n, L, Dv)."""
        for part in self._parts(x):
            product = self._of(x[:, part]).mT, y[:, part]
            self._matrix.baddbmm_(*product, alpha=self._features.times)

    def read(self, x: Tensor) -> Tensor:
        """f(x) M, (n, L, D) -> (n, L, Dv)."""
        return _joined([torch.bmm(self._of(x[:, part]), self._matrix) for part in self._parts(x)])

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        """The gradient of sum(f(x) M * y) by x, (n, L, D)."""
        return _joined(
            [
                self._features.gradient(
                    x[:, part], torch.bmm(y[:, part], self._matrix.mT, out=self._view(x[:, part]))
                )
                for part in self._parts(x)
            ]
        )

    def _parts(self, x: Tensor) -> Iterator[slice]:
        length = x.shape[1] if self._features.degree == 1 else self._length
        return (slice(at, at + length) for at in range(0, x.shape[1], length))

    def _of(self, x: Tensor) -> Tensor:
        return self._features.of(x, self._view(x))

    def _view(self, x: Tensor) -> Tensor | None:
        """Scratch for the features of x; None where they are x itself."""
        if self._features.degree == 1:
            return None
        shape = (*x.shape[:2], self._features.width)
        return self._scratch[: x.shape[0] * x.shape[1] * shape[-1]].view(shape)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

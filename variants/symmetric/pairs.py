"""The blocks of a triangle: which pairs of blocks there are, and tensors cut along them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

SCORES = 1 << 18
"""Scores in memory at once, about: 1 MiB in float32."""


@dataclass(frozen=True)
class Triangle:
    """Blocks of `block` tokens of a sequence; causal, rows I see keys J <= I alone."""

    length: int
    block: int
    causal: bool

    @property
    def sizes(self) -> list[int]:
        """Tokens of each block."""
        return [min(self.block, self.length - at) for at in range(0, self.length, self.block)]

    def pairs(self) -> Iterator[tuple[int, int]]:
        """(I, J) with J <= I: each of them once."""
        return ((i, j) for i in range(len(self.sizes)) for j in range(i + 1))

    def cut(self, tensor: Tensor) -> list[Tensor]:
        """(n, L, width) in blocks, contiguous: to parts of a tensor torch adds slice by slice."""
        return [part.contiguous() for part in torch.split(tensor, self.block, 1)]

    def zeros(self, like: Tensor, width: int) -> list[Tensor]:
        """(n, B, width) of each block."""
        return [like.new_zeros(like.shape[0], size, width) for size in self.sizes]

    def hide(self, scores: Tensor, i: int, j: int, value: float) -> None:
        """Write a value where a row does not see a key: above the diagonal, if causal."""
        if self.causal and i == j:
            size = scores.shape[-1]
            ones = torch.ones((size, size), dtype=torch.bool, device=scores.device)
            scores.masked_fill_(ones.triu_(1), value)

    def together(self, slices: int) -> Iterator[slice]:
        """Heads of sequences that are computed at once."""
        step = max(1, SCORES // max(self.sizes) ** 2)
        return (slice(at, min(at + step, slices)) for at in range(0, slices, step))

    @property
    def scored(self) -> int:
        """Pairs of tokens whose score is computed, of one head."""
        sizes = self.sizes
        return sum(sizes[i] * sizes[j] for i, j in self.pairs())

    @property
    def used(self) -> int:
        """Pairs of a query and a key that are summed over: both ways, where not causal."""
        return self.scored if self.causal else self.length**2

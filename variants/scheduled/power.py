"""Pairs of blocks under a power of the scores: plain sums, merged by adding.

Of a row with scores S and factor c: out = c sum_j S_j^p v_j. Backward: W = S^p, with g the output's
gradient times c, dW = g v^T and dS = p S^(p - 1) dW (arXiv:2410.18613).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from variants.scheduled.pairs import Backward, Forward
from variants.scheduled.travel import Block


@dataclass
class PowerForward(Forward):
    """Sums (num,). factor (B' or 1, 1, L or 1, 1), what the weights of a row are multiplied by."""

    degree: int
    factor: Tensor

    def zeros(self, block: int) -> Block:
        """No term yet."""
        return (self.tensor(block, self.v_head_dim).zero_(),)

    def add(self, sums: Block, scores: Tensor, hidden: Tensor | None, v: Tensor) -> None:
        """A tile."""
        weights = scores**self.degree
        sums[0].add_((weights if hidden is None else weights.masked_fill(hidden, 0.0)) @ v)

    def merge(self, sums: Block, others: Block) -> None:
        """By adding."""
        sums[0].add_(others[0])

    def output(self, sums: Block, rows: Tensor) -> Tensor:
        """C num."""
        return sums[0] * self.kept(sums, rows)

    def kept(self, sums: Block, rows: Tensor) -> Tensor:
        """C of these rows."""
        return self.factor if self.factor.shape[2] == 1 else self.factor[:, :, rows]


@dataclass
class PowerBackward(Backward):
    """Blocks (k, v, c g, q)."""

    degree: int

    of_query = 1

    def upstream(self, g: Tensor, out: Tensor, kept: Tensor) -> Block:
        """What a query brings beside itself: c g."""
        return (g * kept,)

    def weights(self, scores: Tensor, hidden: Tensor | None, query: Block) -> Tensor:
        """W."""
        weights = scores**self.degree
        return weights if hidden is None else weights.masked_fill(hidden, 0.0)

    def slope(self, scores: Tensor, weights: Tensor, dw: Tensor, query: Block) -> Tensor:
        """DS = p S^(p - 1) dW."""
        return self.degree * scores ** (self.degree - 1) * dw

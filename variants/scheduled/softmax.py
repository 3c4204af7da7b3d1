"""Pairs of blocks under softmax: sums with a maximum of their own, merged by log-sum-exp.

Of a row with scores S: num = sum_j exp(S_j - top) v_j, den = sum_j exp(S_j - top), and top, the
largest of the S_j so far. Two parts merge at t = max(top, top'): num e^(top - t) + num' e^(top' -
t), den likewise (Milakov and Gimelshein 2018, arXiv:1805.02867). Backward, with lse = top + log den
and D = sum(g out) of each row: P = exp(S - lse), dS = P (g v^T - D) (Dao et al. 2022,
arXiv:2205.14135, algorithm 4).
"""

from __future__ import annotations

import torch
from torch import Tensor

from variants.scheduled.pairs import Backward, Forward
from variants.scheduled.travel import Block

_LOWEST = -1e30  # below every score, and finite: exp(-inf - _LOWEST) is 0, not NaN


class SoftmaxForward(Forward):
    """Sums (num, den, top)."""

    def zeros(self, block: int) -> Block:
        """No term yet."""
        return (
            self.tensor(block, self.v_head_dim).zero_(),
            self.tensor(block, 1).zero_(),
            self.tensor(block, 1).fill_(_LOWEST),
        )

    def add(self, sums: Block, scores: Tensor, hidden: Tensor | None, v: Tensor) -> None:
        """A tile: its own maximum first, then its terms."""
        num, den, top = sums
        scores = scores if hidden is None else scores.masked_fill(hidden, -torch.inf)
        new = torch.maximum(top, scores.amax(-1, keepdim=True))
        weights, kept = torch.exp(scores - new), torch.exp(top - new)
        num.mul_(kept).add_(weights @ v)
        den.mul_(kept).add_(weights.sum(-1, keepdim=True))
        top.copy_(new)

    def merge(self, sums: Block, others: Block) -> None:
        """By log-sum-exp."""
        (num, den, top), (other_num, other_den, other_top) = sums, others
        new = torch.maximum(top, other_top)
        kept, added = torch.exp(top - new), torch.exp(other_top - new)
        num.mul_(kept).add_(other_num * added)
        den.mul_(kept).add_(other_den * added)
        top.copy_(new)

    def output(self, sums: Block, rows: Tensor) -> Tensor:
        """num / den; 0 where nothing is seen."""
        num, den, _ = sums
        return num / den.masked_fill(den == 0, 1.0)

    def kept(self, sums: Block, rows: Tensor) -> Tensor:
        """lse (B, H, rows, 1); infinite where nothing is seen, so that P is 0."""
        _, den, top = sums
        return torch.where(den == 0, torch.inf, top + den.log())


class SoftmaxBackward(Backward):
    """Blocks (k, v, g, lse, D, q)."""

    of_query = 3

    def upstream(self, g: Tensor, out: Tensor, kept: Tensor) -> Block:
        """What a query brings beside itself: g, lse and D."""
        return g, kept, (g * out).sum(-1, keepdim=True)

    def weights(self, scores: Tensor, hidden: Tensor | None, query: Block) -> Tensor:
        """P."""
        scores = scores if hidden is None else scores.masked_fill(hidden, -torch.inf)
        return torch.exp(scores - query[1])

    def slope(self, scores: Tensor, weights: Tensor, dw: Tensor, query: Block) -> Tensor:
        """DS = P (g v^T - D)."""
        return weights * (dw - query[2])

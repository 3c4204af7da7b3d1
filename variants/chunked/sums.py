"""What a blocked kernel adds up: over the keys for the output, over the queries for dk and dv."""

from __future__ import annotations

import torch
from torch import Tensor

from harness import KvBlock
from variants.chunked.scratch import Scratch


class RowSums:
    """Of a chunk of queries: each row's peak, sum of weights and weighted values, so far.

    Where no score is far from 0, weights are taken as they are: the peak is 0 and stays it.
    """

    def __init__(
        self, scratch: Scratch, slices: int, rows: int, width: int, *, moderate: bool
    ) -> None:
        shape = slices, rows, 1
        self._moderate = moderate
        # Finite, so that a row without keys has the weight exp2(-inf) = 0 and not NaN.
        self._peak = scratch.take("peak", *shape).fill_(
            0.0 if moderate else torch.finfo(scratch.dtype).min
        )
        self._next, self._part = scratch.take("next", *shape), scratch.take("part", *shape)
        self._total = scratch.take("total", *shape).zero_()
        self._values = scratch.take("values", slices, rows, width).zero_()

    def add(self, scores: Tensor, values: Tensor) -> None:
        """Take in one block of keys; its scores, in base 2, become its weights."""
        if not self._moderate:
            self._shift(scores)
        scores.exp2_()
        self._total.add_(torch.sum(scores, -1, keepdim=True, out=self._part))
        self._values.baddbmm_(scores, values)

    def _shift(self, scores: Tensor) -> None:
        torch.amax(scores, -1, keepdim=True, out=self._next)
        torch.maximum(self._next, self._peak, out=self._next)
        shrink = self._peak.sub_(self._next).exp2_()
        self._total.mul_(shrink)
        self._values.mul_(shrink)
        self._peak, self._next = self._next, self._peak
        scores.sub_(self._peak)

    def write(self, out: Tensor, norms: Tensor) -> None:
        """The output, and log2 of the sum of weights: (slices, G, R, Dv) and (slices, G, R, 1)."""
        # Only a row without keys has less: 0, and values of 0.
        least = torch.finfo(self._total.dtype).tiny
        total = self._total.clamp_(min=least).view(norms.shape)
        torch.div(self._values.view(out.shape), total, out=out)
        torch.add(self._peak.view(norms.shape), total.log2_(), out=norms)


class KeySums:
    """dk and dv of each block of keys, contiguous: in parts of a tensor, torch adds slice by slice.

    A block that no chunk of queries attends to has none.
    """

    def __init__(self, scratch: Scratch, keys: Tensor, values: Tensor) -> None:
        self._scratch, self._whole = scratch, (keys, values)
        self._parts: dict[int, tuple[Tensor, Tensor]] = {}

    def of(self, block: KvBlock) -> tuple[Tensor, Tensor]:
        """(slices, K, D) and (slices, K, Dv), to be added to."""
        if block.start not in self._parts:
            like = (x[:, block.start : block.stop] for x in self._whole)
            dk, dv = (x.new_zeros(x.shape, dtype=self._scratch.dtype) for x in like)
            self._parts[block.start] = dk, dv
        return self._parts[block.start]

    def write(self, dk: Tensor, dv: Tensor, factor: float) -> None:
        """dk (slices, Lkv, D), multiplied by a factor, and dv (slices, Lkv, Dv)."""
        dk.zero_()
        dv.zero_()
        for start, (keys, values) in self._parts.items():
            span = slice(start, start + keys.shape[1])
            dk[:, span], dv[:, span] = keys.mul_(factor), values

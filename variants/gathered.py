"""Softmax attention of each block of queries to a few blocks of keys: O(L) where those are few."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness import Mask
from variants.folding import cut, fold, unfold

STEP = 16
"""Blocks of queries whose keys are gathered at once: their scores stay in a CPU's caches."""


@dataclass(frozen=True)
class Gathered:
    """Rows from `first` on, in blocks that begin `front` rows ahead of it.

    numbers (n, S): for each block of queries the blocks of keys that it reads, filled up with some
    that are hidden. hidden (B', 1, n, block, S * block): what none of its rows or only some see.
    """

    block: int
    first: int
    front: int
    numbers: Tensor
    hidden: Tensor

    @classmethod
    def of(cls, pattern: Tensor, mask: Mask, block: int, first: int) -> Gathered:
        """Where a pattern (blocks of queries, blocks of keys) and a mask both show something.

        The pattern's rows are aligned to the keys: its last one holds the last query.
        """
        front = (first + mask.kv_len - mask.q_len) % block
        start, stop = (
            cut(bound[:, first:, None], block, front)[..., 0] for bound in (mask.start, mask.stop)
        )
        seeing = stop > start
        low = torch.where(seeing, start, mask.kv_len).amin((0, 2))[:, None]
        high = torch.where(seeing, stop, 0).amax((0, 2))[:, None]
        begin = torch.arange(pattern.shape[1], device=mask.device) * block
        read = pattern[len(pattern) - len(low) :] & (begin < high) & (begin + block > low)
        most = max(1, int(read.sum(-1).max()))
        numbers = read.int().argsort(stable=True, dim=-1, descending=True)[:, :most]
        inside = torch.arange(block, device=mask.device)
        keys = (numbers[..., None] * block + inside).flatten(1)[:, None]
        shown = read.gather(1, numbers).repeat_interleave(block, 1)[:, None]
        seen = shown & (keys >= start[..., None]) & (keys < stop[..., None])
        return cls(block, first, front, numbers, ~seen[:, None])

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, H, Lq - first, D), scaled, -> (B, H, Lq - first, Dv)."""
        rows = fold(q, k.shape[1], self.block, self.front)
        keys, values = cut(k, self.block), cut(v, self.block)
        parts = []
        for at in range(0, len(self.numbers), STEP):
            numbers = self.numbers[at : at + STEP]
            read = [
                torch.unflatten(blocks.index_select(2, numbers.flatten()), 2, numbers.shape)
                for blocks in (keys, values)
            ]
            hidden = self.hidden[:, :, at : at + STEP]
            near_k, near_v = (blocks.flatten(3, 4) for blocks in read)
            parts.append(attend(rows[:, :, at : at + STEP], near_k, near_v, hidden))
        return unfold(torch.cat(parts, 2), self.block, q.shape[2], self.front)

    @property
    def pairs(self) -> int:
        """Pairs of queries and keys that are multiplied, of one head."""
        return self.hidden[0].numel()

    def keys_read(self, kv_len: int) -> int:
        """Keys that some block of queries reads."""
        begin = torch.unique(self.numbers)[:, None] * self.block
        return int((begin + torch.arange(self.block) < kv_len).sum())


def attend(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor) -> Tensor:
    """softmax(q k^T) v, q (B, Hkv, n, G * R, D), k (B, Hkv, n, K, D), hidden (B', 1, n, R, K).

    A row from which all is hidden gives 0.
    """
    scores = torch.unflatten(q @ k.mT, 3, (-1, hidden.shape[3]))
    hidden = hidden[:, :, :, None]
    weights = scores.masked_fill(hidden, -torch.inf).softmax(-1).masked_fill(hidden, 0.0)
    return weights.flatten(3, 4) @ v

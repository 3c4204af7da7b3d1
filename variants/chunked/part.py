"""The parts of a blocked attention: heads that are computed together, with their mask."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harness import KvBlock, Mask, Workload
from variants.chunked.plan import Chunk, by_mask, chunks
from variants.chunked.scratch import Scratch

MODERATE = 60.0
"""Size of scores in base 2 up to which no weight, nor a row's sum of 2^60, leaves float32."""
FEW = 16
"""Queries below which reading all keys once more is dear."""
LOG2_E = math.log2(math.e)
SCORES = 1 << 19
"""Scores in memory at once, about: 2 MiB in float32, which the caches of two cores hold."""


@dataclass(frozen=True, eq=False)
class Part:
    """Some heads of keys of some sequences; `groups` heads of queries share each of them."""

    sequences: slice
    heads: slice
    groups: int
    mask: Mask
    plan: list[Chunk]
    scale: float

    def of_queries(self, tensor: Tensor) -> Tensor:
        """(B, H, L, n) -> this part's (slices, G, L, n), a view."""
        heads = slice(self.heads.start * self.groups, self.heads.stop * self.groups)
        part = tensor[self.sequences, heads]
        return part.reshape(-1, self.groups, *part.shape[2:])

    def of_keys(self, tensor: Tensor) -> Tensor:
        """(B, Hkv, L, n) -> this part's (slices, L, n), a view of a contiguous tensor."""
        return tensor[self.sequences, self.heads].flatten(0, 1)

    def moderate(self, queries: Tensor, keys: Tensor) -> bool:
        """Whether no score can exceed MODERATE: |q k| <= |q| |k| (Cauchy-Schwarz).

        Then softmax needs no row's maximum, and its weights lose nothing that float32 can hold.
        Said of no bias, of FEW queries at least, for which reading the keys once more is little,
        and on the CPU only: elsewhere the answer would have to be waited for.
        """
        few, off_cpu = queries.shape[-2] < FEW, queries.device.type != "cpu"
        if self.mask.bias_kind != "none" or few or off_cpu:
            return False
        wide = torch.promote_types(queries.dtype, torch.float32)
        q, k = (torch.linalg.vector_norm(x, dim=-1, dtype=wide).amax() for x in (queries, keys))
        # Not a number, if one of them is not: then not moderate.
        return float(q * k) * abs(self.scale) * LOG2_E <= MODERATE

    def scores(
        self, scratch: Scratch, queries: Tensor, keys: Tensor, rows: slice, block: KvBlock
    ) -> Tensor:
        """log2(e) (scale q k^T + bias), -inf where hidden: (slices, G R, K).

        queries (slices, G R, D), scaled; keys (slices, K, D).
        """
        scores = scratch.take("scores", *queries.shape[:2], keys.shape[1])
        torch.bmm(queries, keys.mT, out=scores)
        columns = slice(block.start, block.stop)
        together = (self.heads.stop - self.heads.start) * self.groups
        whole = scores.view(-1, together, rows.stop - rows.start, keys.shape[1])
        bias = self.mask.bias_block(rows, columns)
        if bias is not None:
            whole.add_(bias.to(scores.dtype), alpha=LOG2_E)
        if not block.full:
            # Added: to fill by a mask that is broadcast over heads takes ten times as long.
            whole.add_(torch.where(self.mask.dense_block(rows, columns), 0.0, -torch.inf))
        return scores


def parts(workload: Workload, mask: Mask, q_chunk: int, kv_chunk: int) -> list[Part]:
    """Sequences with different masks apart; of the others, and of heads, as many as fit SCORES."""
    groups, heads = workload.groups, workload.kv_heads
    fit = SCORES // (min(q_chunk, mask.q_len) * min(kv_chunk, mask.kv_len) * groups)
    if mask.bias_kind != "none":
        fit = max(fit, heads)  # a bias is made for all heads at once
    return [
        Part(some, few, groups, shared, plan, workload.scale)
        for sequences, shared in by_mask(mask)
        for plan in [chunks(shared, q_chunk, kv_chunk)]
        for some, few in _fitting(sequences, heads, max(1, fit))
    ]


def _fitting(sequences: slice, heads: int, fit: int) -> Iterator[tuple[slice, slice]]:
    """Whole sequences of at most `fit` heads together, or parts of one that has more."""
    together = max(1, fit // heads)
    for at in range(sequences.start, sequences.stop, together):
        for first in range(0, heads, fit):
            last = min(at + together, sequences.stop), min(first + fit, heads)
            yield slice(at, last[0]), slice(first, last[1])

"""The algorithm of Rabe and Staats in plain torch: summaries, merged; checkpointed backward."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from harness import Attention, KvBlock, Mask, Workload
from variants.chunked.plan import Chunk, chunks


def bound(workload: Workload, mask: Mask, q_chunk: int, kv_chunk: int) -> Attention:
    """A callable of q, k, v that attends chunk by chunk."""
    plan = chunks(mask, q_chunk, kv_chunk)
    groups = workload.groups

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = q * workload.scale
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        return torch.cat([_attend(q[:, :, chunk.rows], k, v, mask, chunk) for chunk in plan], 2)

    return call


class Summary(NamedTuple):
    """Of some keys: maximum (.., 1), sum of weights (.., 1), weighted values (.., Dv)."""

    peak: Tensor
    total: Tensor
    values: Tensor


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask, chunk: Chunk) -> Tensor:
    """One chunk of queries, scaled, against all its chunks of keys."""
    merged: Summary | None = None
    for block in chunk.blocks:
        keys = slice(block.start, block.stop)
        arguments = (q, k[:, :, keys], v[:, :, keys], mask, chunk.rows, block)
        if torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v)):
            summary = checkpoint(
                _summarise, *arguments, use_reentrant=False, preserve_rng_state=False
            )
        else:
            summary = _summarise(*arguments)
        merged = summary if merged is None else _merge(merged, summary)
    if merged is None:
        # Tied to q, so that a gradient of zero reaches it.
        return q.sum(-1, keepdim=True) * v.new_zeros(v.shape[-1])
    # A row with some key has a total of at least 1, its own maximum; an empty one has 0.
    return merged.values / merged.total.clamp(min=1.0)


def _summarise(q: Tensor, k: Tensor, v: Tensor, mask: Mask, rows: slice, block: KvBlock) -> Summary:
    scores = q @ k.mT
    keys = slice(block.start, block.stop)
    bias = mask.bias_block(rows, keys)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    if not block.full:
        scores = scores.masked_fill(~mask.dense_block(rows, keys), -torch.inf)
    # The maximum cancels in the result, so no gradient flows through it. The clamp keeps a row
    # without keys at weight exp(-inf) = 0 rather than NaN.
    peak = scores.detach().amax(-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).min)
    weights = (scores - peak).exp()
    return Summary(peak, weights.sum(-1, keepdim=True), weights @ v)


def _merge(first: Summary, second: Summary) -> Summary:
    peak = torch.maximum(first.peak, second.peak)
    old, new = (first.peak - peak).exp(), (second.peak - peak).exp()
    return Summary(
        peak, first.total * old + second.total * new, first.values * old + second.values * new
    )

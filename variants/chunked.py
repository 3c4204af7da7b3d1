"""Exact attention in chunks: self-attention does not need O(n^2) memory (arXiv:2112.05682)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from harness import Attention, Cost, KvBlock, Mask, Workload, register
from variants.softmax import SoftmaxFamily


@register("chunked")
@dataclass(frozen=True)
class Chunked(SoftmaxFamily):
    """Rabe and Staats 2021 (arXiv:2112.05682): chunks of queries, online softmax over key chunks.

    Each key chunk gives a summary (maximum, sum of weights, weighted values) and the summaries
    are merged; backward recomputes each summary. The paper's chunks are 1024 and 4096, for an
    accelerator; smaller ones fit a CPU's caches. Chunks that are wholly masked are skipped.
    """

    q_chunk: int = 256
    kv_chunk: int = 512

    def __post_init__(self) -> None:
        for name, found in (("q_chunk", self.q_chunk), ("kv_chunk", self.kv_chunk)):
            if found < 1:
                raise ValueError(f"{name} must be at least 1: {name}={found}; write 256 or more")

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """List the key chunks that each query chunk attends to."""
        blocks = mask.kv_blocks(self.q_chunk, self.kv_chunk)

        chunks = [
            (slice(at, min(at + self.q_chunk, workload.q_len)), keys)
            for at, keys in zip(range(0, workload.q_len, self.q_chunk), blocks, strict=True)
        ]

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q = q * workload.scale
            outputs = [_attend(q[:, :, rows], k, v, mask, rows, keys) for rows, keys in chunks]
            return torch.cat(outputs, dim=2)

        return call

    def cost(self, workload: Workload) -> Cost:
        """The pairs of the chunks that are not skipped; backward computes their scores again.

        Time grows with the square of the length; the chunks bound the scores in memory.
        """
        blocks = workload.build_mask("cpu").kv_blocks(self.q_chunk, self.kv_chunk)
        rows = range(0, workload.q_len, self.q_chunk)
        pairs = sum(
            min(self.q_chunk, workload.q_len - at) * sum(block.stop - block.start for block in keys)
            for at, keys in zip(rows, blocks, strict=True)
        )
        flops = workload.flops_of(workload.batch * workload.heads * pairs)
        return Cost(flops=flops, time_growth=2.0, memory_growth=1.0)


class Summary(NamedTuple):
    """Of some keys: maximum (.., 1), sum of weights (.., 1), weighted values (.., Dv)."""

    peak: Tensor
    total: Tensor
    values: Tensor


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Mask, rows: slice, blocks: list[KvBlock]
) -> Tensor:
    """One chunk of queries, scaled, against all its chunks of keys."""
    merged: Summary | None = None
    for block in blocks:
        keys = slice(block.start, block.stop)
        arguments = (q, k[:, :, keys], v[:, :, keys], mask, rows, block)
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

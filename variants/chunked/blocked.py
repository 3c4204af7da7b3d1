"""Chunked attention in memory that is used again, its backward computing the weights again.

Scores are held in base 2, scaled by log2(e): on a CPU, torch's exp2 takes half of the time of its
exp, which is slower still, up to 30 times, where the result underflows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness import Attention, KvBlock, Mask, Workload
from variants.chunked.plan import Chunk
from variants.chunked.scratch import Scratch
from variants.chunked.sums import KeySums, RowSums

_LOG2_E = math.log2(math.e)
Tensors = tuple[Tensor, ...]


def bound(workload: Workload, mask: Mask, plan: list[Chunk]) -> Attention:
    """A callable of q, k, v that attends block by block."""
    job = _Job(mask, plan, workload.scale, workload.heads // workload.kv_heads)

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out: Tensor = _Attend.apply(job, q, k, v)  # type: ignore[no-untyped-call]
        return out

    return call


class _Attend(torch.autograd.Function):
    """Keeps its inputs, the output, and the logarithm of each row's sum of weights."""

    @staticmethod
    def forward(ctx: Any, job: _Job, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out, norms = _forward(job, q, k, v)
        ctx.job = job
        ctx.save_for_backward(q, k, v, out, norms)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, norms = ctx.saved_tensors
        return None, *_backward(ctx.job, (q, k, v), (out, norms), upstream)


@dataclass(frozen=True)
class _Job:
    """What does not depend on values; `groups` heads share their keys."""

    mask: Mask
    plan: list[Chunk]
    scale: float
    groups: int

    def by_keys(self, tensor: Tensor) -> Tensor:
        """(B, H, L, n) -> (B Hkv, G, L, n), a view where it can be."""
        batch, heads, length, width = tensor.shape
        return tensor.reshape(batch * heads // self.groups, self.groups, length, width)

    def scores(
        self, scratch: Scratch, queries: Tensor, keys: Tensor, rows: slice, block: KvBlock
    ) -> Tensor:
        """log2(e) (scale q k^T + bias), -inf where hidden: (B Hkv, G R, K).

        queries (B Hkv, G R, D), scaled; keys (B Hkv, K, D).
        """
        scores = scratch.take("scores", queries.shape[1], keys.shape[1])
        torch.bmm(queries, keys.mT, out=scores)
        columns = slice(block.start, block.stop)
        whole = scores.view(-1, self.mask.heads, rows.stop - rows.start, keys.shape[1])
        bias = self.mask.bias_block(rows, columns)
        if bias is not None:
            whole.add_(bias.to(scores.dtype), alpha=_LOG2_E)
        if not block.full:
            # Added: to fill by a mask that is broadcast over heads takes ten times as long.
            whole.add_(torch.where(self.mask.dense_block(rows, columns), 0.0, -torch.inf))
        return scores


def _forward(job: _Job, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The output (B, H, Lq, Dv), and log2 of each row's sum of weights (B Hkv, G, Lq, 1)."""
    out = q.new_empty(*q.shape[:3], v.shape[3])
    queries, outputs = job.by_keys(q), job.by_keys(out)
    k, v = k.flatten(0, 1), v.flatten(0, 1)
    scratch = Scratch(q, len(k))
    norms = queries.new_empty(*queries.shape[:3], 1, dtype=scratch.dtype)
    for rows, blocks in job.plan:
        chunk = scratch.load("queries", queries[:, :, rows]).mul_(job.scale * _LOG2_E)
        sums = RowSums(scratch, chunk.shape[1], v.shape[2])
        for block in blocks:
            keys, values = (scratch.cast(x[:, block.start : block.stop]) for x in (k, v))
            sums.add(job.scores(scratch, chunk, keys, rows, block), values)
        sums.write(outputs[:, :, rows], norms[:, :, rows])
    return out, norms


def _backward(job: _Job, inputs: Tensors, results: Tensors, upstream: Tensor) -> Tensors:
    """dq, dk and dv: FlashAttention's algorithm 4 (arXiv:2205.14135), queries outermost.

    P = exp2(scores - norms); dV = P^T dO; dS = P (dO V^T - rowsum(dO O)); dQ = scale dS K;
    dK = scale dS^T Q.
    """
    (q, *wide), (out, norms) = inputs, results
    k, v = (x.flatten(0, 1) for x in wide)
    scratch = Scratch(q, len(k))
    dq, sums = q.new_empty(q.shape), KeySums(scratch, k, v)
    parts = [job.by_keys(x) for x in (q, out, upstream, dq)]
    for rows, blocks in job.plan:
        queries, outputs, above, target = (x[:, :, rows] for x in parts)
        chunk = scratch.load("queries", queries).mul_(job.scale * _LOG2_E)
        above = scratch.load("above", above)
        inner = scratch.load("outputs", outputs).mul_(above).sum(-1, keepdim=True)
        norm = scratch.load("norms", norms[:, :, rows])
        slope = scratch.take("slope", chunk.shape[1], k.shape[2]).zero_()
        for block in blocks:
            keys, values = (scratch.cast(x[:, block.start : block.stop]) for x in (k, v))
            dk, dv = sums.of(block)
            weights = job.scores(scratch, chunk, keys, rows, block).sub_(norm).exp2_()
            dv.baddbmm_(weights.mT, above)
            slopes = torch.bmm(above, values.mT, out=scratch.take("slopes", *weights.shape[1:]))
            slopes.sub_(inner).mul_(weights)
            slope.baddbmm_(slopes, keys)
            dk.baddbmm_(slopes.mT, chunk)
        torch.mul(slope.view(target.shape), job.scale, out=target)
    # The queries were scaled by log2(e) as well.
    whole = sums.whole(1 / _LOG2_E)
    return dq, *(dx.view(x.shape) for dx, x in zip(whole, wide, strict=True))

"""Chunked attention in memory that is used again, its backward computing the weights again.

Scores are held in base 2, scaled by log2(e): on a CPU, torch's exp2 takes half of the time of its
exp, which is slower still, up to 30 times, where the result underflows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness import Attention, Mask, Workload
from variants.chunked.part import LOG2_E, Part, parts
from variants.chunked.scratch import Scratch
from variants.chunked.sums import KeySums, RowSums


def bound(workload: Workload, mask: Mask, q_chunk: int, kv_chunk: int) -> Attention:
    """A callable of q, k, v that attends part by part, in each block by block."""
    plan = parts(workload, mask, q_chunk, kv_chunk)

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out: Tensor = _Attend.apply(plan, q, k, v)  # type: ignore[no-untyped-call]
        return out

    return call


class _Attend(torch.autograd.Function):
    """Keeps its inputs, the output, and the logarithm of each row's sum of weights."""

    @staticmethod
    def forward(ctx: Any, plan: list[Part], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scratch = Scratch(q)
        out = q.new_empty(*q.shape[:3], v.shape[3])
        norms = q.new_empty(*q.shape[:3], 1, dtype=scratch.dtype)
        for part in plan:
            rows = [part.of_queries(x) for x in (q, out, norms)]
            _forward(part, scratch, *rows, *(part.of_keys(x) for x in (k, v)))
        ctx.plan = plan
        ctx.save_for_backward(q, k, v, out, norms)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, norms = ctx.saved_tensors
        dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v))
        scratch = Scratch(q)
        for part in ctx.plan:
            rows = [part.of_queries(x) for x in (q, out, norms, upstream, dq)]
            _backward(part, scratch, rows, [part.of_keys(x) for x in (k, v, dk, dv)])
        return None, dq, dk, dv


def _forward(
    part: Part, scratch: Scratch, q: Tensor, out: Tensor, norms: Tensor, k: Tensor, v: Tensor
) -> None:
    """Write the output, and log2 of each row's sum of weights; shapes as `Part` gives them."""
    moderate = part.moderate(q, k)
    for rows, blocks in part.plan:
        queries = scratch.load("queries", q[:, :, rows]).mul_(part.scale * LOG2_E)
        sums = RowSums(scratch, len(queries), queries.shape[1], v.shape[2], moderate=moderate)
        for block in blocks:
            keys, values = (scratch.cast(x[:, block.start : block.stop]) for x in (k, v))
            sums.add(part.scores(scratch, queries, keys, rows, block), values)
        sums.write(out[:, :, rows], norms[:, :, rows])


def _backward(part: Part, scratch: Scratch, by_query: list[Tensor], by_key: list[Tensor]) -> None:
    """Write dq, dk and dv: FlashAttention's algorithm 4 (arXiv:2205.14135), queries outermost.

    P = exp2(scores - norms); dV = P^T dO; dS = P (dO V^T - rowsum(dO O)); dQ = scale dS K;
    dK = scale dS^T Q. by_query: q, output, norms, dO, dQ; by_key: k, v, dK, dV.
    """
    k, v, keys_slope, values_slope = by_key
    sums = KeySums(scratch, k, v)
    for rows, blocks in part.plan:
        q, out, norms, upstream, dq = (x[:, :, rows] for x in by_query)
        queries = scratch.load("queries", q).mul_(part.scale * LOG2_E)
        above = scratch.load("above", upstream)
        inner = scratch.load("outputs", out).mul_(above).sum(-1, keepdim=True)
        norm = scratch.load("norms", norms)
        slope = scratch.take("slope", *queries.shape).zero_()
        for block in blocks:
            keys, values = (scratch.cast(x[:, block.start : block.stop]) for x in (k, v))
            dk, dv = sums.of(block)
            weights = part.scores(scratch, queries, keys, rows, block).sub_(norm).exp2_()
            dv.baddbmm_(weights.mT, above)
            slopes = torch.bmm(above, values.mT, out=scratch.take("slopes", *weights.shape))
            slopes.sub_(inner).mul_(weights)
            slope.baddbmm_(slopes, keys)
            dk.baddbmm_(slopes.mT, queries)
        torch.mul(slope.view(dq.shape), part.scale, out=dq)
    # The queries were scaled by log2(e) as well.
    sums.write(keys_slope, values_slope, 1 / LOG2_E)

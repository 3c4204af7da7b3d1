"""One triangle of blocks of scores, each of which serves its rows and its columns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.profiler import record_function

from harness import Attention, Workload
from variants.chunked.scratch import Scratch
from variants.symmetric import two_sided
from variants.symmetric.pairs import Triangle
from variants.symmetric.weights import Range, Weights

MARK = "attnbench::triangle"
"""Set where blocks of weights serve both sides; `two_sided.MARK` where each has its own."""


def unsupported(workload: Workload) -> str | None:
    """What has blocks of its own, a compiler, a device that would be waited for."""
    if workload.mask not in ("none", "causal"):
        return f"kernel=triangle takes mask none or causal, found {workload.mask}; use kernel=naive"
    if workload.compile:
        return (
            "kernel=triangle writes into memory that it reuses, which torch.compile cannot "
            "follow; use kernel=naive or compile: false"
        )
    if workload.device != "cpu":
        return (
            "kernel=triangle chooses by the range of the scores, which a GPU would be waited "
            "for; use kernel=naive or device: cpu"
        )
    return None


def bound(workload: Workload, degree: int | None, block: int) -> Attention:
    """A callable of q, k, v that reads q and v: k has the values of q. degree: None for softmax."""
    return bound_to(_triangle(workload, block), workload.scale, degree)


def bound_to(plan: Triangle, scale: float, degree: int | None) -> Attention:
    """The same for blocks that were planned."""

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out: Tensor = _Attend.apply(q, k, v, plan, scale, degree)  # type: ignore[no-untyped-call]
        return out

    return call


def flops(workload: Workload, block: int, *, sums: bool) -> int:
    """Of the products: scores of the triangle; values, and `sums` of weights, of both sides.

    Backward computes the scores again, and has four products more on each side.
    """
    plan, d, dv = _triangle(workload, block), workload.head_dim, workload.v_head_dim
    forward = 2 * d * plan.scored + 2 * (dv + sums) * plan.used
    backward = 2 * d * plan.scored + 2 * (2 * dv + sums + 2 * d) * plan.used
    each = {"backward": backward, "forward+backward": forward + backward}
    return workload.batch * workload.heads * each.get(workload.pass_, forward)


def least_bytes(workload: Workload) -> int:
    """What is read and written at least: k, which is q, is not read."""
    keys = workload.batch * workload.kv_heads * workload.kv_len * workload.head_dim
    times = 2 if workload.pass_ == "forward+backward" else 1
    return workload.compulsory_bytes() - times * keys * workload.torch_dtype.itemsize


def _triangle(workload: Workload, block: int) -> Triangle:
    return Triangle(workload.q_len, min(block, workload.q_len), workload.mask == "causal")


class _Attend(torch.autograd.Function):
    """Keeps q, v, the output and each row's sum of weights."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: Triangle, scale: float, degree: int | None
    ) -> Tensor:
        wide = Scratch(q).dtype
        x, values = (tensor.flatten(0, 1).to(wide) for tensor in (q, v))
        out, totals = torch.empty_like(values), x.new_empty(*x.shape[:2], 1)
        whole = _weights(x, scale, degree)
        with record_function(_mark(whole)):
            for heads in plan.together(len(x)):
                weights, given = whole.take(heads), (values[heads], out[heads], totals[heads])
                if weights.range is Range.WIDE:
                    two_sided.forward(plan, weights.y, *given)
                else:
                    _forward(plan, weights, *given)
        ctx.given = plan, scale, degree
        result = out.view(v.shape).to(q.dtype)
        ctx.save_for_backward(q, v, result, totals)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        plan, scale, degree = ctx.given
        q, v, out, totals = ctx.saved_tensors
        x, values, out, above = (
            tensor.flatten(0, 1).to(totals.dtype) for tensor in (q, v, out, upstream)
        )
        inner = (out * above).sum(-1, keepdim=True)
        slopes = torch.empty_like(x), torch.empty_like(x), torch.empty_like(values)
        whole = _weights(x, scale, degree)
        with record_function(_mark(whole)):
            for heads in plan.together(len(x)):
                weights, parts = whole.take(heads), [slope[heads] for slope in slopes]
                given = [tensor[heads] for tensor in (values, above, inner, totals)]
                if weights.range is Range.WIDE:
                    two_sided.backward(plan, weights.y, given, parts)
                else:
                    _backward(plan, weights, given, parts)
        for by_token in slopes[:2]:
            by_token.mul_(whole.slope)
        dq, dk, dv = (
            slope.view(like.shape).to(like.dtype)
            for slope, like in zip(slopes, (q, q, v), strict=True)
        )
        return dq, dk, dv, None, None, None


def _weights(x: Tensor, scale: float, degree: int | None) -> Weights:
    if degree is None:
        return Weights.softmax(x, scale)
    return Weights.polynomial(x, scale, degree)


def _mark(weights: Weights) -> str:
    return two_sided.MARK if weights.range is Range.WIDE else MARK


def _forward(plan: Triangle, weights: Weights, v: Tensor, out: Tensor, totals: Tensor) -> None:
    """out_i = sum_j E_ij w_j v_j / t_i; totals: t_i = sum_j E_ij w_j, or 1 where there is none."""
    scratch = Scratch(v)
    rows, keys = plan.cut(weights.rows), plan.cut(weights.keys)
    values = plan.cut(v if weights.times is None else v * weights.times)
    times = None if weights.times is None else plan.cut(weights.times)
    sums, norms = plan.zeros(v, v.shape[2]), plan.zeros(v, 1)
    for i, j in plan.pairs():
        scores = scratch.take("scores", len(v), rows[i].shape[1], keys[j].shape[1])
        weights.weigh(torch.bmm(rows[i], keys[j].mT, out=scores))
        plan.hide(scores, i, j, 0.0)
        sums[i].baddbmm_(scores, values[j])
        if times is not None:
            norms[i].baddbmm_(scores, times[j])
        if i != j and not plan.causal:
            sums[j].baddbmm_(scores.mT, values[i])
            if times is not None:
                norms[j].baddbmm_(scores.mT, times[i])
    torch.cat(sums, 1, out=out)
    if times is not None:
        torch.cat(norms, 1, out=totals)
        out.div_(totals)
    else:
        totals.fill_(1.0)


def _backward(plan: Triangle, weights: Weights, given: list[Tensor], slopes: list[Tensor]) -> None:
    """Write the gradients by y, of queries and of keys, and that by v.

    With g_i = dO_i / t_i and d_i = dO_i out_i / t_i, dS_ij = E'_ij (g_i (w_j v_j) - d_i w_j), one
    product of wider vectors; dQ_i = sum_j dS_ij y_j; dK_j = sum_i dS_ij y_i;
    dV_j = w_j sum_i E_ij g_i. Without sums of weights, d_i = 0.
    """
    v, above, inner, totals = given
    scratch = Scratch(v)
    rows, keys, y = plan.cut(weights.rows), plan.cut(weights.keys), plan.cut(weights.y)
    up = above / totals
    left, right = up, v
    if weights.times is not None:
        left = torch.cat([up, inner / -totals], 2)
        right = torch.cat([v, torch.ones_like(totals)], 2) * weights.times
    g, h, u = plan.cut(up), plan.cut(left), plan.cut(right)
    dq, dk, dv = (plan.zeros(v, tensor.shape[2]) for tensor in (weights.y, weights.y, v))
    for i, j in plan.pairs():
        shape = len(v), rows[i].shape[1], keys[j].shape[1]
        scores, spare, slope = (scratch.take(name, *shape) for name in ("scores", "spare", "slope"))
        torch.bmm(rows[i], keys[j].mT, out=scores)
        factor = weights.differentiate(scores, spare)
        plan.hide(scores, i, j, 0.0)
        plan.hide(factor, i, j, 0.0)
        dv[j].baddbmm_(scores.mT, g[i])
        torch.bmm(h[i], u[j].mT, out=slope).mul_(factor)
        dq[i].baddbmm_(slope, y[j])
        dk[j].baddbmm_(slope.mT, y[i])
        if i != j and not plan.causal:
            dv[i].baddbmm_(scores, g[j])
            torch.bmm(u[i], h[j].mT, out=slope).mul_(factor)
            dq[j].baddbmm_(slope.mT, y[i])
            dk[i].baddbmm_(slope, y[j])
    for parts, target in zip((dq, dk, dv), slopes, strict=True):
        torch.cat(parts, 1, out=target)
    if weights.times is not None:
        slopes[2].mul_(weights.times)

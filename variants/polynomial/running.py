"""Attention by a running sum of features and values, forward and backward, in memory O(L)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness import Mask, Workload
from variants.polynomial.features import Features
from variants.polynomial.heads import Heads, folded, place, zeros_like
from variants.polynomial.steps import Step, steps, width
from variants.polynomial.sums import FeatureSum

CHUNK = 128
"""Query rows between which keys enter: so many keys are near, and cost as scores do."""
HEADS = 4
"""Heads of queries that are computed together."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What does not depend on values; mask: of one sequence, without window or padding."""

    features: Features
    mask: Mask

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The order in which keys enter the sum and rows read it."""
        return steps(self.mask, CHUNK)

    @cached_property
    def read(self) -> tuple[bool, ...]:
        """For each step, whether any key is in the sum when its rows read it."""
        found, some = [], False
        for step in self.steps:
            some = width(step.entering) > 0 or (some and not step.fresh)
            found.append(some)
        return tuple(found)

    def hide(self, scores: Tensor, step: Step) -> Tensor:
        """Write 0 where a row does not see a near key; scores (n, G * rows, keys)."""
        hidden = ~self.mask.dense_block(step.rows, step.near)
        scores.view(len(scores), -1, *hidden.shape[-2:]).masked_fill_(hidden, 0.0)
        return scores

    def flops(self, workload: Workload) -> int:
        """Products of the pass: those with the sum, and those of near keys pair by pair."""
        d, dv = workload.head_dim, workload.v_head_dim
        keys = workload.kv_heads * sum(width(step.entering) for step in self.steps)
        reads = zip(self.steps, self.read, strict=True)
        rows = workload.heads * sum(width(step.rows) for step, some in reads if some)
        near = sum(width(step.rows) * width(step.near) for step in self.steps) * workload.heads
        each = 2 * self.features.width * dv
        forward = each * (keys + rows) + 2 * (d + dv) * near
        backward = each * (3 * keys + 2 * rows) + 2 * (3 * d + 2 * dv) * near
        passes = {"backward": backward, "forward+backward": forward + backward}
        return workload.batch * passes.get(workload.pass_, forward)


class RunningSum(torch.autograd.Function):
    """zero_masked((q k^T)^degree) v; nothing but q, k and v is kept for backward."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: Plan) -> Tensor:
        """(B, H, Lq, D), (B, Hkv, Lkv, D), (B, Hkv, Lkv, Dv) -> (B, H, Lq, Dv)."""
        ctx.save_for_backward(q, k, v)
        ctx.plan = plan
        out = q.new_empty((*q.shape[:3], v.shape[-1]))
        given, target = Heads.of(q, k, v), folded(out, k.shape[1])
        for heads in _parts(given):
            _forward(given.take(heads), target[heads], plan)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of q, k and v, from sums that are made again."""
        tensors = ctx.saved_tensors
        gradients = zeros_like(tensors)
        given, results = Heads.of(*tensors), Heads.of(*gradients)
        g = folded(upstream, given.k.shape[0] // len(upstream))
        for heads in _parts(given):
            part = given.take(heads), g[heads], results.take(heads)
            _backward_of_rows(*part, ctx.plan)
            _backward_of_keys(*part, ctx.plan)
        return *gradients, None


def _parts(given: Heads) -> Iterator[slice]:
    """Heads of keys that are computed together."""
    count, groups = given.q.shape[:2]
    step = max(1, HEADS // groups)
    return (slice(at, at + step) for at in range(0, count, step))


def _forward(given: Heads, out: Tensor, plan: Plan) -> None:
    q, k, v = given
    keys = FeatureSum(plan.features, len(k), v.shape[-1], v)
    for step, some in zip(plan.steps, plan.read, strict=True):
        _enter(keys, k, v, step)
        rows = given.rows(step.rows)
        total = keys.read(rows) if some else q.new_zeros((*rows.shape[:2], v.shape[-1]))
        if width(step.near):
            scores = plan.hide(torch.bmm(rows, k[:, step.near].mT), step)
            total.baddbmm_(scores.pow_(plan.features.degree), v[:, step.near])
        place(total, out, step.rows)


def _backward_of_rows(given: Heads, upstream: Tensor, results: Heads, plan: Plan) -> None:
    """dq, and what near keys add to dk and dv: with s their scores, ds = p s^(p-1) (g v^T)."""
    _, k, v = given
    keys, degree = FeatureSum(plan.features, len(k), v.shape[-1], v), plan.features.degree
    for step, some in zip(plan.steps, plan.read, strict=True):
        _enter(keys, k, v, step)
        rows, g = given.rows(step.rows), upstream[:, :, step.rows].flatten(1, 2)
        total = keys.slope(rows, g) if some else torch.zeros_like(rows)
        if width(step.near):
            near_k, near_v = k[:, step.near], v[:, step.near]
            scores = plan.hide(torch.bmm(rows, near_k.mT), step)
            slopes = plan.hide(torch.bmm(g, near_v.mT), step)
            slopes.mul_(scores.pow(degree - 1))
            total = torch.baddbmm(total, slopes, near_k, alpha=degree)
            results.k[:, step.near].baddbmm_(slopes.mT, rows, alpha=degree)
            results.v[:, step.near].baddbmm_(scores.pow_(degree).mT, g)
        place(total, results.q, step.rows)


def _backward_of_keys(given: Heads, upstream: Tensor, results: Heads, plan: Plan) -> None:
    """What rows add to dk and dv of the keys that had entered: forward, from the last row on."""
    _, k, v = given
    rows = FeatureSum(plan.features, len(k), v.shape[-1], v)
    for step, some in zip(reversed(plan.steps), reversed(plan.read), strict=True):
        if some:
            rows.add(given.rows(step.rows), upstream[:, :, step.rows].flatten(1, 2))
        if width(step.entering):
            keys, values = k[:, step.entering], v[:, step.entering]
            results.k[:, step.entering] += rows.slope(keys, values)
            results.v[:, step.entering] += rows.read(keys)
        if step.fresh:
            rows.empty()


def _enter(keys: FeatureSum, k: Tensor, v: Tensor, step: Step) -> None:
    if step.fresh:
        keys.empty()
    if width(step.entering):
        keys.add(k[:, step.entering], v[:, step.entering])

"""Polynomial attention in blocks, in plain torch: memory O(L), wholly masked blocks skipped."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness import Attention, Cost, Mask, Workload
from variants.polynomial.heads import Heads, folded, place, zeros_like
from variants.polynomial.steps import width
from variants.polynomial.strips import Cut, cuts

# Scores of so many rows, of all heads together, and so many keys are in memory at once: they fit
# the caches, and the products are large enough for the speed of whole ones.
ROWS, KV_BLOCK = 1024, 512
FEWEST_ROWS, MOST_ROWS = 128, 256  # of one head


def unsupported(workload: Workload, degree: int) -> str | None:
    """Nothing but what a compiler would make of its loops."""
    if workload.compile:
        return "kernel=blocked loops over blocks, which torch.compile unrolls; use kernel=naive"
    return None


def prepare(workload: Workload, mask: Mask, *, degree: int, factor: Tensor) -> Attention:
    """List the blocks. factor^(1/degree) goes to q, and the loops have nothing but products.

    16-bit inputs are widened: scores, powers and sums are in float32, as a fused kernel's are.
    """
    q_block, kv_block = _blocks_of(workload)
    plan = Plan(degree, cuts(mask, q_block, kv_block), q_block, kv_block)
    wide = workload.sum_dtype
    root = factor.pow(1 / degree)[:, None, :, None].to(wide)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = q.to(wide) * root, k.to(wide), v.to(wide)
        out: Tensor = _Attend.apply(q, k, v, plan)  # type: ignore[no-untyped-call]
        return out.to(workload.torch_dtype)

    return attend


def cost(workload: Workload, degree: int) -> Cost:
    """The pairs of the blocks; backward has five products of each, for it makes scores again."""
    found = cuts(workload.build_mask("cpu"), *_blocks_of(workload))
    pairs = sum(cut.pairs for cut in found) * workload.batch // len(found)
    d, dv = workload.head_dim, workload.v_head_dim
    forward, backward = 2 * (d + dv), 2 * (3 * d + 2 * dv)
    each = {"backward": backward, "forward+backward": forward + backward}
    flops = workload.heads * pairs * each.get(workload.pass_, forward)
    return Cost(flops=flops, time_growth=2.0, memory_growth=1.0)


def _blocks_of(workload: Workload) -> tuple[int, int]:
    """Rows of a head, more where there are fewer heads, and keys, more where rows are few."""
    heads = workload.batch * workload.heads
    rows = min(max(ROWS // heads, FEWEST_ROWS), MOST_ROWS, workload.q_len)
    keys = KV_BLOCK * max(1, ROWS // (rows * heads))
    return rows, min(keys, workload.kv_len)


@dataclass(frozen=True, eq=False)
class Plan:
    """What does not depend on values."""

    degree: int
    cuts: tuple[Cut, ...]
    q_block: int
    kv_block: int

    @property
    def block(self) -> int:
        """Scores of one head of queries in a block."""
        return self.q_block * self.kv_block

    def parts(self, heads: int, groups: int) -> Iterator[tuple[slice, Cut]]:
        """Heads of keys, of all sequences, that are computed together, with their mask."""
        each = heads // len(self.cuts)
        step = max(1, ROWS * KV_BLOCK // (self.block * groups))
        for at, cut in enumerate(self.cuts):
            end = (at + 1) * each
            for first in range(at * each, end, step):
                yield slice(first, min(first + step, end)), cut


class _Attend(torch.autograd.Function):
    """(q k^T)^degree v over the plan's blocks; nothing but q, k and v is kept for backward."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: Plan) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.plan = plan
        out = q.new_empty((*q.shape[:3], v.shape[-1]))
        given, target = Heads.of(q, k, v), folded(out, k.shape[1])
        for heads, cut in plan.parts(*given.q.shape[:2]):
            _forward(given.take(heads), target[heads], cut, plan)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        gradients = tuple(t.new_empty(t.shape) for t in tensors)
        given, results = Heads.of(*tensors), Heads.of(*gradients)
        g = folded(upstream, given.k.shape[0] // len(upstream))
        for heads, cut in ctx.plan.parts(*given.q.shape[:2]):
            _backward(given.take(heads), g[heads], results.take(heads), cut, ctx.plan)
        return *gradients, None


def _forward(given: Heads, out: Tensor, cut: Cut, plan: Plan) -> None:
    q, k, v = given
    scratch = q.new_empty(q.shape[0] * q.shape[1] * plan.block)
    for strip in cut.strips:
        rows = given.rows(strip.rows)
        total = q.new_zeros((*rows.shape[:2], v.shape[-1]))
        for tile in strip.tiles:
            scores = _view(scratch, *rows.shape[:2], width(tile.keys))
            torch.bmm(rows, k[:, tile.keys].mT, out=scores)
            cut.hide(scores, strip, tile)
            if plan.degree > 1:
                # torch has loops of their own for the powers 2 and 3: one pass, no exponential.
                scores.pow_(plan.degree)
            total.baddbmm_(scores, v[:, tile.keys])
        place(total, out, strip.rows)


def _backward(given: Heads, upstream: Tensor, results: Heads, cut: Cut, plan: Plan) -> None:
    """With w = s^p and g the gradient of the output: dv = w^T g, ds = p s^(p-1) (g v^T)."""
    q, k, v = given
    scratch = q.new_empty((3, q.shape[0] * q.shape[1] * plan.block))
    # The sums for a block of keys lie side by side, or products could not be added to them.
    sums = [zeros_like(block) for block in _blocks(k, v, plan)]
    for strip in cut.strips:
        rows, g = given.rows(strip.rows), upstream[:, :, strip.rows].flatten(1, 2)
        total = torch.zeros_like(rows)
        for tile in strip.tiles:
            keys, values = k[:, tile.keys], v[:, tile.keys]
            shape = *rows.shape[:2], width(tile.keys)
            scores, slopes, spare = (_view(part, *shape) for part in scratch)
            torch.bmm(rows, keys.mT, out=scores)
            torch.bmm(g, values.mT, out=slopes)
            cut.hide(scores, strip, tile)
            if plan.degree == 1:
                cut.hide(slopes, strip, tile)
            else:
                _raise(scores, slopes, spare, plan.degree)
            total.baddbmm_(slopes, keys, alpha=plan.degree)
            block, begin = divmod(tile.keys.start, plan.kv_block)
            inside = slice(begin, begin + shape[-1])
            sums[block][0][:, inside].baddbmm_(slopes.mT, rows, alpha=plan.degree)
            sums[block][1][:, inside].baddbmm_(scores.mT, g)
        place(total, results.q, strip.rows)
    torch.cat([of_keys for of_keys, _ in sums], 1, out=results.k)
    torch.cat([of_values for _, of_values in sums], 1, out=results.v)


def _raise(scores: Tensor, slopes: Tensor, spare: Tensor, degree: int) -> None:
    """Scores s to s^degree and slopes t to t s^(degree - 1), in place; both 0 where s is."""
    lower = scores if degree == 2 else torch.pow(scores, degree - 1, out=spare)
    slopes.mul_(lower)
    scores.mul_(lower)


def _blocks(k: Tensor, v: Tensor, plan: Plan) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(*(torch.split(t, plan.kv_block, 1) for t in (k, v)), strict=True)


def _view(scratch: Tensor, *shape: int) -> Tensor:
    return scratch[: math.prod(shape)].view(shape)

"""Variants that only measure others: their matrix products alone, their work without the mask."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness import Attention, AttentionOp, Mask, Workload, register, softmax_attention
from variants.chunked import Chunked
from variants.symmetric import Symmetric, triangle
from variants.symmetric.pairs import Triangle


@register("products")
@dataclass(frozen=True)
class Products(AttentionOp):
    """scale q k^T v in blocks: what any block-wise kernel multiplies, and nothing else.

    Two products a block forward; backward five, the scores computed again among them.
    """

    q_block: int = 128
    kv_block: int = 512

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """scale q k^T v."""
        return q @ k.mT * scale @ v

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Bind the scale, which goes to q."""

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            flat = (x.flatten(0, 1) for x in (q * workload.scale, k, v))
            out: Tensor = _Multiply.apply(*flat, self)
            return out.view(*q.shape[:3], v.shape[3])

        return call

    def unsupported(self, workload: Workload) -> str | None:
        """A product has no place to leave keys out of."""
        if workload.mask != "none" or workload.kv_heads != workload.heads:
            return "products multiplies every pair of every head; use mask none, kv_heads = heads"
        return None


class _Multiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, sizes: Products) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.sizes = sizes
        blocks = list(zip(*(x.split(sizes.kv_block, 1) for x in (k, v)), strict=True))
        outputs = []
        for rows in q.split(sizes.q_block, 1):
            total = rows.new_zeros(*rows.shape[:2], v.shape[2])
            scores = rows.new_empty(*rows.shape[:2], blocks[0][0].shape[1])
            for keys, values in blocks:
                total.baddbmm_(torch.bmm(rows, keys.mT, out=_first(scores, keys)), values)
            outputs.append(total)
        return torch.cat(outputs, 1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v = ctx.saved_tensors
        sizes = ctx.sizes
        inputs = list(zip(*(x.split(sizes.kv_block, 1) for x in (k, v)), strict=True))
        sums = [tuple(x.new_zeros(x.shape) for x in block) for block in inputs]
        slopes = []
        for rows, above in zip(*(x.split(sizes.q_block, 1) for x in (q, upstream)), strict=True):
            total = rows.new_zeros(rows.shape)
            spare = rows.new_empty(2, *rows.shape[:2], inputs[0][0].shape[1])
            for (keys, values), (dk, dv) in zip(inputs, sums, strict=True):
                scores = torch.bmm(rows, keys.mT, out=_first(spare[0], keys))
                slope = torch.bmm(above, values.mT, out=_first(spare[1], keys))
                dv.baddbmm_(scores.mT, above)
                dk.baddbmm_(slope.mT, rows)
                total.baddbmm_(slope, keys)
            slopes.append(total)
        dk, dv = (torch.cat(parts, 1) for parts in zip(*sums, strict=True))
        return torch.cat(slopes, 1), dk, dv, None


def _first(scratch: Tensor, keys: Tensor) -> Tensor:
    """As much of (slices, R, K) as this block of keys needs, contiguous."""
    slices, rows, _ = scratch.shape
    return scratch.view(-1)[: slices * rows * keys.shape[1]].view(slices, rows, keys.shape[1])


@register("unmasked")
@dataclass(frozen=True)
class Unmasked(AttentionOp):
    """chunked(kernel=blocked) with the workload's mask left out, to race it against itself."""

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """softmax(scale q k^T) v over all keys."""
        start, stop = torch.zeros_like(mask.start), torch.full_like(mask.stop, mask.kv_len)
        whole = mask.altered(start=start, stop=stop)
        return softmax_attention(q, k, v, mask=whole, scale=scale)

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """The kernel, told that nothing is masked."""
        whole = workload.model_copy(update={"mask": "none"})
        return Chunked(kernel="blocked").prepare(whole, whole.build_mask())


@register("every_block")
@dataclass(frozen=True)
class EveryBlock(Symmetric):
    """The triangle's kernel and blocking, forward, where each block of scores serves its rows."""

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Bind the triangle's own loop to a plan of all pairs."""
        degree = None if self.mechanism == "softmax" else self.degree
        return triangle.bound_to(
            Square(workload.q_len, min(self.block, workload.q_len), True), workload.scale, degree
        )

    def expected_kernels(self, workload: Workload) -> tuple[str, ...]:
        """The triangle's mark, which its range decides alike."""
        return (triangle.MARK,)

    def unsupported(self, workload: Workload) -> str | None:
        """All but a full mask."""
        return super().unsupported(workload) if workload.mask == "none" else "takes no mask"


@dataclass(frozen=True)
class Square(Triangle):
    """Every pair of blocks, none of them used for the other side."""

    def pairs(self) -> Iterator[tuple[int, int]]:
        """(I, J), row by row."""
        return itertools.product(range(len(self.sizes)), repeat=2)

    def hide(self, scores: Tensor, i: int, j: int, value: float) -> None:
        """Nothing: that rows see no later keys is said so that blocks serve one side."""

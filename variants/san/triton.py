"""Vector attention's weighted sum in Triton: where it runs, and the launches of its kernels.

The windows of beta, C/4 K^2 numbers a pixel, are never made, neither forward nor backward. Weights
and the relations that they are learnt from are made whole, as by `unfold`: C/32 K^2 numbers a pixel
and a few times C/16 K^2. So are they in the code of Zhao, Jia and Koltun 2020, arXiv:2004.13621.
torch mirrors psi: its gradient, unlike those of the sum, may differ from run to run on a GPU.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import torch
from torch import Tensor

from harness import Workload

BLOCK = 64
"""Pixels of a program, each with all channels that share a weight; not tuned on a GPU."""


def expected_kernels(workload: Workload) -> tuple[str, ...]:
    """A part of the names of the kernels, of which none is seen where they are interpreted."""
    return ("san_",) if workload.device == "cuda" else ()


def aggregated(weights: Tensor, values: Tensor) -> Tensor:
    """out[c, i] = sum_k w[c mod W, k, i] v[c, i + k], mirrored at the edges.

    weights (B, W, K^2, n), values (B, C, height, width) -> the shape of values; n = height width,
    C / W a power of two. Sums are in float32, in float64 of float64, in one order: output and
    gradients are the same in every run.
    """
    out: Tensor = _Aggregate.apply(weights.contiguous(), values.contiguous())  # type: ignore[no-untyped-call]
    return out


class _Aggregate(torch.autograd.Function):
    """The kernels under autograd; nothing but weights and values is kept."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(weights, values)
        out = torch.empty_like(values)
        _launch("forward", weights, values, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        weights, values = ctx.saved_tensors
        upstream, dweights = gradients[0].contiguous(), torch.empty_like(weights)
        _launch("backward_weights", dweights, upstream, values)
        reach = _footprint(weights) // 2
        batch, channels, height, width = values.shape
        sizes = (batch, channels, height + 2 * reach, width + 2 * reach)
        with_margins = values.new_empty(sizes, dtype=_of_sums(values))
        _launch("backward_values", weights, upstream, with_margins)
        return dweights, _folded(with_margins, reach).to(values.dtype)


def _launch(name: str, weights: Tensor, values: Tensor, third: Tensor) -> None:
    """Start a program for each tile of the third's pixels and each image's channel of weights.

    The first two are the weights and the values, or their gradients of the same shapes.
    """
    kernels: Any = importlib.import_module("variants.san.triton_kernels")
    batch, count = weights.shape[:2]
    tiles = -(-third.shape[2] * third.shape[3] // BLOCK)
    getattr(kernels, f"san_{name}")[(tiles * batch * count,)](
        weights, values, third, count, values.shape[2], values.shape[3],
        footprint=_footprint(weights), shared=values.shape[1] // count, block=BLOCK,
        sums=getattr(kernels.tl, str(_of_sums(values)).removeprefix("torch.")),
    )  # fmt: skip


def _footprint(weights: Tensor) -> int:
    return math.isqrt(weights.shape[2])


def _of_sums(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)


def _folded(image: Tensor, reach: int) -> Tensor:
    """(B, C, H + 2 r, W + 2 r) -> (B, C, H, W): the margins added to the pixels they mirror."""
    for dim in (2, 3):
        size = image.shape[dim] - 2 * reach
        before, after = image.narrow(dim, 0, reach), image.narrow(dim, reach + size, reach)
        image = image.narrow(dim, reach, size)
        image.narrow(dim, 1, reach).add_(before.flip(dim))
        image.narrow(dim, size - 1 - reach, reach).add_(after.flip(dim))
    return image.contiguous()

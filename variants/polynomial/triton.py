"""Polynomial attention in Triton: where it runs, what it costs, and the launches of its kernels."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness import Attention, Cost, Mask, Workload
from variants.polynomial.triton_tiles import padded, spans, tiles_of, visited_pairs
from variants.triton_runs import triton_hindrance

_DTYPES = ("float32", "bfloat16", "float16")
_WIDEST = 256


def unsupported(workload: Workload, degree: int) -> str | None:
    """What the kernels cannot run, said without asking the GPU; None when they can."""
    if degree > 3:
        return f"kernel=triton takes degree 1, 2 or 3, found {degree}; use kernel=naive"
    if workload.dtype not in _DTYPES:
        return f"kernel=triton takes {', '.join(_DTYPES)}, found {workload.dtype}"
    widest = max(workload.head_dim, workload.v_head_dim)
    if widest > _WIDEST:
        return f"kernel=triton takes head_dim and v_head_dim up to {_WIDEST}, found {widest}"
    return triton_hindrance(workload)


def prepare(workload: Workload, mask: Mask, *, degree: int, factor: Tensor) -> Attention:
    """Plan the tiles; factor (B' or 1, R or 1) is what (q k^T)^degree of each row is times."""
    launches = _Launches(workload, mask, degree, factor)
    # Triton's interpreter takes no bfloat16 (its guide, "Debugging Triton"): it multiplies the
    # bits as whole numbers. It is given float32 of the same values.
    widened = workload.device == "cpu" and workload.dtype == "bfloat16"

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if widened:
            q, k, v = q.float(), k.float(), v.float()
        out: Tensor = _Attend.apply(q, k, v, launches)  # type: ignore[no-untyped-call]
        return out.to(workload.torch_dtype)

    return attend


def cost(workload: Workload, degree: int) -> Cost:
    """The products of the tiles that are visited: two forward, three for dq, four for dk and dv.

    Time grows with the square of the length, memory with the length.
    """
    pairs = {name: visited_pairs(workload, tiles) for name, tiles in tiles_of(workload).items()}
    d, dv = workload.head_dim, workload.v_head_dim
    forward = 2 * (d + dv) * pairs["forward"]
    backward = 2 * (2 * d + dv) * pairs["backward_q"] + 4 * (d + dv) * pairs["backward_kv"]
    flops = {"backward": backward, "forward+backward": forward + backward}
    return Cost(flops=flops.get(workload.pass_, forward), time_growth=2.0, memory_growth=1.0)


def expected_kernels(workload: Workload) -> tuple[str, ...]:
    """A part of the names of the kernels, of which none is seen where they are interpreted."""
    return ("polynomial_",) if workload.device == "cuda" else ()


class _Attend(torch.autograd.Function):
    """The kernels under autograd; nothing but q, k and v is kept."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, launches: _Launches) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.launches = launches
        return launches.output(q, k, v)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return *ctx.launches.gradients(*ctx.saved_tensors, *gradients), None


class _Launches:
    """The kernels with all that does not depend on values: rows, tiles, compile-time constants."""

    def __init__(self, workload: Workload, mask: Mask, degree: int, factor: Tensor) -> None:
        self._kernels: Any = importlib.import_module("variants.polynomial.triton_kernels")
        self._mask = mask
        self._tiles = tiles_of(workload)
        self._spans = {name: spans(mask, tiles) for name, tiles in self._tiles.items()}
        factors = factor.float().expand(mask.start.shape).contiguous()
        self._rows = (mask.start.int(), mask.stop.int(), factors)
        self._constants = {
            "group": workload.groups,
            "degree": degree,
            "head_dim": workload.head_dim,
            "v_head_dim": workload.v_head_dim,
            "padded": padded(workload.head_dim),
            "v_padded": padded(workload.v_head_dim),
        }

    def output(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Out (B, H, Lq, Dv)."""
        out = q.new_empty((*q.shape[:3], v.shape[-1]))
        self._launch("forward", (q, k, v, out), by_query=True)
        return out

    def gradients(self, q: Tensor, k: Tensor, v: Tensor, do: Tensor) -> Sequence[Tensor]:
        """dq, dk and dv, in the shapes of q, k and v."""
        dq, dk, dv = (torch.empty_like(t) for t in (q, k, v))
        self._launch("backward_q", (q, k, v, do, dq), by_query=True)
        self._launch("backward_kv", (q, k, v, do, dk, dv), by_query=False)
        return dq, dk, dv

    def _launch(self, name: str, tensors: Sequence[Tensor], *, by_query: bool) -> None:
        """Start one program for each tile of queries of each head, or of keys of each of theirs."""
        tiles, span = self._tiles[name], self._spans[name][0 if by_query else 1]
        batch, heads = tensors[0 if by_query else 1].shape[:2]
        one = len(span) == 1  # the mask is that of every sequence
        kernel = getattr(self._kernels, f"polynomial_{name}")
        kernel[(span.shape[1] * heads * batch,)](
            *tensors, *self._rows, span,
            *(tensor.stride() for tensor in tensors),
            0 if one else self._rows[0].shape[1], 0 if one else span.stride(0),
            tensors[0].shape[1], self._mask.q_len, self._mask.kv_len,
            **self._constants, **vars(tiles),
        )  # fmt: skip

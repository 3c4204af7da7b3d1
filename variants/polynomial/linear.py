"""Polynomial attention in time O(L), exactly: (q . k)^p is a product of features of q and k."""

from __future__ import annotations

import torch
from torch import Tensor

from harness import Attention, Cost, Mask, Recurrence, Workload
from variants.polynomial.features import Features
from variants.polynomial.running import CHUNK, Plan, RunningSum
from variants.polynomial.steps import unpadded


def unsupported(workload: Workload, degree: int) -> str | None:
    """Higher degrees, windows, compilation."""
    if degree > 2:
        return (
            f"kernel=linear takes degree 1 or 2, found {degree}, whose features are about "
            f"head_dim^{degree}; use kernel=blocked"
        )
    if workload.mask_spec.window is not None:
        return (
            f"kernel=linear adds keys to a sum, and {workload.mask} takes them out again; "
            "use kernel=blocked"
        )
    if workload.compile:
        return "kernel=linear loops over chunks, which torch.compile unrolls; use kernel=naive"
    return None


def prepare(workload: Workload, mask: Mask, *, degree: int, factor: Tensor) -> Attention:
    """List the steps. factor^(1/degree) goes to q; padded values become 0, and add nothing.

    16-bit inputs are widened: features and sums are in float32.
    """
    plan = Plan(Features(degree, workload.head_dim), unpadded(mask))
    hidden = None
    if mask.lengths is not None:
        hidden = torch.arange(mask.kv_len, device=mask.device) >= mask.lengths[:, None]
        hidden = hidden[:, None, :, None]
    wide = workload.sum_dtype
    root = _root(factor, degree, wide)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = q.to(wide) * root, k.to(wide), v.to(wide)
        if hidden is not None:
            v = v.masked_fill(hidden, 0.0)
        out: Tensor = RunningSum.apply(q, k, v, plan)  # type: ignore[no-untyped-call]
        return out.to(workload.torch_dtype)

    return attend


def recurrence(workload: Workload, *, degree: int, factor: Tensor) -> Recurrence:
    """The state is sum_j f(k_j) v_j^T, (B * Hkv, width, Dv); a step adds one pair and reads it."""
    features = Features(degree, workload.head_dim)
    wide = _of_state(workload, degree)
    root = _root(factor, degree, wide)

    def added(state: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = features.of(k.to(wide).flatten(0, 1)), v.to(wide).flatten(0, 1)
        return torch.baddbmm(state, keys.mT, values, alpha=features.times)

    def prefill(k: Tensor, v: Tensor) -> Tensor:
        state = k.new_zeros((k.shape[0] * k.shape[1], features.width, v.shape[-1]), dtype=wide)
        for part in zip(*(torch.split(t, CHUNK, 2) for t in (k, v)), strict=True):
            state = added(state, *part)
        return state

    def step(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> Tensor:
        rows = (q.to(wide) * root).reshape(len(state), -1, q.shape[-1])
        out = features.of(rows) @ added(state, k, v)
        return out.view(*q.shape[:3], -1).to(q.dtype)

    return Recurrence(prefill, step)


def cost(workload: Workload, degree: int) -> Cost:
    """The products of the sums and of the scores beside them; time and memory are O(L).

    In decode the state is read and written in place of the keys, whatever their number.
    """
    features, mask = Features(degree, workload.head_dim), workload.build_mask("cpu")
    if workload.pass_ == "decode" and mask.is_full:
        kept = workload.batch * workload.kv_heads * features.width * workload.v_head_dim
        groups = workload.groups
        itemsize = _of_state(workload, degree).itemsize
        return Cost(
            2 * (groups + 1) * kept, state_bytes=itemsize * kept, time_growth=0.0, memory_growth=0.0
        )
    return Cost(Plan(features, unpadded(mask)).flops(workload), time_growth=1.0, memory_growth=1.0)


def _of_state(workload: Workload, degree: int) -> torch.dtype:
    # A square that is small by chance is lost among its features' terms in float32, and a single
    # row has no others that would hide it.
    return torch.float64 if degree == 2 else workload.sum_dtype


def _root(factor: Tensor, degree: int, dtype: torch.dtype) -> Tensor:
    return factor.pow(1 / degree)[:, None, :, None].to(dtype)

"""Seeded inputs: drawn so that a wrong kernel cannot hide."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.workload import Workload


def make_inputs(workload: Workload, draw: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """q (B, H, Lq, D), k (B, Hkv, Lkv, D), v (B, Hkv, Lkv, Dv), normal, on the workload's device.

    q and k are scaled so that the scores have standard deviation `logit_std`: with uniform or
    tiny inputs softmax attention is the mean of v, and a gate lets that pass. Under
    `low_rank(r, s)` they lie in r of the D dimensions, so that scores have rank r. Of a layer that
    attends to itself, q and k are both its input. Under `shared` k has the values of q, under `qkv`
    v as well, each in memory of its own; dimension n of r then has variance 1/n of the first's
    (`_deviations`). `draw` numbers
    independent draws of the same workload; the same workload and draw give the same values.
    """
    generator = torch.Generator().manual_seed(workload.seed * 1_000_003 + draw)
    b, h, hkv, rank = workload.batch, workload.heads, workload.kv_heads, workload.logit_rank
    spread = _deviations(workload)
    q = torch.randn((b, h, workload.q_len, rank), generator=generator) * spread
    k = torch.randn((b, hkv, workload.kv_len, rank), generator=generator) * spread
    v = torch.randn((b, hkv, workload.kv_len, workload.v_head_dim), generator=generator)
    if rank < workload.head_dim:
        basis = _subspaces(workload)
        q = _embedded(q, basis.repeat_interleave(h // hkv, 0))
        k = _embedded(k, basis)
    if workload.attends_to_itself:
        k = q
    if workload.shared != "none":
        k, v = q.clone(), (q.clone() if workload.shared == "qkv" else v)
    q, k, v = (t.to(dtype=workload.torch_dtype, device=workload.device) for t in (q, k, v))
    return q, k, v


def square_length(workload: Workload) -> float:
    """Expected |q|^2: times the scale, the score of a token with itself where q = k."""
    deviations = _deviations(workload)
    if isinstance(deviations, Tensor):
        return float(deviations.square().sum())
    return float(workload.logit_rank**0.5 * workload.logit_std / workload.scale)


def _deviations(workload: Workload) -> float | Tensor:
    """Standard deviation of q and k in each of their r dimensions: one number, or (r,).

    Where q = k a token's score with itself is scale * sum(variances), that of others is spread by
    scale * sqrt(sum(variances^2)): with r equal ones, sqrt(r) standard deviations apart, so that
    each token attends to itself and to hardly anything else, and a wrong scale does not show.
    With variances that fall as 1/n they are about ln(r) apart, 3.7 at r = 64.
    """
    rank, size = workload.logit_rank, workload.logit_std / workload.scale
    if workload.shared == "none":
        return float((size / rank**0.5) ** 0.5)
    falling = 1 / torch.arange(1, rank + 1, dtype=torch.float64)
    variances: Tensor = falling * (size / torch.linalg.vector_norm(falling))
    return variances.sqrt().float()


def _subspaces(workload: Workload) -> Tensor:
    """(Hkv, r, D) orthonormal rows: the subspace of each head of keys and of its queries.

    The same in every draw: values of two draws that are mixed still lie in one subspace.
    """
    generator = torch.Generator().manual_seed(workload.seed * 1_000_003 + 271_828)
    shape = (workload.kv_heads, workload.head_dim, workload.logit_rank)
    columns: Tensor = torch.linalg.qr(
        torch.randn(shape, generator=generator, dtype=torch.float64)
    ).Q
    return columns.mT


def _embedded(coordinates: Tensor, basis: Tensor) -> Tensor:
    """Coordinates (B, H, L, r) in the space that the rows of basis (H, r, D) span."""
    # In float64 and rounded, since how a product is summed may differ from process to process.
    return (coordinates.double() @ basis).float()


def make_output_gradient(workload: Workload, rows: Tensor, draw: int = 0) -> Tensor:
    """Gradient of the output (B, H, Lq, Dv): normal at `rows`, 0 elsewhere and at padded rows.

    A gradient that is zero elsewhere makes dK and dV exact although only `rows` are judged.
    """
    generator = torch.Generator().manual_seed(workload.seed * 1_000_003 + draw + 499_979)
    b, h, lq, dv = workload.batch, workload.heads, workload.q_len, workload.v_head_dim
    judged = workload.build_mask("cpu").take(rows).judged[:, None, :, None]
    values = torch.randn((b, h, len(rows), dv), generator=generator) * judged
    gradient = torch.zeros((b, h, lq, dv), dtype=workload.torch_dtype)
    gradient[:, :, rows.cpu()] = values.to(workload.torch_dtype)
    return gradient.to(workload.device)

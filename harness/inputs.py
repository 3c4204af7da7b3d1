"""Seeded inputs: drawn so that a wrong kernel cannot hide."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.workload import Workload


def make_inputs(workload: Workload, draw: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """q (B, H, Lq, D), k (B, Hkv, Lkv, D), v (B, Hkv, Lkv, Dv), normal, on the workload's device.

    q and k are scaled so that the scores have standard deviation `logit_std`: with uniform or
    tiny inputs softmax attention is the mean of v, and a gate lets that pass. `draw` numbers
    independent draws of the same workload; the same workload and draw give the same values.
    """
    generator = torch.Generator().manual_seed(workload.seed * 1_000_003 + draw)
    spread = (workload.logit_std / (workload.head_dim**0.5 * workload.scale)) ** 0.5
    b, h, hkv = workload.batch, workload.heads, workload.kv_heads
    shapes = (
        ((b, h, workload.q_len, workload.head_dim), spread),
        ((b, hkv, workload.kv_len, workload.head_dim), spread),
        ((b, hkv, workload.kv_len, workload.v_head_dim), 1.0),
    )
    q, k, v = (
        (torch.randn(shape, generator=generator) * factor).to(
            dtype=workload.torch_dtype, device=workload.device
        )
        for shape, factor in shapes
    )
    return q, k, v


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

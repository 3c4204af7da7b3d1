"""Attention one pair at a time, in Python floats: what a formula says, with no tensor's help."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from harness.inputs import make_inputs
from harness.variant import AttentionOp
from harness.workload import Workload

Weigh = Callable[[list[float], int, int, Sequence[int]], list[float]]
"""(products with the keys seen, head, position of the query, those keys) -> weights."""


def computed(op: AttentionOp, case: Workload) -> Tensor:
    """The variant's own output on the seeded inputs."""
    q, k, v = make_inputs(case)
    return op.prepare(case, case.build_mask())(q, k, v)


def looped(case: Workload, weigh: Weigh) -> Tensor:
    """sum_j w_ij v_j over the keys that the mask lets query i see; 0 where it sees none."""
    q, k, v = make_inputs(case)
    seen = case.build_mask().dense().expand(case.batch, 1, -1, -1)
    out = torch.zeros(case.batch, case.heads, case.q_len, case.v_head_dim, dtype=v.dtype)
    for b in range(case.batch):
        for h in range(case.heads):
            for i in range(case.q_len):
                keys = seen[b, 0, i].nonzero()[:, 0].tolist()
                products = [dot(q[b, h, i], k[b, h, j]) for j in keys]
                at = i + case.kv_len - case.q_len
                for weight, j in zip(weigh(products, h, at, keys), keys, strict=True):
                    out[b, h, i] += weight * v[b, h, j]
    return out


def dot(a: Tensor, b: Tensor) -> float:
    """a . b"""
    return math.fsum(float(x * y) for x, y in zip(a, b, strict=True))


def softmax(scores: Sequence[float]) -> list[float]:
    """exp(s) / sum exp(s)"""
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]

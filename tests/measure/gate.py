"""The gate of the harness, put to work on any attention function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness import softmax_attention
from harness.inputs import make_inputs, make_output_gradient
from harness.mask import Mask
from harness.measure.calls import Produced
from harness.measure.numerics import Numerics, judge
from harness.measure.truth import Truth, softmax_rows, truth_of
from harness.workload import Workload
from tests.build import workload

Attend = Callable[..., Tensor]
BOTH = "forward+backward"


def small(**fields: Any) -> Workload:
    """Two sequences of four heads, with gradients unless told otherwise."""
    shape = {"pass": BOTH, "batch": 2, "heads": 4, "q_len": 64, "head_dim": 16, "threads": 1}
    return workload(**{**shape, **fields})


def truth_for(asked: Workload) -> Truth:
    """The truth of softmax attention on a workload."""
    return truth_of(softmax_attention, asked, softmax_rows(asked), rowwise=True)


def answer(attend: Attend, asked: Workload, truth: Truth) -> Produced:
    """What an attention function gives on the inputs of a workload."""
    grad = asked.has_gradients
    q, k, v = (tensor.requires_grad_(grad) for tensor in make_inputs(asked))
    times = asked.heads // asked.kv_heads
    heads = (tensor.repeat_interleave(times, 1) for tensor in (k, v))
    output = attend(q, *heads, mask=asked.build_mask(), scale=asked.scale)
    if not grad:
        return Produced(output)
    upstream = make_output_gradient(asked, truth.rows)
    gradients = torch.autograd.grad(
        output,
        (q, k, v),
        upstream[: output.shape[0], :, :, : output.shape[-1]].to(output.dtype),
        allow_unused=True,
        materialize_grads=True,
    )
    return Produced(output.detach(), gradients)


def judged(attend: Attend, asked: Workload) -> Numerics:
    """What the gate says of an attention function."""
    truth = truth_for(asked)
    return judge(answer(attend, asked, truth), truth, asked)


def zeros(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
    return softmax_attention(q, k, v, mask=mask, scale=scale) * 0


def mean_of_v(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
    return softmax_attention(q, k, v, mask=mask, scale=0.0)


def mask_ignored(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
    return (q @ k.mT * scale).softmax(-1) @ v


def scale_off(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
    return softmax_attention(q, k, v, mask=mask, scale=1.01 * scale)


def nan_row(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
    hurt = torch.zeros(q.shape[-2], 1, dtype=q.dtype)
    hurt[3] = torch.nan
    return softmax_attention(q, k, v, mask=mask, scale=scale) + hurt


def head_swapped(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
    order = [1, 0, *range(2, q.shape[1])]
    return softmax_attention(q, k, v, mask=mask, scale=scale)[:, order]


def last_tile_skipped(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
    last = int(mask.judged[0].nonzero()[-1])
    kept = torch.ones(q.shape[-2], 1, dtype=q.dtype)
    kept[last - 7 : last + 1] = 0.0
    return softmax_attention(q, k, v, mask=mask, scale=scale) * kept


def gradient_of_v_only(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
    return softmax_attention(q.detach(), k.detach(), v, mask=mask, scale=scale)


def wrong_shape(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
    return softmax_attention(q, k, v, mask=mask, scale=scale)[..., :-1]


def wrong_dtype(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
    return softmax_attention(q.double(), k.double(), v.double(), mask=mask, scale=scale)


def gradient_scaled(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
    """The right output, whose gradients are all 2% too large."""
    right = softmax_attention(q, k, v, mask=mask, scale=scale)
    return 1.02 * right - 0.02 * right.detach()


MUTANTS: dict[str, Attend] = {
    "zeros": zeros,
    "mean_of_v": mean_of_v,
    "mask_ignored": mask_ignored,
    "scale_off": scale_off,
    "nan_row": nan_row,
    "head_swapped": head_swapped,
    "last_tile_skipped": last_tile_skipped,
    "gradient_of_v_only": gradient_of_v_only,
    "gradient_scaled": gradient_scaled,
    "wrong_shape": wrong_shape,
    "wrong_dtype": wrong_dtype,
}

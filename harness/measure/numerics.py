"""Correctness: errors against the truth of the block, and the bounds they must keep."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.measure.calls import Produced
from harness.measure.norms import (
    gradient_error,
    over_rows,
    relative_error,
    row_distances,
    row_norms,
    row_scales,
)
from harness.measure.truth import OwnError, Truth
from harness.workload import Workload


@dataclass(frozen=True)
class Numerics:
    """Errors of one case with the bounds they were held to; `wrong` says where it breaks them.

    Errors are absent where there is nothing to measure: another shape, or no gradients.
    output_rms: root mean square of the elements of the judged rows. v is drawn with variance 1, so
    that in expectation it is the Frobenius norm of the matrix of weights over sqrt(Lq).
    """

    error: float | None = None
    error_bound: float | None = None
    gradient_error: float | None = None
    gradient_error_bound: float | None = None
    deviation: float | None = None
    output_rms: float | None = None
    rows: int = 0
    wrong: str | None = None


def judge(produced: Produced, truth: Truth, workload: Workload) -> Numerics:
    """Hold what a call produced against the truth.

    Over the tensor and in each row, error <= 2 own error + floor, where own error is the
    definition's in the case's dtype, the error is relative to the norm (of a row: its scale,
    see `row_scales`), and floor = 2 eps + 4 eps_acc max|v| sqrt(Dv) / norm of a row,
    eps_acc = eps of float32 for 16-bit dtypes: what rounds the result once scales with the
    result, what accumulates in float32 with the values. Each (batch, head) slice of a gradient
    keeps a bound likewise, relative to its norm or the size of its terms (`gradient_sizes`).
    Everything must be finite.
    """
    wrong = shape_fault(produced, workload) or _not_finite(produced, workload)
    if wrong is not None or produced.output is None:
        return Numerics(rows=len(truth.rows), wrong=wrong)
    found = produced.output.detach()[:, :, truth.rows]
    error, bound = relative_error(found, truth.output, truth.judged), _bound(truth, workload)
    wrong = row_fault(
        found, truth.output, truth.judged, row_limit(truth.output, truth.own, workload)
    )
    if wrong is None and not error <= bound:
        wrong = f"error {error:.2g} above the bound {bound:.2g}"
    gradients = _judge_gradients(produced, truth, workload) if truth.gradients else (None,) * 3
    return Numerics(
        error=error,
        error_bound=bound,
        gradient_error=gradients[0],
        gradient_error_bound=gradients[1],
        deviation=_deviation(found, truth, workload),
        output_rms=_rms(found, truth),
        rows=len(truth.rows),
        wrong=wrong or gradients[2],
    )


def row_limit(expected: Tensor, own: OwnError, workload: Workload) -> Tensor:
    """(B, H, R) how far a row may lie from the expected one."""
    eps, accumulator = _epsilons(workload)
    scales = row_scales(expected, own.mean_v)
    spread = own.largest_v * workload.v_head_dim**0.5
    limit: Tensor = (2 * _finite(own.row) + 2 * eps) * scales + 4 * accumulator * spread
    return limit


def row_fault(found: Tensor, expected: Tensor, judged: Tensor, limit: Tensor) -> str | None:
    """Where a row first lies further off than its limit, as a reader would look it up."""
    distance = row_distances(found, expected)
    broken = (~(distance <= limit) & judged[..., 0]).nonzero()
    if not len(broken):
        return None
    b, h, r = (int(index) for index in broken[0])
    off, allowed = float(distance[b, h, r]), float(limit[b, h, r])
    return f"batch {b}, head {h}, judged row {r} is off by {off:.2g}, allowed {allowed:.2g}"


def _deviation(found: Tensor, truth: Truth, workload: Workload) -> float | None:
    """From softmax attention; absent for a layer, whose projections are its own."""
    if workload.level == "layer":
        return None
    return relative_error(found, truth.softmax, truth.judged)


def _rms(found: Tensor, truth: Truth) -> float:
    elements = _judged_rows(truth) * found.shape[-1]
    size: float = over_rows(row_norms(found), truth.judged) / max(elements, 1) ** 0.5
    return size


def _judged_rows(truth: Truth) -> int:
    return int(truth.judged.expand(*truth.output.shape[:3], 1).sum())


def _bound(truth: Truth, workload: Workload) -> float:
    rows = _judged_rows(truth)
    norm = over_rows(row_norms(truth.output), truth.judged)
    scale = over_rows(row_scales(truth.output, truth.own.mean_v), truth.judged)
    eps, accumulator = _epsilons(workload)
    spread = truth.own.largest_v * (rows * workload.v_head_dim) ** 0.5
    floor = 2 * eps * scale + 4 * accumulator * spread
    bound: float = 2 * _finite(truth.own.tensor) + floor / max(norm, 1e-30)
    return bound


def _judge_gradients(
    produced: Produced, truth: Truth, workload: Workload
) -> tuple[float, float, str | None]:
    dq, dk, dv = (gradient.detach() for gradient in produced.gradients)
    found = (dq[:, :, truth.rows], dk, dv)
    known = zip(found, truth.gradients, truth.gradient_sizes, strict=True)
    errors = [gradient_error((a,), (b,), (size,)) for a, b, size in known]
    bound = gradient_bound(truth.own.gradient, workload)
    names = [name for name, e in zip(("q", "k", "v"), errors, strict=True) if not e <= bound]
    text = f"gradient of {', '.join(names)}: error {max(errors):.2g} above the bound {bound:.2g}"
    return max(errors), bound, text if names else None


def gradient_bound(own: float, workload: Workload) -> float:
    """2 own + 4 eps + 32 eps of the sums; own: what the definition errs by in the dtype."""
    eps, accumulator = _epsilons(workload)
    return 2 * _finite(own) + 4 * eps + 32 * accumulator


def shape_fault(produced: Produced, workload: Workload) -> str | None:
    """What is wrong with the kind, shape or dtype of an output."""
    output = produced.output
    shape = (workload.batch, workload.heads, workload.q_len, workload.v_head_dim)
    if not isinstance(output, Tensor):
        return f"returned {type(output).__name__}, expected a tensor"
    if tuple(output.shape) != shape:
        return f"output has shape {tuple(output.shape)}, expected {shape}"
    if output.dtype != workload.torch_dtype:
        return f"output is {output.dtype}, expected {workload.torch_dtype}"
    return None


def _not_finite(produced: Produced, workload: Workload) -> str | None:
    assert produced.output is not None
    broken = ~produced.output.isfinite()
    if bool(broken.any()):
        broken &= workload.build_mask(produced.output.device).judged[:, None, :, None]
    if bool(broken.any()):
        b, h, r, _ = (int(index) for index in broken.nonzero()[0])
        return f"output is not finite, first at batch {b}, head {h}, row {r}"
    for name, gradient in zip(("q", "k", "v"), produced.gradients, strict=False):
        if not bool(gradient.isfinite().all()):
            return f"gradient of {name} is not finite"
    return None


def _epsilons(workload: Workload) -> tuple[float, float]:
    eps = torch.finfo(workload.torch_dtype).eps
    return eps, min(eps, torch.finfo(torch.float32).eps)


def _finite(own: float) -> float:
    # A definition that overflows in this dtype has no error to allow for: the floor remains.
    return own if own < float("inf") else 0.0

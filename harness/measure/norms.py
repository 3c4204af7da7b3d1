"""Errors, normalised by the norm of the row, the slice or the tensor; never by an element."""

from __future__ import annotations

import torch
from torch import Tensor


def judged_norm(tensor: Tensor, judged: Tensor) -> float:
    """Frobenius norm over the judged rows; what stands in the others may be anything."""
    return float(torch.where(judged, tensor.double(), 0.0).square().sum().sqrt())


def relative_error(found: Tensor, expected: Tensor, judged: Tensor) -> float:
    """|found - expected| / |expected| over the judged rows; the plain distance where that is 0."""
    norm = judged_norm(expected, judged)
    distance = judged_norm(found.double() - expected, judged)
    return distance / norm if norm > 0 else distance


def row_errors(found: Tensor, expected: Tensor, judged: Tensor) -> Tensor:
    """(B, H, R) relative error of each judged row; 0 at rows that are 0 or not judged."""
    distance = (found.double() - expected).square().sum(-1).sqrt()
    norms = expected.square().sum(-1).sqrt()
    seen = (norms > 0) & judged[..., 0]
    return torch.where(seen, distance / norms.clamp(min=1e-300), 0.0)


def gradient_error(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    """The worst relative error of a (batch, head) slice over all gradients; inf if not finite."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        distance = (a.double() - b).square().sum((-1, -2)).sqrt()
        norm = b.square().sum((-1, -2)).sqrt()
        # A slice whose true gradient vanishes (one key attended: dQ = 0) has no norm of its own.
        scale = torch.where(norm > 1e-9 * norm.max(), norm, norm.max().clamp(min=1.0))
        error = float((distance / scale).max())
        worst = max(worst, error) if error == error else float("inf")
    return worst

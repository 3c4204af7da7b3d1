"""Errors, normalised by the norm of the row, the slice or the tensor; never by an element."""

from __future__ import annotations

import torch
from torch import Tensor


def row_distances(found: Tensor, expected: Tensor) -> Tensor:
    """(B, H, R) Euclidean distance of each row from the expected one, in float64."""
    distances: Tensor = torch.linalg.vector_norm(found - expected.double(), dim=-1)
    return distances


def row_norms(tensor: Tensor) -> Tensor:
    """(B, H, R) Euclidean norm of each row, in float64."""
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=-1, dtype=torch.float64)
    return norms


def over_rows(rows: Tensor, judged: Tensor) -> float:
    """Norm of a (B, H, R) norm over the judged rows; what stands in the others may be anything."""
    return float(torch.where(judged[..., 0], rows, 0.0).square().sum().sqrt())


def relative_error(found: Tensor, expected: Tensor, judged: Tensor) -> float:
    """|found - expected| / |expected| over the judged rows; the plain distance where that is 0."""
    norm = over_rows(row_norms(expected), judged)
    distance = over_rows(row_distances(found, expected), judged)
    return distance / norm if norm > 0 else distance


def row_errors(found: Tensor, expected: Tensor, judged: Tensor) -> Tensor:
    """(B, H, R) relative error of each judged row; 0 at rows that are 0 or not judged."""
    norms = row_norms(expected)
    seen = (norms > 0) & judged[..., 0]
    distances = row_distances(found, expected)
    return torch.where(seen, distances / norms.clamp(min=1e-300), 0.0)


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

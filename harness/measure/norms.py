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


def row_scales(expected: Tensor, mean_v: float) -> Tensor:
    """(B, H, R) size that the error of a row is held against: sqrt(norm^2 + a mean element^2).

    What is rounded is the terms of a row's sum, and a row of few elements may be small by chance
    where its terms are not. mean_v, an element of the mean of all v, counts as one more element,
    for the whole output may be one. A row that is 0 stays 0.
    """
    norms = row_norms(expected)
    element = (norms.square().sum() + mean_v**2) / (expected.numel() + 1)
    return torch.where(norms > 0, (norms.square() + element).sqrt(), 0.0)


def row_errors(found: Tensor, expected: Tensor, judged: Tensor, scales: Tensor) -> Tensor:
    """(B, H, R) error of each judged row against its scale; 0 at rows that are 0 or not judged."""
    seen = (scales > 0) & judged[..., 0]
    distances = row_distances(found, expected)
    return torch.where(seen, distances / scales.clamp(min=1e-300), 0.0)


def gradient_sizes(
    inputs: tuple[Tensor, ...], upstream: Tensor, output: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(B, H) or (B, Hkv) size of the terms that the gradients of q, k and v are summed from.

    With P the weights and g the gradient of the output, dV = P^T g and dQ = scale dS K, where
    dS = P (g V^T - its mean under P). Where a row attends to few keys that difference cancels
    to nothing, but not the rounding of its terms. A row of P has norm about |output| / |v|, for
    v is drawn independently, so that this holds for any definition that is linear in v.
    """
    q, k, v = (tensor.double() for tensor in inputs)
    kv_heads, groups = k.shape[1], q.shape[1] // k.shape[1]
    terms = (row_norms(upstream) * row_norms(output)).square() / output.shape[-1]
    q_row, k_row = (row_norms(tensor).square().mean(-1) for tensor in (q, k))
    v_element = v.square().mean((-1, -2))
    of_q = terms.sum(-1) * k_row.repeat_interleave(groups, 1)
    of_k = (terms.sum(-1) * q_row).reshape(-1, kv_heads, groups).sum(-1)
    of_v = terms.sum(-1).reshape(-1, kv_heads, groups).sum(-1) / v_element.clamp(min=1e-300)
    return scale * of_q.sqrt(), scale * of_k.sqrt(), of_v.sqrt()


def gradient_error(
    found: tuple[Tensor, ...], expected: tuple[Tensor, ...], sizes: tuple[Tensor, ...]
) -> float:
    """The worst error of a (batch, head) slice over all gradients; inf if not finite.

    Against the norm of the slice, or the size of the terms that it is summed from if larger.
    """
    worst = 0.0
    for a, b, size in zip(found, expected, sizes, strict=True):
        distance = torch.linalg.vector_norm(a - b.double(), dim=(-1, -2))
        norm = torch.linalg.vector_norm(b.double(), dim=(-1, -2))
        scale = torch.maximum(norm, size)
        # Where nothing is attended, there is no scale, and nothing but 0 is right.
        error = float((distance / torch.where(scale > 0, scale, 1e-300)).max())
        worst = max(worst, error) if error == error else float("inf")
    return worst

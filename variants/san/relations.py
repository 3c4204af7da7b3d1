"""How pixels are related: delta of the paper, for pixels and the windows around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

Pairwise = Literal["subtraction", "summation", "concatenation", "hadamard", "dot_product"]
Patchwise = Literal["concatenation", "star_product", "clique_product"]
Relation = Callable[[Tensor, Tensor], Tensor]
"""phi (B, r, n) and windows of psi (B, r, K^2, n) -> channels (B, c, K^2, n), or (B, c, n)."""


def _concatenation(phi: Tensor, psi: Tensor) -> Tensor:
    return torch.cat([phi[:, :, None].expand_as(psi), psi], 1)


def _whole_patch(phi: Tensor, psi: Tensor) -> Tensor:
    return torch.cat([phi, psi.flatten(1, 2)], 1)


def _star_product(phi: Tensor, psi: Tensor) -> Tensor:
    return (phi[:, :, None] * psi).sum(1)


def _clique_product(phi: Tensor, psi: Tensor) -> Tensor:
    """Of all pairs of the window; phi is taken of the window as well, and stands for psi here."""
    return torch.einsum("brjn,brkn->bjkn", phi, psi).flatten(1, 2)


PAIRWISE: Mapping[str, Relation] = MappingProxyType(
    {
        "subtraction": lambda phi, psi: phi[:, :, None] - psi,
        "summation": lambda phi, psi: phi[:, :, None] + psi,
        "concatenation": _concatenation,
        "hadamard": lambda phi, psi: phi[:, :, None] * psi,
        "dot_product": lambda phi, psi: (phi[:, :, None] * psi).sum(1, keepdim=True),
    }
)
PATCHWISE: Mapping[str, Relation] = MappingProxyType(
    {
        "concatenation": _whole_patch,
        "star_product": _star_product,
        "clique_product": _clique_product,
    }
)


def pairwise_channels(relation: str, channels: int) -> int:
    """Channels of a relation between two pixels of so many channels."""
    return {"concatenation": 2 * channels, "dot_product": 1}.get(relation, channels)


def patchwise_channels(relation: str, channels: int, positions: int) -> int:
    """Channels of a relation of a patch of so many positions."""
    known = {"star_product": positions, "clique_product": positions**2}
    return known.get(relation, (positions + 1) * channels)

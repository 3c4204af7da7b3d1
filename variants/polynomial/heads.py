"""q, k and v, or their gradients, by head of keys: what kernels take apart and put together."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Heads(NamedTuple):
    """q (N, G, Lq, D), k (N, Lkv, D), v (N, Lkv, Dv): N heads of keys, G of queries on each."""

    q: Tensor
    k: Tensor
    v: Tensor

    @classmethod
    def of(cls, q: Tensor, k: Tensor, v: Tensor) -> Heads:
        """From (B, H, Lq, D), (B, Hkv, Lkv, D) and (B, Hkv, Lkv, Dv)."""
        return cls(folded(q, k.shape[1]), k.flatten(0, 1), v.flatten(0, 1))

    def take(self, heads: slice) -> Heads:
        """Some of the N heads of keys."""
        return Heads(*(tensor[heads] for tensor in self))

    def rows(self, rows: slice) -> Tensor:
        """(N, G * rows, D): some queries, the heads on one head of keys below each other."""
        return self.q[:, :, rows].flatten(1, 2)


def folded(rows: Tensor, kv_heads: int) -> Tensor:
    """(B, H, L, D) -> (B * Hkv, G, L, D), a view where the heads lie side by side."""
    return rows.reshape(-1, rows.shape[1] // kv_heads, *rows.shape[2:])


def place(rows: Tensor, into: Tensor, at: slice) -> None:
    """Write (N, G * rows, D) to the rows `at` of `into` (N, G, L, D)."""
    part = into[:, :, at]
    part.copy_(rows.view(part.shape))


def zeros_like(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Zeros of these shapes, contiguous whatever the tensors are."""
    return tuple(torch.zeros(t.shape, dtype=t.dtype, device=t.device) for t in tensors)

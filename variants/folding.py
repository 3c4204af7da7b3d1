"""Long sequences as chunks, and heads that share keys as rows of one chunk."""

from __future__ import annotations

import torch
from torch import Tensor


def cut(x: Tensor, chunk: int, front: int = 0) -> Tensor:
    """(.., L, D) -> (.., chunks, chunk, D): `front` rows of 0 ahead, some behind the last one."""
    back = -(front + x.shape[-2]) % chunk
    if front or back:
        x = torch.nn.functional.pad(x, (0, 0, front, back))
    return torch.unflatten(x, -2, (-1, chunk))


def fold(q: Tensor, kv_heads: int, chunk: int, front: int = 0) -> Tensor:
    """(B, H, L, D) -> (B, Hkv, chunks, H / Hkv * chunk, D): a product with keys reads them once."""
    groups = torch.unflatten(q, 1, (kv_heads, -1))
    return cut(groups, chunk, front).transpose(2, 3).flatten(3, 4)


def unfold(out: Tensor, chunk: int, length: int, front: int = 0) -> Tensor:
    """(B, Hkv, chunks, H / Hkv * chunk, D) -> (B, H, length, D), what `fold` filled in left out."""
    rows = torch.unflatten(out, 3, (-1, chunk)).transpose(2, 3).flatten(3, 4)
    return rows[:, :, :, front : front + length].flatten(1, 2)

"""Softmax attention, plainly: what the deviation of every variant is measured from."""

from __future__ import annotations

from torch import Tensor

from harness.mask import Mask


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
    """softmax(scale q k^T + bias) v over the attended keys (Vaswani et al. 2017, eq. 1).

    q (B, H, R, D), k (B, H, Lkv, D), v (B, H, Lkv, Dv) -> (B, H, R, Dv).
    """
    return mask.softmax(q @ k.mT * scale) @ v

"""Grouped heads, repeated for what takes none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


def repeated(k: Tensor, v: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """k and v (B, Hkv, L, .) with each head `times` times over."""
    return (k, v) if times == 1 else (k.repeat_interleave(times, 1), v.repeat_interleave(times, 1))


def repeating(attend: Callable[..., Any], times: int) -> Callable[..., Any]:
    """An op whose keys' and values' heads are repeated first."""

    def call(q: Tensor, k: Tensor, v: Tensor) -> Any:
        return attend(q, *repeated(k, v, times))

    return call

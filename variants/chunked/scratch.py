"""The memory that a blocked kernel works in: allocated once a call, used again for each block."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Sixteen bits are too few to add up many blocks in, and most CPUs multiply them no faster.
_WIDER = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


class Scratch:
    """Tensors by name, on the device of `like`; `dtype` is what is computed in."""

    def __init__(self, like: Tensor) -> None:
        self.dtype = _WIDER.get(like.dtype, like.dtype)
        self._device = like.device
        self._held: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """A contiguous tensor with whatever is in it."""
        size = math.prod(shape)
        held = self._held.get(name)
        if held is None or len(held) < size:
            held = torch.empty(size, dtype=self.dtype, device=self._device)
            self._held[name] = held
        return held[:size].view(shape)

    def load(self, name: str, source: Tensor) -> Tensor:
        """A copy of (n, G, R, width) as (n, G R, width)."""
        slices, groups, rows, width = source.shape
        copy = self.take(name, slices, groups * rows, width)
        copy.view(source.shape).copy_(source)
        return copy

    def cast(self, block: Tensor) -> Tensor:
        """The block itself, or a copy in the dtype that is computed in."""
        return block.to(self.dtype)

"""The memory that a blocked kernel works in: allocated once a call, used again for each block."""

from __future__ import annotations

import torch
from torch import Tensor

# Sixteen bits are too few to add up many blocks in, and most CPUs multiply them no faster.
_WIDER = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


class Scratch:
    """Tensors by name, for `slices` pairs of sequence and head; `dtype` is what is computed in."""

    def __init__(self, like: Tensor, slices: int) -> None:
        self.dtype = _WIDER.get(like.dtype, like.dtype)
        self._device, self._slices = like.device, slices
        self._held: dict[str, Tensor] = {}

    def take(self, name: str, rows: int, width: int) -> Tensor:
        """(slices, rows, width), contiguous, with whatever is in it."""
        size = self._slices * rows * width
        held = self._held.get(name)
        if held is None or len(held) < size:
            held = torch.empty(size, dtype=self.dtype, device=self._device)
            self._held[name] = held
        return held[:size].view(self._slices, rows, width)

    def load(self, name: str, source: Tensor) -> Tensor:
        """A copy of (slices, G, R, n) as (slices, G R, n)."""
        _, groups, rows, width = source.shape
        copy = self.take(name, groups * rows, width)
        copy.view(source.shape).copy_(source)
        return copy

    def cast(self, block: Tensor) -> Tensor:
        """The block itself, or a copy in the dtype that is computed in."""
        return block.to(self.dtype)

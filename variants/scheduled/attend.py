"""Attention of one worker on its rows: there and back along the steps of its schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, split

from harness import Link
from variants.scheduled.pairs import Backward, Forward
from variants.scheduled.plan import Step
from variants.scheduled.rows import Layout
from variants.scheduled.travel import Block, travel


@dataclass(frozen=True)
class Attend:
    """Calls q, k, v at the rows of `blocks`, in their order -> the output there, differentiable."""

    link: Link
    blocks: Sequence[int]
    layout: Layout
    forward_steps: Sequence[Step]
    backward_steps: Sequence[Step]
    forward_work: Forward
    backward_work: Backward
    dtype: torch.dtype

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output at the rows."""
        out: Tensor = _Attend.apply(self, q, k, v)  # type: ignore[no-untyped-call]
        return out

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Output in the dtype of sums, and what the backward needs of its rows."""
        wide = [tensor.to(self.dtype) for tensor in (k, v, q)]
        sums = travel(self.forward_steps, self.link, self._home(wide), self.forward_work)
        found = [(sums[block], self._positions(block)) for block in self.blocks]
        work = self.forward_work
        out = torch.cat([work.output(of_block, rows) for of_block, rows in found], 2)
        kept = [work.kept(of_block, rows) for of_block, rows in found]
        shape = out.shape[:3]
        return out, torch.cat([self._rows_of(part, shape, n) for n, part in enumerate(kept)], 2)

    def backward(self, saved: Sequence[Tensor], g: Tensor) -> tuple[Tensor, ...]:
        """Gradients of q, k and v."""
        q, k, v, out, kept = saved
        wide = [tensor.to(self.dtype) for tensor in (k, v)]
        brought = self.backward_work.upstream(g.to(self.dtype), out, kept)
        home = self._home([*wide, *brought, q.to(self.dtype)])
        sums = travel(self.backward_steps, self.link, home, self.backward_work)
        dk, dv, dq = (
            torch.cat([sums[block][n] for block in self.blocks], 2).to(q.dtype) for n in range(3)
        )
        return dq, dk, dv

    def _home(self, tensors: Sequence[Tensor]) -> dict[int, Block]:
        lengths = [len(self.layout.rows(block)) for block in self.blocks]
        parts = zip(*(split(tensor, lengths, 2) for tensor in tensors), strict=True)
        # Contiguous, for they are sent.
        return {
            block: tuple(tensor.contiguous() for tensor in part)
            for block, part in zip(self.blocks, parts, strict=True)
        }

    def _positions(self, block: int) -> Tensor:
        return self.layout.positions([block])

    def _rows_of(self, kept: Tensor, shape: Sequence[int], n: int) -> Tensor:
        rows = len(self.layout.rows(self.blocks[n]))
        return kept.expand(shape[0], shape[1], rows, 1)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, attend: Attend, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out, kept = attend.forward(q, k, v)
        ctx.attend = attend
        ctx.save_for_backward(q, k, v, out, kept)
        return out.to(q.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return None, *ctx.attend.backward(ctx.saved_tensors, g)

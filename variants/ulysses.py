"""Head-parallel attention: workers swap rows for heads and back (arXiv:2309.14509)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from harness import Attention, Cost, Link, Mask, TeamOp, Workload, register
from variants.sdpa import Sdpa
from variants.softmax import SoftmaxFamily

Move = Callable[[Tensor], Tensor]


@register("ulysses")
@dataclass(frozen=True)
class Ulysses(SoftmaxFamily, TeamOp):
    """Softmax attention of whole rows, each worker some heads, between two all-to-all exchanges.

    DeepSpeed-Ulysses (Jacobs et al. 2023, arXiv:2309.14509): of its rows of q, k and v a worker
    sends to each other the heads that that one computes, and gets its rows of the output back. What
    computes the heads is torch's scaled_dot_product_attention.
    """

    biased: ClassVar[bool] = False

    def unsupported(self, workload: Workload) -> str | None:
        """Heads that cannot be shared out evenly, and rows that are fewer than workers."""
        reason = super().unsupported(workload)
        if reason is not None:
            return reason
        if workload.heads % self.workers:
            return (
                f"each worker has as many heads: heads={workload.heads}, workers={self.workers}; "
                f"write heads as a multiple of {self.workers}"
            )
        if workload.q_len < self.workers:
            return f"fewer rows than workers: q_len={workload.q_len}, workers={self.workers}"
        return Sdpa().unsupported(self._own(workload))

    def rows(self, workload: Workload) -> tuple[Tensor, ...]:
        """As many consecutive rows each, but for one."""
        return torch.arange(workload.q_len).tensor_split(self.workers)

    def part(self, workload: Workload, mask: Mask, link: Link) -> Attention:
        """Exchange, attend, exchange."""
        lengths = [len(rows) for rows in self.rows(workload)]
        attend = Sdpa().prepare(self._own(workload), mask)

        to_heads, to_rows = (partial(move, link, lengths) for move in (_to_heads, _to_rows))

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            whole = (_exchanged(x, to_heads, to_rows) for x in (q, k, v))
            return _exchanged(attend(*whole), to_rows, to_heads)

        return call

    def sent_bytes(self, workload: Workload) -> int:
        """Of q, k, v and the output all but each worker's own share; of gradients as much again."""
        w = workload
        width = 2 * w.head_dim + 2 * w.v_head_dim
        own = w.batch * w.q_len * w.heads * width * (self.workers - 1) // self.workers
        passes = 2 if w.pass_ == "forward+backward" else 1
        return passes * own * w.torch_dtype.itemsize

    def cost(self, workload: Workload) -> Cost:
        """A worker's share of what the kernel executes."""
        own = Sdpa().cost(self._own(workload))
        return Cost(
            self._own(workload).flops() if own.flops is None else own.flops,
            bytes=workload.compulsory_bytes() // self.workers,
            time_growth=own.time_growth,
            memory_growth=own.memory_growth,
        )

    def _own(self, workload: Workload) -> Workload:
        heads = workload.heads // self.workers
        return workload.model_copy(update={"heads": heads, "kv_heads": heads})


class _Exchange(torch.autograd.Function):
    """There, and its gradient back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Move, back: Move) -> Tensor:
        ctx.back = back
        return there(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return ctx.back(g), None, None


def _exchanged(x: Tensor, there: Move, back: Move) -> Tensor:
    out: Tensor = _Exchange.apply(x, there, back)  # type: ignore[no-untyped-call]
    return out


def _to_heads(link: Link, lengths: Sequence[int], x: Tensor) -> Tensor:
    """(B, H, own rows, D) -> (B, own heads, L, D)."""
    given = list(x.chunk(link.size, 1))
    b, h, _, d = given[0].shape
    return torch.cat(_swapped(link, given, [(b, h, length, d) for length in lengths]), 2)


def _to_rows(link: Link, lengths: Sequence[int], x: Tensor) -> Tensor:
    """(B, own heads, L, D) -> (B, H, own rows, D)."""
    given = list(torch.split(x, list(lengths), 2))
    b, h, _, d = x.shape
    own = (b, h, lengths[link.rank], d)
    return torch.cat(_swapped(link, given, [own] * link.size), 1)


def _swapped(link: Link, given: Sequence[Tensor], shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """What every worker sent to this one; its own part is not sent."""
    others = [rank for rank in range(link.size) if rank != link.rank]
    taken = [given[link.rank].new_empty(tuple(shape)) for shape in shapes]
    link.exchange({r: [given[r]] for r in others}, {r: [taken[r]] for r in others}).wait()
    taken[link.rank] = given[link.rank]
    return taken

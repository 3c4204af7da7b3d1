"""What joins the workers of a team: sends that are counted, over torch.distributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch.distributed as dist
from torch import Tensor


@dataclass
class Link:
    """One worker of `size`, which sends to others; `sent_bytes` counts what it sent."""

    rank: int
    size: int
    sent_bytes: int = field(default=0)

    def shift(self, given: Sequence[Tensor], taken: Sequence[Tensor]) -> Pending:
        """Send tensors to the next worker of the ring and receive others from the one before.

        Both are under way when it returns; neither may be touched before `wait`.
        """
        return self.exchange({(self.rank + 1) % self.size: given}, {self.rank - 1: taken})

    def exchange(
        self, given: Mapping[int, Sequence[Tensor]], taken: Mapping[int, Sequence[Tensor]]
    ) -> Pending:
        """Send tensors to workers by rank and receive from others, in the order of each."""
        held = [(to, tensor.contiguous()) for to, tensors in given.items() for tensor in tensors]
        sends = [dist.P2POp(dist.isend, tensor, to) for to, tensor in held]
        receives = [
            dist.P2POp(dist.irecv, tensor, source % self.size)
            for source, tensors in taken.items()
            for tensor in tensors
        ]
        self.sent_bytes += sum(tensor.numel() * tensor.element_size() for _, tensor in held)
        both = sends + receives
        return Pending(dist.batch_isend_irecv(both) if both else [], [t for _, t in held])


@dataclass
class Pending:
    """Sends and receives under way."""

    works: list[dist.Work]
    held: list[Tensor]
    """What is being sent, kept alive until it is."""

    def wait(self) -> None:
        """Until what is received is there and what is sent may be changed."""
        for work in self.works:
            work.wait()
        self.held = []

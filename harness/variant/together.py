"""Ops that several processes compute together."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from torch import Tensor

from harness.mask import Mask
from harness.team import Link, Team
from harness.variant.interface import Attention, AttentionOp, Cost
from harness.workload import Workload


@dataclass(frozen=True)
class TeamOp(AttentionOp):
    """One attention that `workers` processes compute, each on rows of its own; abstract.

    Every worker has one thread. What is timed is the slowest worker, from the barrier before the
    call to its end: handing out q, k and v and bringing the output together are not, for where
    attention is spread, so is what comes before and after it.
    """

    workers: int = 2

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1: workers={self.workers}; write 2 or more")

    def rows(self, workload: Workload) -> tuple[Tensor, ...]:
        """Positions of the rows of q, k and v that each worker has, every row once."""
        raise NotImplementedError

    def part(self, workload: Workload, mask: Mask, link: Link) -> Attention:
        """What one worker calls on its rows, differentiable; it sends through `link` alone."""
        raise NotImplementedError

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Start the workers."""
        return Team(functools.partial(self.part, workload, mask), self.rows(workload), workload)

    def cost(self, workload: Workload) -> Cost:
        """A worker's share of the algorithmic FLOPs and of the bytes, for each has one thread."""
        return Cost(
            workload.flops() // self.workers, bytes=workload.compulsory_bytes() // self.workers
        )

    def unsupported(self, workload: Workload) -> str | None:
        """What no team does here."""
        if workload.device != "cpu":
            return f"its workers are processes on CPUs: device={workload.device}; use device: cpu"
        if workload.threads != 1:
            return (
                f"every worker has one thread: threads={workload.threads}; write threads: 1 and "
                "more workers"
            )
        if workload.q_len != workload.kv_len:
            return (
                f"a worker has the same rows of q, k and v: q_len={workload.q_len}, "
                f"kv_len={workload.kv_len}; make them equal"
            )
        if workload.kv_heads != workload.heads:
            return (
                f"its workers take as many heads of keys: heads={workload.heads}, "
                f"kv_heads={workload.kv_heads}; leave kv_heads out"
            )
        if workload.compile:
            return "it is no one program to compile; write compile: false"
        return None

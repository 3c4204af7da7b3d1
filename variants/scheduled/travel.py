"""A worker's way through its steps: compute, send on, receive, add up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from harness import Link
from variants.scheduled.plan import Step

Block = tuple[Tensor, ...]
"""What belongs to a block of rows, all of it sent together."""


class Work(Protocol):
    """What is computed on pairs of blocks; of_blocks, of_sums: how many tensors of each travel."""

    of_blocks: int
    of_sums: int

    def room(self, block: int) -> Block:
        """Uninitialised tensors of the shapes of a block that travels."""

    def zeros(self, block: int) -> Block:
        """Sums of a block before anything was added."""

    def pair(self, i: int, j: int, blocks: dict[int, Block], sums: dict[int, Block]) -> None:
        """Add to the sums what the pair of query block i and key block j gives."""

    def merge(self, sums: Block, others: Block) -> None:
        """Add sums that were made elsewhere."""


def travel(
    steps: Sequence[Step], link: Link, home: dict[int, Block], work: Work
) -> dict[int, Block]:
    """Do all steps; the sums of the blocks that are at home here."""
    here = dict(home)
    sums = {block: work.zeros(block) for block in home}
    for step in steps:
        given = [tensor for block in step.given for tensor in here[block][: work.of_blocks]]
        given += [tensor for block in step.sums_given for tensor in sums.pop(block)[: work.of_sums]]
        arriving = {block: work.room(block) for block in step.taken}
        added = {block: work.zeros(block)[: work.of_sums] for block in step.sums_taken}
        taken = [tensor for block in arriving.values() for tensor in block]
        taken += [tensor for block in added.values() for tensor in block]
        pending = link.shift(given, taken) if given or taken else None
        if step.pair is not None:
            # Sums that do not return are of blocks that bring keys alone: they get none.
            for block in step.pair if work.of_sums else ():
                if block not in sums:
                    sums[block] = work.zeros(block)
            work.pair(*step.pair, here, sums)
        if pending is not None:
            pending.wait()
        here |= arriving
        for block, others in added.items():
            if block in sums:
                work.merge(sums[block], others)
            else:
                sums[block] = others
        for block in step.dropped:
            del here[block]
    return {block: sums[block] for block in home}

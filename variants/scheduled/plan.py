"""What each worker does: the operations and sends of a schedule, on blocks of rows.

A vector of the schedule is a block of rows. Where its score is, a pair of blocks is weighed as
well, so that a worker holds no scores: the values go along with the keys. Sums of a block that
travels start at zero wherever it is worked on; they follow it, one hop in the cycle after the last
work on it there, add up on the way and go on round the ring to the block's owner.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.schedule import Schedule

VECTORS = ("k", "x", "q")


@dataclass
class Step:
    """One cycle of one worker: a pair (query block, key block), blocks and sums sent and received.

    dropped: blocks that are not needed here any longer.
    """

    pair: tuple[int, int] | None = None
    given: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    sums_given: list[int] = field(default_factory=list)
    sums_taken: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)


def steps(schedule: Schedule, *, sums: bool) -> list[list[Step]]:
    """The steps of every worker; sums: whether those of blocks that travelled return."""
    m, owner = schedule.elements, schedule.owner
    pairs = _pairs(schedule)
    hops = _hops(schedule)
    sum_hops = _sum_hops(schedule, pairs) if sums else []
    cycles = max([schedule.cycles, *(cycle + 1 for cycle, _, _ in sum_hops)])
    found = [[Step() for _ in range(cycles)] for _ in range(m)]
    for (cycle, worker), pair in pairs.items():
        found[worker][cycle].pair = pair
    for (worker, block), cycle in hops.items():
        found[worker][cycle].given.append(block)
        found[(worker + 1) % m][cycle].taken.append(block)
    for cycle, worker, block in sum_hops:
        found[worker][cycle].sums_given.append(block)
        found[(worker + 1) % m][cycle].sums_taken.append(block)
    for worker, own in enumerate(found):
        _drop(own, {block for block, home in enumerate(owner) if home == worker})
    # Empty cycles at the end of the phase of scores: nothing happens in them.
    return [[step for step in own if step != Step()] for own in found]


def travelling(schedule: Schedule) -> int:
    """How many times a block is sent from one worker to the next."""
    return len(_hops(schedule))


def _pairs(schedule: Schedule) -> dict[tuple[int, int], tuple[int, int]]:
    """By cycle and worker, the pair whose score is computed."""
    return {
        (cycle, worker): (operation.i, operation.j)
        for cycle, row in enumerate(schedule.operations)
        for worker, operation in enumerate(row)
        if operation is not None and operation.kind == "score"
    }


def _hops(schedule: Schedule) -> dict[tuple[int, int], int]:
    """By worker and block, the cycle in which it is sent on, with all that belongs to it."""
    found: dict[tuple[int, int], int] = {}
    last = max(cycle for cycle, _ in _pairs(schedule))
    for cycle, row in enumerate(schedule.sends[: last + 1]):
        for worker, items in enumerate(row):
            for item in items:
                if item.kind in VECTORS:
                    found.setdefault((worker, item.i), cycle)
    return found


def _sum_hops(
    schedule: Schedule, pairs: Mapping[tuple[int, int], tuple[int, int]]
) -> list[tuple[int, int, int]]:
    """(cycle, worker, block) of every hop of a block's sums on the way to its owner."""
    m, owner = schedule.elements, schedule.owner
    latest: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for (cycle, worker), pair in sorted(pairs.items()):
        for block in pair:
            distance = (worker - owner[block]) % m
            if distance:
                latest[block][distance] = cycle
    found = []
    for block, worked in latest.items():
        come = 0
        for distance in range(min(worked), m):
            at = max(come, worked.get(distance, -1) + 1)
            found.append((at, (owner[block] + distance) % m, block))
            come = at + 1
    return found


def _drop(own: list[Step], home: set[int]) -> None:
    """Say in each step which blocks have had their last use."""
    last: dict[int, int] = {}
    for cycle, step in enumerate(own):
        for block in [*(step.pair or ()), *step.given, *step.taken]:
            last[block] = cycle
    for block, cycle in last.items():
        if block not in home:
            own[cycle].dropped.append(block)

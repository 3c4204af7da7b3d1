"""A mask as steps of a running sum: which keys enter before which query rows are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from harness import Mask


class Step(NamedTuple):
    """Some query rows. First the sum is emptied if `fresh`, then `entering` keys are added.

    Keys of `near` are seen by some of the rows only: their scores are made one by one.
    """

    rows: slice
    fresh: bool
    entering: slice
    near: slice


def unpadded(mask: Mask) -> Mask:
    """The mask without its padding, for one sequence; it ends where the longest one does."""
    return mask.altered(start=mask.start[:1], stop=mask.stop.amax(0, keepdim=True))


def steps(mask: Mask, chunk: int) -> tuple[Step, ...]:
    """Steps of a mask of one sequence without a window: later rows see no fewer keys.

    Rows that see the same keys are one step, others are cut into chunks. All keys of a run of fewer
    rows or keys than a chunk are near: a power of a score that is small by chance is lost among the
    many terms of its features where few others are beside it, and so few scores cost no more.
    """
    start, stop = mask.start[0].cpu(), mask.stop[0].cpu()
    found = []
    for rows in _runs(start):
        entered = int(start[rows.start])
        few = min(rows.stop - rows.start, int(stop[rows.stop - 1]) - entered) < chunk
        size = chunk if int(stop[rows.start]) < int(stop[rows.stop - 1]) else rows.stop - rows.start
        for at in range(rows.start, rows.stop, size):
            part = slice(at, min(at + size, rows.stop))
            low, high = int(stop[part.start]), int(stop[part.stop - 1])
            low = entered if few else low
            found.append(Step(part, at == rows.start, slice(entered, low), slice(low, high)))
            entered = low
    return tuple(found)


def width(part: slice) -> int:
    """Rows or keys in a slice that has both ends."""
    return int(part.stop - part.start)


def _runs(start: torch.Tensor) -> Iterator[slice]:
    """Rows whose keys begin at the same one, as those of a packed sequence."""
    at = 0
    for count in torch.unique_consecutive(start, return_counts=True)[1].tolist():
        yield slice(at, at + count)
        at += count

"""Rows of cycles out of lists by element."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from harness.schedule.model import Item, Operation


def transposed(
    work: Sequence[Sequence[Operation | None]],
) -> tuple[tuple[Operation | None, ...], ...]:
    """What each element does one after another, as rows of one cycle; the short ones wait."""
    return tuple(zip_longest(*work))


def sends_table(
    sent: Iterable[tuple[int, int, Item]], cycles: int, elements: int
) -> tuple[tuple[tuple[Item, ...], ...], ...]:
    """What is sent, as (cycle, element, item), as rows of one cycle."""
    rows: list[list[list[Item]]] = [[[] for _ in range(elements)] for _ in range(cycles)]
    for cycle, element, item in sent:
        rows[cycle][element].append(item)
    return tuple(tuple(tuple(items) for items in row) for row in rows)

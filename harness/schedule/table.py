"""Rows of cycles out of lists by element."""

from __future__ import annotations

from collections import defaultdict
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
    found: defaultdict[int, defaultdict[int, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for cycle, element, item in sent:
        found[cycle][element].append(item)
    nothing: tuple[tuple[Item, ...], ...] = ((),) * elements
    rows = [nothing] * cycles
    for cycle, by_element in found.items():
        rows[cycle] = tuple(tuple(by_element.get(p, ())) for p in range(elements))
    return tuple(rows)

"""Schedules in which queries stay and keys, then values, go round the whole ring.

In step s element p works on the vectors of element p - s modulo m. Of b = n / m vectors each:

    ring        every pair                              n^2 / m a phase, utilisation 1
    contiguous  causal, element p has block p           b (b + 1) / 2 + (m - 1) b^2 a phase
    striped     causal, p has p, p + m, p + 2 m, ...    n (b + 1) / 2 a phase
    zigzag      causal, p has parts p and 2 m - 1 - p   n (n + 1) / 2 m a phase, utilisation 1

The scores need b registers; where values follow they wait through the first phase and take b more.
"""

from __future__ import annotations

from typing import Literal

from harness.schedule.model import (
    Item,
    Operation,
    Schedule,
    Scheme,
    blocks,
    stripes,
    vector,
    zigzags,
)
from harness.schedule.route import Sent, vector_journeys, with_sends
from harness.schedule.sizes import check_sizes
from harness.schedule.table import transposed

Work = list[Operation | None]
_KEYS: tuple[Literal["k", "v"], ...] = ("k", "v")


def ring(n: int, m: int, *, scores: bool = False) -> Schedule:
    """General attention, keys and then values round the ring: 2 n^2 / m cycles.

    scores: the first phase alone. ScheduleError: m does not divide n.
    """
    check_sizes(n, m)
    return _rotated("ring", "general", blocks(n, m), m, scores=scores)


def contiguous(n: int, m: int, *, scores: bool = False) -> Schedule:
    """Causal attention of consecutive blocks: 2 (b (b + 1) / 2 + (m - 1) b^2) cycles.

    The last element has work in every step, the first in one. scores: the first phase alone.
    ScheduleError: m does not divide n.
    """
    check_sizes(n, m)
    return _rotated("contiguous", "causal", blocks(n, m), m, scores=scores)


def striped(n: int, m: int, *, scores: bool = False) -> Schedule:
    """Causal attention of every m-th vector: n (b + 1) cycles.

    scores: the first phase alone. ScheduleError: m does not divide n.
    """
    check_sizes(n, m)
    return _rotated("striped", "causal", stripes(n, m), m, scores=scores)


def zigzag(n: int, m: int, *, scores: bool = False) -> Schedule:
    """Causal attention of an early and a late part each: n (n + 1) / m cycles, utilisation 1.

    scores: the first phase alone. ScheduleError: 2 m does not divide n.
    """
    check_sizes(n, m, parts=2)
    stops = [
        stop
        for phase, kind in enumerate(_KEYS[:1] if scores else _KEYS)
        for stop in _zigzag_stops(kind, phase * (n * (n + 1) // (2 * m)), n, m)
    ]
    return _rotated("zigzag", "causal", zigzags(n, m), m, scores=scores, stops=stops)


def rotation(
    kind: Literal["score", "weigh"],
    owner: tuple[int, ...],
    m: int,
    *,
    causal: bool = False,
    packed: bool = False,
) -> list[Work]:
    """The work of each element while all vectors go once round the ring.

    packed: an element goes on to the next vector of a step at once; else all elements do so
    together, so that what arrives early does not wait in a register.
    """
    owned = [[i for i, home in enumerate(owner) if home == p] for p in range(m)]
    done: list[Work] = [[] for _ in range(m)]
    for step in range(m):
        groups = [
            [
                [Operation(kind, a, k) for a in owned[p] if not causal or k <= a]
                for k in owned[(p - step) % m]
            ]
            for p in range(m)
        ]
        for work, found in zip(done, _aligned(groups, packed=packed), strict=True):
            work.extend(found)
    return done


def _zigzag_stops(kind: Literal["k", "v"], begin: int, n: int, m: int) -> Sent:
    """Cycles by which late vectors come to elements where they are in the future of all.

    They come between the early ones: did they stay behind with their owner until they are used
    again, they would take its registers beside the vectors that come by.
    """
    half = n // (2 * m)
    stops: list[tuple[int, int, Item]] = []
    for p in range(m):
        for step in range(1, p + 1):
            start = begin + half * (2 * half + 1) + (step - 1) * 2 * half * half
            first = (2 * m - 1 - (p - step)) * half
            stops += [
                (start + (2 * place + 1) * half, p, vector(kind, first + place))
                for place in range(half)
            ]
    return stops


def _aligned(groups: list[list[list[Operation]]], *, packed: bool) -> list[Work]:
    """Each element's groups one after another, with waits so that all steps end together."""
    if packed:
        groups = [[[one for group in own for one in group]] for own in groups]
    slots = [max(len(group) for group in at) for at in zip(*groups, strict=True)]
    work: list[Work] = []
    for own in groups:
        row: Work = []
        for group, slot in zip(own, slots, strict=True):
            row.extend(group)
            row.extend([None] * (slot - len(group)))
        work.append(row)
    return work


def _rotated(
    name: str, scheme: Scheme, owner: tuple[int, ...], m: int, *, scores: bool, stops: Sent = ()
) -> Schedule:
    # In a step of zigzag some elements use the early vectors alone and others all, with as many
    # pairs: a wait for each other at every vector would make the step longer.
    how = {"causal": scheme == "causal", "packed": name == "zigzag"}
    done = rotation("score", owner, m, **how)
    if not scores:
        for work, more in zip(done, rotation("weigh", owner, m, **how), strict=True):
            work.extend(more)
    bare = Schedule(name, scheme, owner, m, transposed(done), (), complete=not scores)
    return with_sends(bare, vector_journeys(bare, stops=stops))

"""Schedules in which a vector goes half round the ring: each unordered pair meets once.

Element p meets the vectors of the elements 0 .. floor(m / 2) before it. For even m two elements
meet at the last distance; of a pair of places (a, k) in their blocks one takes those of even a + k,
the other the rest. One vector goes the whole way before the next one starts, so that an element
holds hardly more than its own. b = n / m.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.schedule.model import Operation, Schedule, Scheme, blocks
from harness.schedule.rotation import Work, rotation
from harness.schedule.route import (
    partial_journeys,
    score_journeys,
    vector_journeys,
    with_sends,
)
from harness.schedule.sizes import check_sizes
from harness.schedule.table import transposed


def half_ring(n: int, m: int, *, scores: bool = False) -> Schedule:
    """Symmetric attention, scores in half a ring and then weights in a whole one.

    ceil(n (n + 1) / 2 m) + n^2 / m cycles with at most b + 2 registers. A score that its other
    owner needs goes on round the ring as a score. scores: the first phase alone, which takes
    ceil(n (n + 1) / 2 m). ScheduleError: m does not divide n.
    """
    check_sizes(n, m)
    owner = blocks(n, m)
    done = [_scores(p, n, m, _home_first) for p in range(m)]
    barrier = max(len(work) for work in done)
    if not scores:
        for work, more in zip(done, rotation("weigh", owner, m), strict=True):
            work.extend([None] * (barrier - len(work)))
            work.extend(more)
    bare = Schedule("half_ring", "symmetric", owner, m, transposed(done), (), complete=not scores)
    # A vector that has come for its scores does not wait for the weights: it comes once more.
    first, second = vector_journeys(bare, end=barrier), vector_journeys(bare, begin=barrier)
    return with_sends(bare, [*first, *second, *score_journeys(bare)])


def half_fused(n: int, m: int) -> Schedule:
    """Symmetric attention in half a ring: x_k travels with the sum of its own output.

    Each pair is scored once and weighed twice where it meets, into the sum at home and into the one
    that travels, which goes on to its owner and is merged there. Cycles: ceil((n (n + 1) / 2 + n^2)
    / m), b merges and at most 6 more. ScheduleError: m does not divide n.
    """
    check_sizes(n, m)
    return _fused("half_fused", "symmetric", n, m, _symmetric_meeting)


def causal_half(n: int, m: int, *, scores: bool = False) -> Schedule:
    """Causal attention in half a ring: each unordered pair is one causal pair.

    The later vector of a pair is the query; where it is the one that travels, its sum does as well
    and is merged by its owner. Cycles: n (n + 1) / m, b merges and at most 5 more.
    scores: the scores alone, in ceil(n (n + 1) / 2 m). ScheduleError: m does not divide n.
    """
    check_sizes(n, m)
    if scores:
        owner = blocks(n, m)
        operations = transposed([_scores(p, n, m, _later_first) for p in range(m)])
        bare = Schedule("causal_half", "causal", owner, m, operations, (), complete=False)
        return with_sends(bare, vector_journeys(bare))
    return _fused("causal_half", "causal", n, m, _causal_meeting)


def _block(p: int, b: int) -> range:
    return range(p * b, (p + 1) * b)


def _homes(p: int, distance: int, place: int, b: int, m: int) -> list[int]:
    """The vectors of element p that meet the one at a place of the block at a distance before."""
    own = _block(p, b)
    if 2 * distance != m:
        return list(own)
    odd = int(p >= m // 2)
    return [a for at, a in enumerate(own) if (at + place) % 2 == odd]


def _meetings(p: int, b: int, m: int) -> list[tuple[int, list[int]]]:
    """The vectors that come by, each with the own ones that it meets, in order."""
    return [
        ((p - distance) % m * b + place, _homes(p, distance, place, b, m))
        for place in range(b)
        for distance in range(1, m // 2 + 1)
    ]


def _later_first(a: int, k: int) -> tuple[int, int]:
    return max(a, k), min(a, k)


def _home_first(a: int, k: int) -> tuple[int, int]:
    return a, k


def _scores(p: int, n: int, m: int, pair: Callable[[int, int], tuple[int, int]]) -> Work:
    own = _block(p, n // m)
    done: Work = [Operation("score", a, k) for k in own for a in own if a >= k]
    for k, homes in _meetings(p, n // m, m):
        done.extend(Operation("score", *pair(a, k)) for a in homes)
    return done


def _symmetric_meeting(homes: list[int], k: int) -> Work:
    done: Work = []
    for a in homes:
        done += [Operation("score", a, k), Operation("weigh", a, k)]
    # Last, so that the sum may come well after its vector.
    return [*done, *(Operation("weigh", k, a) for a in homes)]


def _causal_meeting(homes: list[int], k: int) -> Work:
    pairs = [_later_first(a, k) for a in homes]
    return [Operation(kind, *pair) for kind in ("score", "weigh") for pair in pairs]


def _fused(
    name: str, scheme: Scheme, n: int, m: int, meeting: Callable[[list[int], int], Work]
) -> Schedule:
    b, owner = n // m, blocks(n, m)
    done: list[Work] = []
    for p in range(m):
        own = _block(p, b)
        work: Work = [Operation("score", a, k) for k in own for a in own if a >= k]
        work += [
            Operation("weigh", a, k) for k in own for a in own if scheme == "symmetric" or a >= k
        ]
        for k, homes in _meetings(p, b, m):
            work += meeting(homes, k)
        done.append(work)
    _merge(done, owner, m)
    bare = Schedule(name, scheme, owner, m, transposed(done), ())
    return with_sends(bare, [*vector_journeys(bare), *partial_journeys(bare)])


def _merge(done: list[Work], owner: tuple[int, ...], m: int) -> None:
    """Have each owner merge its sums, in order, each as soon as it can have come."""
    arrival: dict[int, int] = {}
    for p, work in enumerate(done):
        for cycle, operation in enumerate(work):
            if operation and operation.kind == "weigh" and owner[operation.i] != p:
                come = cycle + 1 + (owner[operation.i] - p) % m
                arrival[operation.i] = max(come, arrival.get(operation.i, 0))
    # Sums that come while there are products to compute wait until the end, and fill the cycles in
    # which the last one is under way.
    for i in sorted(arrival):
        work = done[owner[i]]
        work.extend([None] * (arrival[i] - len(work)))
        work.append(Operation("merge", i, i))

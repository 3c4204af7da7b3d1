"""How few cycles there can be, by counting operations."""

from __future__ import annotations

from collections import Counter

from harness.schedule.model import Scheme
from harness.schedule.problem import Problem


def operations(scheme: Scheme, n: int, complete: bool = True) -> int:
    """How many operations n vectors need; the scores alone unless complete.

    general: n^2 scores, n^2 weighted sums; symmetric: n (n + 1) / 2 and n^2; causal: n (n + 1) / 2
    and as many. Merging of partial sums is extra, and never needed.
    """
    triangle = n * (n + 1) // 2
    scores = n * n if scheme == "general" else triangle
    weighed = triangle if scheme == "causal" else n * n
    return scores + weighed * complete


def counting_bound(scheme: Scheme, n: int, m: int, complete: bool = True) -> int:
    """ceil(operations / m): an element does one operation a cycle."""
    return -(-operations(scheme, n, complete) // m)


def bound(problem: Problem) -> int:
    """No schedule of the problem is shorter.

    max(ceil(operations / m), the most operations that one element alone may do).
    """
    places = [problem.places(operation) for operation in problem.operations]
    alone = Counter(place[0] for place in places if len(place) == 1)
    shared = counting_bound(problem.scheme, problem.vectors, problem.elements, problem.complete)
    return max(shared, *alone.values(), 0)


def least_registers(problem: Problem) -> int:
    """No element needs fewer: it holds its own vectors that move at the start."""
    return len(problem.moves) * max(Counter(problem.owner).values())

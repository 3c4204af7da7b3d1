from __future__ import annotations

import pytest

from harness.errors import ScheduleError
from harness.schedule.bounds import bound, counting_bound, least_registers, operations
from harness.schedule.generate import GENERATORS
from harness.schedule.problem import PROBLEMS, balanced, problem_named

SIZES = [(n, m) for m in range(1, 7) for n in range(m, 25, m)]


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize(("n", "m"), SIZES)
def test_the_operations_of_a_problem_are_counted_right(name: str, n: int, m: int) -> None:
    problem = problem_named(name, n, m)
    listed = problem.operations
    assert len(set(listed)) == len(listed)
    assert len(listed) == operations(problem.scheme, n, problem.complete)
    assert bound(problem) >= counting_bound(problem.scheme, n, m, problem.complete)


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_no_generated_schedule_beats_the_bound(n: int, m: int) -> None:
    for name, make in GENERATORS.items():
        if name != "zigzag" or n % (2 * m) == 0:
            schedule = make(n, m)
            assert schedule.cycles >= counting_bound(schedule.scheme, n, m)


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_balanced_rows_are_as_many_for_each_element_and_nearly_as_long(n: int, m: int) -> None:
    owner = balanced(n, m)
    pairs = [sum(i + 1 for i in range(n) if owner[i] == p) for p in range(m)]
    assert {owner.count(p) for p in range(m)} == {n // m}
    if n > m:
        assert max(pairs) - min(pairs) <= m


def test_the_least_registers_hold_the_own_vectors() -> None:
    assert least_registers(problem_named("general", 8, 2)) == 4
    assert least_registers(problem_named("causal_moving", 8, 2)) == 8


@pytest.mark.parametrize(
    ("name", "n", "m", "text"),
    [
        ("symetric_total", 4, 2, "unknown problem 'symetric_total'; did you mean symmetric_total?"),
        ("general", 6, 4, "vectors=6, elements=4; use 1, 2, 3, 6"),
        ("general", 0, 4, "vectors=0, elements=4; use vectors above 0"),
    ],
)
def test_a_problem_that_is_none_says_what_to_write(name: str, n: int, m: int, text: str) -> None:
    with pytest.raises(ScheduleError) as error:
        problem_named(name, n, m)
    assert text in str(error.value)

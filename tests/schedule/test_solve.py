"""The solver's limits, what it proves, and what it says; the optima are in test_optima.py."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from harness.errors import ScheduleError
from harness.schedule.formula import Formula, Satisfier
from harness.schedule.problem import PROBLEMS, problem_named
from harness.schedule.simulate import simulate
from harness.schedule.solution import check
from harness.schedule.solve import fewest_registers, solve

FAR = 1e18
"""A time that does not come."""


def test_without_python_sat_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pysat", "pysat.card", "pysat.solvers"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ScheduleError) as error:
        solve(problem_named("general", 4, 2))
    assert "solving needs python-sat" in str(error.value)
    assert "pip install -c constraints.txt '.[schedules]'" in str(error.value)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_time_limit_is_above_zero(limit: float) -> None:
    with pytest.raises(ScheduleError, match="time limit must be above 0 s"):
        solve(problem_named("general", 4, 2), time_limit_s=limit)


def test_what_is_too_large_is_refused_before_it_is_built() -> None:
    with pytest.raises(ScheduleError, match="symmetric_total is too large to solve for"):
        solve(problem_named("symmetric_total", 64, 8))


solver = pytest.importorskip("pysat", reason="python-sat is not installed")


@pytest.mark.parametrize("most", [0, 1, 2, 4])
def test_a_counter_lets_as_many_be_true_as_it_says(most: int) -> None:
    for forced in range(5):
        formula = Formula()
        literals = [formula.new() for _ in range(4)]
        formula.at_most(literals, most)
        for literal in literals[:forced]:
            formula.add(literal)
        satisfier = Satisfier(formula)
        assert satisfier.decide(FAR) is (min(forced, 4) <= most)
        satisfier.close()


@pytest.mark.parametrize("name", PROBLEMS)
def test_one_element_does_one_operation_after_another(name: str) -> None:
    problem = problem_named(name, 3, 1)
    found = solve(problem)
    assert found.cycles == len(problem.operations)
    assert found.optimal
    assert not any(items for row in found.schedule.sends for items in row)


def test_the_fewest_registers_are_declared_held_and_proved() -> None:
    problem = problem_named("symmetric_scores", 4, 2)
    first = solve(problem)
    few = fewest_registers(problem, first)
    assert (few.cycles, few.registers, few.fewest) == (5, 2, True)
    assert (few.optimal, few.proof, few.bound) == (True, "counting bound", 5)
    assert few.schedule.registers == simulate(few.schedule).registers == 2
    assert few.seconds >= first.seconds


def test_progress_names_each_number_that_is_tried() -> None:
    told: list[str] = []
    found = solve(problem_named("symmetric_returned", 4, 4), progress=told.append)
    assert told == ["3 cycles?", "4 cycles?", "5 cycles?", "6 cycles?"]
    assert (found.proof, found.bound, found.cycles) == ("unsatisfiable", 6, 6)
    assert found.bound > 3


def test_when_time_is_up_the_best_so_far_is_returned_and_not_called_optimal() -> None:
    found = solve(problem_named("symmetric_returned", 8, 4), time_limit_s=5.0)
    assert not found.optimal
    assert found.proof is None
    assert 9 <= found.bound < found.cycles
    assert found.seconds < 30.0
    assert check(problem_named("symmetric_returned", 8, 4), found.schedule)


def test_when_nothing_was_found_in_time_it_says_so() -> None:
    with pytest.raises(ScheduleError) as error:
        solve(problem_named("symmetric_total", 8, 4), time_limit_s=0.001)
    assert "no schedule of symmetric_total was found in 0.001 s" in str(error.value)
    assert "none has fewer than 25 cycles" in str(error.value)


def test_a_schedule_that_leaves_a_score_away_from_an_owner_is_refused() -> None:
    problem = problem_named("symmetric_returned", 2, 2)
    schedule = solve(problem).schedule
    check(problem, schedule)
    silent = tuple(
        tuple(tuple(item for item in items if item.kind != "score") for items in row)
        for row in schedule.sends
    )
    with pytest.raises(ScheduleError) as error:
        check(problem, replace(schedule, sends=silent))
    assert r"s(0,1) is not there at the end; send it to the owners of 0 and of 1" in str(
        error.value
    )

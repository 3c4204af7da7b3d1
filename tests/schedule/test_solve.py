"""What the solver proves and says; its optima are in test_optima.py."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import pytest

import harness.schedule.encode as encoding
import harness.schedule.solve as solving
from harness.errors import ScheduleError
from harness.schedule.bounds import bound
from harness.schedule.encode import Encoding, encode
from harness.schedule.formula import Formula, Satisfier
from harness.schedule.problem import PROBLEMS, Problem, problem_named
from harness.schedule.simulate import simulate
from harness.schedule.solution import check
from harness.schedule.solve import fewest_registers, solve

FAR = 1e18
"""A time that does not come."""


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


def undecided_below(cycles: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A solver whose time is always up when it is asked for fewer cycles."""
    decide = solving._decide

    def slow(
        problem: Problem, asked: int, registers: int | None, until: float
    ) -> tuple[Encoding, bool | None, frozenset[int]]:
        made, answer, model = decide(problem, asked, registers, until)
        return (made, None, frozenset()) if asked < cycles else (made, answer, model)

    monkeypatch.setattr(solving, "_decide", slow)


def test_when_time_is_up_the_best_so_far_is_not_called_optimal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    undecided_below(8, monkeypatch)
    told: list[str] = []
    problem = problem_named("symmetric_scores", 4, 2)
    found = solve(problem, progress=told.append)
    # Past the one that is put off in larger steps, then back down.
    assert told == ["5 cycles?", "6 cycles?", "8 cycles?", "7 cycles?"]
    assert (found.cycles, found.bound, found.optimal, found.proof) == (8, 5, False, None)
    assert check(problem, found.schedule).cycles == 8


def test_when_nothing_was_found_in_time_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    undecided_below(10**9, monkeypatch)
    with pytest.raises(ScheduleError) as error:
        solve(problem_named("symmetric_scores", 4, 2), time_limit_s=0.01)
    assert "no schedule of symmetric_scores was found in 0.01 s" in str(error.value)
    assert "none has fewer than 5 cycles" in str(error.value)


def test_the_clock_is_looked_at_while_a_formula_is_undecided() -> None:
    """12 pigeons in 11 holes: no solver of clauses refutes it in this time."""
    formula = Formula()
    holes = [[formula.new() for _ in range(11)] for _ in range(12)]
    for choices in holes:
        formula.add(*choices)
    for one, other in itertools.combinations(range(12), 2):
        for hole in range(11):
            formula.add(-holes[one][hole], -holes[other][hole])
    began = time.monotonic()
    satisfier = Satisfier(formula)
    assert satisfier.decide(began + 0.5) is None
    satisfier.close()
    assert time.monotonic() - began < 10.0


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("registers", [None, 2])
def test_clauses_that_are_added_for_speed_change_no_answer(
    name: str, registers: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = 0
    for n, m in ((2, 2), (3, 3), (4, 2)):
        problem = problem_named(name, n, m)
        for cycles in range(bound(problem) - 1, bound(problem) + 2):
            answers = [_answer(encode(problem, cycles, registers))]
            with monkeypatch.context() as patch:
                patch.setattr(encoding, "add_implied", lambda made: None)
                answers.append(_answer(encode(problem, cycles, registers)))
            assert set(answers) != {True, False}, (n, m, cycles)
            told += len(set(answers)) == 1
    assert told > 3


def _answer(made: Encoding) -> bool | None:
    satisfier = Satisfier(made.formula)
    try:
        # One cycle less than the bound is a pigeonhole, which may take for ever.
        return satisfier.decide(time.monotonic() + 0.1)
    finally:
        satisfier.close()


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

"""What is not solved for, and what is said of it: no solver is needed to tell."""

from __future__ import annotations

import sys
import time

import pytest

from harness.errors import ScheduleError
from harness.schedule.problem import PROBLEMS, Problem, problem_named
from harness.schedule.solve import solve


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


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_is_absurd_is_refused_at_once(name: str) -> None:
    began = time.process_time()
    with pytest.raises(ScheduleError, match="too large to solve for: vectors=4096, elements=2 "):
        solve(problem_named(name, 4096, 2))
    # To list its operations alone takes minutes.
    assert time.process_time() - began < 10.0


@pytest.mark.parametrize("given", [{"complete": True}, {"returned": True}])
@pytest.mark.parametrize("scheme", ["general", "causal"])
def test_scores_travel_in_symmetric_problems_alone(scheme: str, given: dict[str, bool]) -> None:
    with pytest.raises(ScheduleError, match="scores travel in symmetric problems alone"):
        Problem("mine", scheme, (0, 1), 2, ("k",), **given)  # type: ignore[arg-type]

"""The table of optima: replayed from schedules that were found, and solved for again.

ATTNBENCH_SOLVE=all solves the slow cell too, which takes minutes; ATTNBENCH_SOLVE=save then looks
for few registers, minutes more, and writes what it finds to optima/.
"""

from __future__ import annotations

import os

import pytest

from harness.schedule.bounds import bound
from harness.schedule.solution import check
from harness.schedule.solve import fewest_registers, solve
from harness.schedule.storing import from_json, to_json
from tests.schedule.cells import CELLS, OPTIMA, Cell

MODE = os.environ.get("ATTNBENCH_SOLVE", "")
SLOW_S = 300.0
cells = pytest.mark.parametrize("cell", CELLS, ids=str)


@cells
def test_a_stored_schedule_takes_the_cycles_of_the_table(cell: Cell) -> None:
    schedule = from_json(cell.path.read_text(encoding="utf-8"))
    problem = cell.problem
    figures = check(problem, schedule)
    assert figures.cycles == cell.cycles
    assert schedule.owner == problem.owner
    assert (schedule.scheme, schedule.complete) == (problem.scheme, problem.complete)
    assert figures.vector_links <= 1
    assert figures.score_links <= 1
    assert schedule.registers is not None
    assert figures.registers <= schedule.registers


def test_no_other_schedule_is_stored() -> None:
    assert {path.name for path in OPTIMA.iterdir()} == {cell.path.name for cell in CELLS}


@cells
def test_the_table_is_the_counting_bound_but_where_scores_go_home(cell: Cell) -> None:
    if cell.refuted:
        assert bound(cell.problem) < cell.cycles
    else:
        assert bound(cell.problem) == cell.cycles


@cells
def test_the_solver_finds_the_optimum(cell: Cell) -> None:
    pytest.importorskip("pysat", reason="python-sat is not installed")
    if not MODE and cell.slow:
        pytest.skip("takes a minute or two; ATTNBENCH_SOLVE=all solves it")
    found = solve(cell.problem, time_limit_s=SLOW_S)
    assert found.cycles == found.schedule.cycles == cell.cycles
    assert found.variables > 0
    assert found.clauses > 0
    assert found.optimal
    assert found.bound == cell.cycles
    assert found.proof == ("unsatisfiable" if cell.refuted else "counting bound")
    if MODE == "save":
        few = fewest_registers(cell.problem, found, time_limit_s=SLOW_S)
        cell.path.write_text(to_json(few.schedule) + "\n", encoding="utf-8")

"""A problem in a number of cycles as a formula: true where such a schedule is.

Variables: an operation at an element in a cycle; an item (vector or score) held by an element when
a cycle starts; an item that an element sends in a cycle. A variable that distance alone makes false
is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.schedule.formula import Formula
from harness.schedule.implied import Spot, add_implied, by_slot, causes
from harness.schedule.model import Item, Operation
from harness.schedule.problem import Problem

Place = tuple[Operation, int, int]


@dataclass
class Encoding:
    """A formula, and what its variables mean: (operation or item, element, cycle)."""

    problem: Problem
    cycles: int
    registers: int | None
    formula: Formula = field(default_factory=Formula)
    done: dict[Place, int] = field(default_factory=dict)
    held: dict[Spot, int] = field(default_factory=dict)
    sent: dict[Spot, int] = field(default_factory=dict)


def encode(problem: Problem, cycles: int, registers: int | None = None) -> Encoding:
    """The formula of a schedule of so many cycles, with so many registers an element."""
    made = Encoding(problem, cycles, registers)
    _name_operations(made)
    _name_items(made)
    _do_each_once(made)
    _read_what_is_held(made)
    _hold_what_came(made)
    _send_what_is_held(made)
    _return_scores(made)
    _limit(made)
    add_implied(made)
    return made


def score_item(operation: Operation) -> Item:
    """The score that an operation makes, or reads."""
    i, j = operation.i, operation.j
    return Item("score", min(i, j), max(i, j))


def _name_operations(made: Encoding) -> None:
    for operation in made.problem.operations:
        for element in made.problem.places(operation):
            for cycle in range(made.cycles):
                made.done[operation, element, cycle] = made.formula.new()


def _name_items(made: Encoding) -> None:
    problem, m = made.problem, made.problem.elements
    for item in problem.items:
        for element in range(m):
            away = (element - problem.owner[item.i]) % m
            _name_spots(made, item, element, range(away, made.cycles))
    if problem.scores_move:
        for score in problem.scores:
            for element in range(m):
                _name_spots(made, score_item(score), element, range(1, made.cycles + 1))


def _name_spots(made: Encoding, item: Item, element: int, cycles: range) -> None:
    for cycle in cycles:
        made.held[item, element, cycle] = made.formula.new()
        if cycle < made.cycles and made.problem.elements > 1:
            made.sent[item, element, cycle] = made.formula.new()


def _do_each_once(made: Encoding) -> None:
    by_operation: dict[Operation, list[int]] = {}
    for (operation, _, _), variable in made.done.items():
        by_operation.setdefault(operation, []).append(variable)
    for choices in by_operation.values():
        made.formula.add(*choices)
        made.formula.at_most(choices, 1)
    for choices in by_slot(made.done):
        made.formula.at_most(choices, 1)


def _read_what_is_held(made: Encoding) -> None:
    for (operation, element, cycle), variable in made.done.items():
        for item in made.problem.operands(operation):
            _imply(made, variable, (item, element, cycle))
        if operation.kind == "weigh":
            _imply(made, variable, (score_item(operation), element, cycle))


def _imply(made: Encoding, variable: int, spot: Spot) -> None:
    held = made.held.get(spot)
    made.formula.add(-variable, *([] if held is None else [held]))


def _hold_what_came(made: Encoding) -> None:
    for spot, variable in made.held.items():
        if spot[2] == 0:
            made.formula.add(variable)
        else:
            made.formula.add(-variable, *causes(made, spot))


def _send_what_is_held(made: Encoding) -> None:
    for spot, variable in made.sent.items():
        made.formula.add(-variable, made.held[spot])


def _return_scores(made: Encoding) -> None:
    for score in made.problem.scores:
        for element in made.problem.needed_at(score):
            made.formula.add(made.held[score_item(score), element, made.cycles])


def _limit(made: Encoding) -> None:
    problem = made.problem
    vectors = {spot: at for spot, at in made.sent.items() if spot[0].kind != "score"}
    scores = {spot: at for spot, at in made.sent.items() if spot[0].kind == "score"}
    held = {spot: at for spot, at in made.held.items() if spot[0].kind != "score"}
    for limit, spots in (
        (problem.vector_links, vectors),
        (problem.score_links, scores),
        (made.registers, held),
    ):
        if limit is not None:
            for choices in by_slot(spots):
                made.formula.at_most(choices, limit)

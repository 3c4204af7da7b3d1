"""From a model of a formula to the schedule that it describes, without what nobody needs."""

from __future__ import annotations

from harness.schedule.encode import Encoding, score_item
from harness.schedule.implied import Spot
from harness.schedule.model import Item, Operation, Schedule

Operations = tuple[tuple[Operation | None, ...], ...]
Sends = tuple[tuple[tuple[Item, ...], ...], ...]


def decode(made: Encoding, model: frozenset[int]) -> Schedule:
    """The schedule of a model: its operations, and of its sends those that serve one."""
    problem = made.problem
    operations = _operations(made, model)
    return Schedule(
        name=problem.name,
        scheme=problem.scheme,
        owner=problem.owner,
        elements=problem.elements,
        operations=operations,
        sends=_sends(made, model, operations),
        registers=made.registers,
        vector_links=problem.vector_links,
        score_links=problem.score_links,
        complete=problem.complete,
    )


def _operations(made: Encoding, model: frozenset[int]) -> Operations:
    rows: list[list[Operation | None]] = [
        [None] * made.problem.elements for _ in range(made.cycles)
    ]
    for (operation, element, cycle), variable in made.done.items():
        if variable in model:
            rows[cycle][element] = operation
    return tuple(tuple(row) for row in rows)


def _sends(made: Encoding, model: frozenset[int], operations: Operations) -> Sends:
    """Backwards: what is needed where a cycle ends was held there before, made, or sent."""
    elements = made.problem.elements
    held = {spot for spot, variable in made.held.items() if variable in model}
    sent = {spot for spot, variable in made.sent.items() if variable in model}
    needed = _needed_at_the_end(made)
    rows: list[tuple[tuple[Item, ...], ...]] = []
    for cycle in reversed(range(made.cycles)):
        here, sending = _step(needed, cycle, operations[cycle], held, sent)
        for element, operation in enumerate(operations[cycle]):
            if operation is not None:
                here[element].update(_read(made, operation))
        needed = here
        rows.append(tuple(tuple(sorted(sending[element])) for element in range(elements)))
    return tuple(reversed(rows))


def _needed_at_the_end(made: Encoding) -> list[set[Item]]:
    needed: list[set[Item]] = [set() for _ in range(made.problem.elements)]
    for score in made.problem.scores:
        for element in made.problem.needed_at(score):
            needed[element].add(score_item(score))
    return needed


def _step(
    needed: list[set[Item]],
    cycle: int,
    operations: tuple[Operation | None, ...],
    held: set[Spot],
    sent: set[Spot],
) -> tuple[list[set[Item]], list[set[Item]]]:
    """What is needed when the cycle starts for what is needed when it ends, and what is sent."""
    here: list[set[Item]] = [set() for _ in needed]
    sending: list[set[Item]] = [set() for _ in needed]
    for element, items in enumerate(needed):
        before = (element - 1) % len(needed)
        for item in items:
            if (item, element, cycle) in held:
                here[element].add(item)
            elif operations[element] != Operation("score", item.i, item.j) or item.kind != "score":
                assert (item, before, cycle) in sent
                sending[before].add(item)
                here[before].add(item)
    return here, sending


def _read(made: Encoding, operation: Operation) -> tuple[Item, ...]:
    scores = (score_item(operation),) if operation.kind == "weigh" else ()
    return (*made.problem.operands(operation), *scores)

"""Run a schedule cycle by cycle, refuse it where it breaks a rule, and count what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from harness.schedule.model import (
    Item,
    Operation,
    Reads,
    Schedule,
    owned_kinds,
    score_pair,
)
from harness.schedule.products import Products, refuse
from harness.schedule.registers import Held
from harness.schedule.shape import check_shape


@dataclass(frozen=True)
class Figures:
    """What a schedule takes.

    utilisation = operations / (m cycles). registers: the most vectors held by any element in any
    cycle, its own that move and partial sums included. words: sent in all; links: the most that one
    link carries in one cycle.
    """

    cycles: int
    operations: int
    utilisation: float
    registers: int
    vector_words: int
    score_words: int
    vector_links: int
    score_links: int


def simulate(schedule: Schedule) -> Figures:
    """Run a schedule and count what it takes.

    A vector is held from its arrival, from cycle 0 by its owner, until its last use or send at that
    element; the sums at their owners take no register, nor does any q where none is sent. A send
    takes what was held when the cycle began: a partial sum leaves, everything else is copied.
    ScheduleError: an operand is missing; a product is computed twice, never, or is not asked for;
    two partial sums meet or one is left; a link or a register file is full; a row is malformed.
    """
    check_shape(schedule)
    machine = _Machine(schedule)
    for cycle, (operations, sends) in enumerate(
        zip(schedule.operations, schedule.sends, strict=True)
    ):
        machine.land(cycle)
        for element, items in enumerate(sends):
            if items:
                machine.send(cycle, element, items)
        for element, operation in enumerate(operations):
            if operation is not None:
                machine.operate(cycle, element, operation)
    return machine.finish()


class _Machine:
    """What every element holds as the cycles pass."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.scheme = schedule.scheme
        self.products = Products(schedule)
        self.reads = Reads(schedule.vectors, schedule.scheme)
        moving = any(item.kind == "q" for row in schedule.sends for sent in row for item in sent)
        self.held = [Held(q_counts=moving) for _ in range(schedule.elements)]
        self.scores: list[set[tuple[int, int]]] = [set() for _ in range(schedule.elements)]
        self.flying: list[tuple[int, Item]] = []
        self.operations = self.vector_words = self.score_words = 0
        self.vector_links = self.score_links = 0
        for i, owner in enumerate(schedule.owner):
            for kind in owned_kinds(self.scheme):
                self.held[owner].arrive(Item(kind, i, i), 0)

    def land(self, cycle: int) -> None:
        """What was sent in the cycle before is held from now on."""
        for element, item in self.flying:
            if item.kind == "score":
                self.scores[element].add(score_pair(item.i, item.j, self.scheme))
            elif item.kind == "partial" and self.held[element].has(item):
                refuse(
                    element,
                    cycle,
                    f"two partial sums of vector {item.i} meet, {item} arrives where {item} is"
                    " held; send the first on, or weigh here only after the second has arrived",
                )
            else:
                self.held[element].arrive(item, cycle)
        self.flying.clear()

    def send(self, cycle: int, element: int, items: tuple[Item, ...]) -> None:
        """Put what an element sends on its link."""
        scores = sum(item.kind == "score" for item in items)
        vectors = len(items) - scores
        self._check_link(cycle, element, items, "vector", vectors, self.schedule.vector_links)
        self._check_link(cycle, element, items, "score", scores, self.schedule.score_links)
        self.vector_words += vectors
        self.score_words += scores
        self.vector_links = max(self.vector_links, vectors)
        self.score_links = max(self.score_links, scores)
        following = (element + 1) % self.schedule.elements
        for item in items:
            self._take(cycle, element, item)
            self.flying.append((following, item))

    def _check_link(
        self,
        cycle: int,
        element: int,
        items: tuple[Item, ...],
        what: str,
        found: int,
        limit: int | None,
    ) -> None:
        if limit is None or found <= limit:
            return
        sent = [str(item) for item in items if (item.kind == "score") == (what == "score")]
        refuse(
            element,
            cycle,
            f"the link is full: {found} {what}s are sent, {', '.join(sent)}, where {what}_links="
            f"{limit}; send {sent[-1]} in another cycle, or write {what}_links={found}",
        )

    def _take(self, cycle: int, element: int, item: Item) -> None:
        """Use an item to send it."""
        if item.kind == "score":
            held = score_pair(item.i, item.j, self.scheme) in self.scores[element]
        elif item.kind == "partial":
            held = self.held[element].leave(item, cycle)
        else:
            held = self.held[element].use(item, cycle)
        if not held:
            self._missing(cycle, element, f"{item} is sent", item)

    def _missing(self, cycle: int, element: int, what: str, item: Item) -> NoReturn:
        made = {"score": "computed or received", "partial": "begun or received"}
        refuse(
            element,
            cycle,
            f"{what}, but {item} is not held there; expected it to be "
            f"{made.get(item.kind, 'received')} at element {element} by cycle {cycle - 1}",
        )

    def operate(self, cycle: int, element: int, operation: Operation) -> None:
        """Do one operation: its product, its operands, its result."""
        self.operations += 1
        if operation.kind == "merge":
            self._merge(cycle, element, operation)
            return
        kind, i, j = operation
        pair = score_pair(i, j, self.scheme)
        self.products.add(cycle, element, operation, pair if kind == "score" else (i, j))
        held = self.held[element]
        for item in self.reads.of(operation):
            if not held.use(item, cycle):
                self._missing(cycle, element, f"{operation} needs {item}", item)
        if kind == "score":
            self.scores[element].add(pair)
            return
        if pair not in self.scores[element]:
            item = Item("score", i, j)
            self._missing(cycle, element, f"{operation} needs {item}", item)
        if self.schedule.owner[i] != element:
            held.begin(Item("partial", i, i), cycle)

    def _merge(self, cycle: int, element: int, operation: Operation) -> None:
        i = operation.i
        if not 0 <= i < self.schedule.vectors or self.schedule.owner[i] != element:
            owner = self.schedule.owner[i] if 0 <= i < self.schedule.vectors else None
            home = "there is no such vector" if owner is None else f"its owner is element {owner}"
            refuse(element, cycle, f"{operation} merges o{i} away from home; {home}")
        item = Item("partial", i, i)
        if not self.held[element].leave(item, cycle):
            self._missing(cycle, element, f"{operation} needs {item}", item)

    def finish(self) -> Figures:
        """Check that all was done, and count."""
        schedule = self.schedule
        self.land(schedule.cycles)
        self.products.check_all()
        for element, held in enumerate(self.held):
            for item in held.partials():
                refuse(
                    element,
                    schedule.cycles,
                    f"{item} is left when the schedule ends; expected it to be sent to its owner, "
                    f"element {schedule.owner[item.i]}, and merged there",
                )
        return Figures(
            cycles=schedule.cycles,
            operations=self.operations,
            utilisation=self.operations / (schedule.elements * schedule.cycles),
            registers=self._registers(),
            vector_words=self.vector_words,
            score_words=self.score_words,
            vector_links=self.vector_links,
            score_links=self.score_links,
        )

    def _registers(self) -> int:
        limit = self.schedule.registers
        most = 0
        for element, held in enumerate(self.held):
            for cycle, count in held.counts():
                most = max(most, count)
                if limit is not None and count > limit:
                    items = ", ".join(str(item) for item in held.in_cycle(cycle))
                    refuse(
                        element,
                        cycle,
                        f"the register file is full: {count} vectors are held, {items}, where "
                        f"registers={limit}; let one arrive later or be used sooner, or write "
                        f"registers={count}",
                    )
        return most

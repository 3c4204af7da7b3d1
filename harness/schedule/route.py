"""Sends for given operations: each item one way along the ring, as late as its uses allow.

What is sent late is held shortly where it arrives, so few registers do. Links are filled from the
last cycle back, each with what could be sent there no sooner: earliest deadline first, mirrored in
time, so that of one link all are in time if they can be.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from harness.errors import ScheduleError
from harness.schedule.model import Item, Operation, Reads, Schedule, score_pair, vector
from harness.schedule.table import sends_table

Sent = Sequence[tuple[int, int, Item]]
"""Cycle, element, item: what is sent when and by whom."""


@dataclass(frozen=True)
class Journey:
    """An item that goes from element to element: hop h is sent by start + h, modulo m.

    earliest[h], latest[h]: the cycles between which it must be sent.
    """

    item: Item
    start: int
    earliest: tuple[int, ...]
    latest: tuple[int, ...]


@dataclass
class _Uses:
    """First and last use of each item by distance from where it starts."""

    start: int
    release: int = 0
    first: dict[int, int] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)

    def note(self, distance: int, cycle: int) -> None:
        self.first.setdefault(distance, cycle)
        self.last[distance] = cycle


def with_sends(schedule: Schedule, journeys: Iterable[Journey]) -> Schedule:
    """The schedule with its items sent, and links as narrow as that allows.

    ScheduleError: the operations leave too little time.
    """
    known = list(journeys)
    scores = [journey for journey in known if journey.item.kind == "score"]
    vectors = [journey for journey in known if journey.item.kind != "score"]
    sent, vector_links = send_with_least(vectors, schedule.elements, schedule.cycles)
    more, score_links = send_with_least(scores, schedule.elements, schedule.cycles)
    return dataclasses.replace(
        schedule,
        sends=sends_table([*sent, *more], schedule.cycles, schedule.elements),
        vector_links=vector_links,
        score_links=score_links if scores else None,
    )


def vector_journeys(
    schedule: Schedule, *, begin: int = 0, end: int | None = None, stops: Sent = ()
) -> Iterator[Journey]:
    """Journeys of q, k, v, x from their owners, for the operations of cycles begin .. end - 1.

    stops: cycles by which a vector must have come to an element that only passes it on.
    """
    uses: dict[Item, _Uses] = {}
    owner, elements = schedule.owner, schedule.elements
    reads = Reads(schedule.vectors, schedule.scheme)
    for cycle, element, operation in _done(schedule, begin, end):
        for item in reads.of(operation):
            home = owner[item.i]
            if home != element:
                if item not in uses:
                    uses[item] = _Uses(home, begin)
                uses[item].note((element - home) % elements, cycle)
    for cycle, element, item in stops:
        if item in uses:
            distance = (element - owner[item.i]) % elements
            if distance < max(uses[item].first):
                uses[item].note(distance, cycle)
    for item, use in uses.items():
        yield _copied(item, use)


def score_journeys(schedule: Schedule) -> Iterator[Journey]:
    """Journeys of scores from where they are computed to where they are used."""
    uses: dict[tuple[int, int], _Uses] = {}
    for cycle, element, operation in _done(schedule):
        pair = score_pair(operation.i, operation.j, schedule.scheme)
        if operation.kind == "score":
            uses[pair] = _Uses(element, cycle + 1)
        elif operation.kind == "weigh" and element != uses[pair].start:
            uses[pair].note((element - uses[pair].start) % schedule.elements, cycle)
    for (i, j), use in uses.items():
        if use.first:
            yield _copied(Item("score", i, j), use)


def partial_journeys(schedule: Schedule) -> Iterator[Journey]:
    """Journeys of partial sums, from the first element that begins one to the owner's merge."""
    uses: dict[int, _Uses] = {}
    owner, elements = schedule.owner, schedule.elements
    for cycle, element, operation in _done(schedule):
        i = operation.i
        home = owner[i] == element
        if operation.kind == "merge" or (operation.kind == "weigh" and not home):
            use = uses.setdefault(i, _Uses(owner[i]))
            use.note(elements if home else (element - owner[i]) % elements, cycle)
    for i, use in uses.items():
        yield _moved(vector("partial", i), use, elements)


def send(journeys: Iterable[Journey], elements: int, limit: int) -> Sent | None:
    """When each hop is sent, with at most `limit` items a link and cycle; None if that fails."""
    known = list(journeys)
    due: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for index, journey in enumerate(known):
        due[journey.latest[-1]].append((index, len(journey.latest) - 1))
    links: list[list[tuple[int, int, int, int]]] = [[] for _ in range(elements)]
    sent: list[tuple[int, int, Item]] = []
    for cycle in range(max(due, default=-1), -1, -1):
        for index, hop in due.pop(cycle, ()):
            journey = known[index]
            entry = (-journey.earliest[hop], -journey.latest[hop], index, hop)
            heapq.heappush(links[(journey.start + hop) % elements], entry)
        for element, waiting in enumerate(links):
            if not waiting:
                continue
            for _ in range(min(limit, len(waiting))):
                earliest, _latest, index, hop = heapq.heappop(waiting)
                if cycle < -earliest:
                    return None
                sent.append((cycle, element, known[index].item))
                if hop:
                    due[min(known[index].latest[hop - 1], cycle - 1)].append((index, hop - 1))
    # What is left is due before the first cycle.
    return None if due or any(links) else sent


def send_with_least(
    journeys: Iterable[Journey], elements: int, cycles: int, most: int = 64
) -> tuple[Sent, int]:
    """Sends, and the least number of items a link and cycle with which they are in time.

    ScheduleError: not even `most` are enough.
    """
    known = list(journeys)
    words: defaultdict[int, int] = defaultdict(int)
    for journey in known:
        for hop in range(len(journey.latest)):
            words[(journey.start + hop) % elements] += 1
    # No link can carry more than its width times the cycles there are.
    least = max(1, -(-max(words.values(), default=0) // max(1, cycles)))
    for limit in range(least, most + 1):
        sent = send(known, elements, limit)
        if sent is not None:
            return sent, limit
    raise ScheduleError(
        f"what the operations need cannot be sent in time over {most} words a link: leave more "
        "cycles between a result and its use elsewhere"
    )


def _done(
    schedule: Schedule, begin: int = 0, end: int | None = None
) -> Iterator[tuple[int, int, Operation]]:
    if schedule.elements == 1:
        return  # one element alone sends nothing
    for cycle in range(begin, schedule.cycles if end is None else end):
        for element, operation in enumerate(schedule.operations[cycle]):
            if operation is not None:
                yield cycle, element, operation


def _copied(item: Item, use: _Uses) -> Journey:
    """The journey of what stays where it was when it is sent on."""
    far = max(use.first)
    # Where an element only passes it on, the next hop alone says when it must have come.
    never = max(use.first.values())
    latest = tuple(use.first.get(hop + 1, never) - 1 for hop in range(far))
    return Journey(item, use.start, tuple(use.release + hop for hop in range(far)), latest)


def _moved(item: Item, use: _Uses, elements: int) -> Journey:
    """The journey of a sum that leaves an element after its last addition there."""
    begun = min(use.first)
    hops = range(begun, elements)
    end = use.first[elements]
    earliest = tuple(use.last.get(hop, use.first[begun]) + 1 for hop in hops)
    latest = tuple(use.first.get(hop + 1, end) - 1 for hop in hops)
    return Journey(item, use.start + begun, earliest, latest)

"""What the simulator counts, and what it refuses: good schedules spoiled in one place."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from harness.errors import AttnbenchError, ScheduleError
from harness.schedule import GENERATORS, SCORES, Figures, Item, Operation, Schedule, simulate
from harness.schedule.halves import causal_half, half_fused, half_ring
from harness.schedule.model import vector
from harness.schedule.registers import Held
from harness.schedule.rotation import contiguous, ring

Place = tuple[int, int]


def _score(i: int, j: int) -> Operation:
    return Operation("score", i, j)


def _weigh(i: int, j: int) -> Operation:
    return Operation("weigh", i, j)


def _merge(i: int) -> Operation:
    return Operation("merge", i, i)


def _where(schedule: Schedule, operation: Operation) -> Place:
    rows = enumerate(schedule.operations)
    return next((t, p) for t, row in rows for p, one in enumerate(row) if one == operation)


def _sent(schedule: Schedule, item: Item) -> Place:
    rows = enumerate(schedule.sends)
    return next((t, p) for t, row in rows for p, items in enumerate(row) if item in items)


def _operations(schedule: Schedule, changes: dict[Place, Operation | None]) -> Schedule:
    """Another operation in some places; the schedule itself is good."""
    simulate(schedule)
    rows = [list(row) for row in schedule.operations]
    for (cycle, element), operation in changes.items():
        rows[cycle][element] = operation
    return dataclasses.replace(schedule, operations=tuple(tuple(row) for row in rows))


def _sends(schedule: Schedule, changes: dict[Place, tuple[Item, ...]]) -> Schedule:
    """Other sends in some places; the schedule itself is good."""
    simulate(schedule)
    rows = [list(row) for row in schedule.sends]
    for (cycle, element), items in changes.items():
        rows[cycle][element] = items
    return dataclasses.replace(schedule, sends=tuple(tuple(row) for row in rows))


def _refusal(schedule: Schedule) -> str:
    with pytest.raises(ScheduleError) as refused:
        simulate(schedule)
    return str(refused.value)


def _made(
    scheme: Any,
    owner: tuple[int, ...],
    operations: list[list[Operation | None]],
    sends: dict[Place, tuple[Item, ...]],
    **options: Any,
) -> Schedule:
    """A schedule by hand."""
    m = len(operations[0])
    return Schedule(
        name="by hand",
        scheme=scheme,
        owner=owner,
        elements=m,
        operations=tuple(tuple(row) for row in operations),
        sends=tuple(
            tuple(sends.get((cycle, element), ()) for element in range(m))
            for cycle in range(len(operations))
        ),
        **options,
    )


def test_a_refusal_is_an_error_of_the_tree() -> None:
    assert issubclass(ScheduleError, AttnbenchError)


def test_figures_of_a_ring_counted_by_hand() -> None:
    # Each holds k and v of its own, then the other's k and its own v, then both v, then one.
    assert simulate(GENERATORS["ring"](2, 2)) == Figures(
        cycles=4,
        operations=8,
        utilisation=1.0,
        registers=2,
        vector_words=4,
        score_words=0,
        vector_links=1,
        score_links=0,
    )


def _by_hand(**options: Any) -> Schedule:
    """Two vectors, scored by their owners; element 1 weighs one pair of vector 0 for element 0."""
    return _made(
        "symmetric",
        (0, 1),
        [
            [_score(0, 0), _score(1, 1)],
            [_weigh(0, 0), _weigh(1, 1)],
            [None, _score(1, 0)],
            [None, _weigh(0, 1)],
            [None, _weigh(1, 0)],
            [_merge(0), None],
        ],
        {(1, 0): (vector("x", 0),), (4, 1): (vector("partial", 0),)},
        **options,
    )


def test_figures_of_a_partial_sum_counted_by_hand() -> None:
    found = simulate(_by_hand())
    assert (found.cycles, found.operations, found.utilisation) == (6, 8, 8 / 12)
    assert (found.vector_words, found.score_words) == (2, 0)
    # In cycles 3 and 4 element 1 holds x1 or not, x0 and the sum of 0.
    assert found.registers == 3


@pytest.mark.parametrize("limit", [3, None])
def test_registers_that_suffice_are_no_refusal(limit: int | None) -> None:
    assert simulate(_by_hand(registers=limit)).registers == 3


def test_a_full_register_file_is_refused() -> None:
    assert _refusal(_by_hand(registers=2)) == (
        "element 1, cycle 3: the register file is full: 3 vectors are held, o0, x0, x1, where "
        "registers=2; let one arrive later or be used sooner, or write registers=3"
    )


def test_a_vector_that_comes_again_is_not_held_between() -> None:
    held = Held(q_counts=False)
    x0 = vector("x", 0)
    held.arrive(x0, 0)
    assert held.use(x0, 1)
    held.arrive(x0, 5)
    assert held.use(x0, 6)
    assert list(held.counts()) == [(0, 1), (2, 0), (5, 1), (7, 0)]


def test_a_partial_sum_is_held_from_its_first_addition_until_it_leaves() -> None:
    held = Held(q_counts=False)
    partial = vector("partial", 0)
    held.begin(partial, 2)
    held.begin(partial, 4)
    assert held.partials() == [partial]
    assert held.leave(partial, 5)
    assert not held.leave(partial, 6)
    assert list(held.counts()) == [(2, 1), (6, 0)]


def test_what_arrives_and_is_not_used_takes_no_register() -> None:
    held = Held(q_counts=False)
    held.arrive(vector("x", 0), 3)
    assert held.has(vector("x", 0))
    assert {count for _, count in held.counts()} == {0}


@pytest.mark.parametrize("moves", [False, True])
def test_queries_take_registers_only_where_they_move(moves: bool) -> None:
    schedule = GENERATORS["ring"](2, 2)
    if moves:
        cycle, element = _sent(schedule, vector("k", 0))
        schedule = dataclasses.replace(
            _sends(schedule, {(cycle, element): (vector("k", 0), vector("q", 0))}), vector_links=2
        )
    assert simulate(schedule).registers == (3 if moves else 2)


@pytest.mark.parametrize(
    ("schedule", "item", "refused"),
    [
        (ring(2, 2), vector("k", 0), "element 1, cycle 1: S(1,0) needs k0, but k0"),
        (ring(2, 2), vector("v", 1), "element 0, cycle 3: W(0,1) needs v1, but v1"),
        (half_ring(3, 3), vector("x", 0), "element 1, cycle 1: S(1,0) needs x0, but x0"),
        (half_fused(3, 3), vector("x", 2), "element 0, cycle 2: S(0,2) needs x2, but x2"),
        (causal_half(3, 3), vector("q", 2), "element 0, cycle 2: S(2,0) needs q2, but q2"),
    ],
)
def test_a_vector_that_an_operation_needs_and_was_not_sent_is_refused(
    schedule: Schedule, item: Item, refused: str
) -> None:
    cycle, element = _sent(schedule, item)
    left = tuple(one for one in schedule.sends[cycle][element] if one != item)
    place = re.fullmatch(r"element (\d), cycle (\d).*", refused)
    assert place is not None
    assert _refusal(_sends(schedule, {(cycle, element): left})) == (
        f"{refused} is not held there; expected it to be received at element {place[1]} by cycle "
        f"{int(place[2]) - 1}"
    )


def test_a_score_that_a_weighing_needs_and_was_not_sent_is_refused() -> None:
    assert _refusal(_sends(half_ring(2, 2), {(2, 0): (vector("x", 0),)})) == (
        "element 1, cycle 3: W(1,0) needs s(1,0), but s(1,0) is not held there; "
        "expected it to be computed or received at element 1 by cycle 2"
    )


def test_what_is_sent_in_a_cycle_is_used_in_the_next_and_no_sooner() -> None:
    schedule = GENERATORS["ring"](2, 2)
    cycle, element = _sent(schedule, vector("k", 0))
    assert _where(schedule, _score(1, 0)) == (cycle + 1, 1)
    late = _sends(schedule, {(cycle, element): (), (cycle + 1, element): (vector("k", 0),)})
    assert "element 1, cycle 1: S(1,0) needs k0" in _refusal(late)


@pytest.mark.parametrize(
    ("name", "item", "place", "text"),
    [
        (
            "ring",
            vector("k", 2),
            (0, 0),
            "element 0, cycle 0: k2 is sent, but k2 is not held there; "
            "expected it to be received at element 0 by cycle -1",
        ),
        ("ring", vector("x", 0), (0, 0), "element 0, cycle 0: x0 is sent, but x0 is not held"),
        ("half_ring", vector("k", 0), (0, 0), "element 0, cycle 0: k0 is sent, but k0 is not held"),
        ("half_ring", vector("x", 9), (0, 0), "element 0, cycle 0: x9 is sent, but x9 is not held"),
        (
            "half_ring",
            Item("score", 1, 2),
            (1, 2),
            "element 2, cycle 1: s(1,2) is sent, but s(1,2) is not held there; "
            "expected it to be computed or received at element 2 by cycle 0",
        ),
        (
            "half_fused",
            vector("partial", 0),
            (4, 1),
            "element 1, cycle 4: o0 is sent, but o0 is not held there; "
            "expected it to be begun or received at element 1 by cycle 3",
        ),
    ],
)
def test_what_is_sent_and_not_held_is_refused(
    name: str, item: Item, place: Place, text: str
) -> None:
    # S(2,1), and W(0,1) into the partial sum of 0, are computed in that very cycle.
    schedule = dataclasses.replace(GENERATORS[name](3, 3), vector_links=None, score_links=None)
    cycle, element = place
    spoiled = _sends(schedule, {place: (*schedule.sends[cycle][element], item)})
    assert _refusal(spoiled).startswith(text)


def test_a_score_is_sent_from_the_cycle_after_it_and_used_one_after_that() -> None:
    schedule = GENERATORS["half_ring"](2, 2)
    item = Item("score", 0, 1)
    assert _where(schedule, _score(0, 1)) == (1, 0)
    assert _sent(schedule, item) == (2, 0)
    assert _where(schedule, _weigh(1, 0)) == (3, 1)
    x0 = vector("x", 0)
    early = _sends(schedule, {(1, 0): (item,), (2, 0): (x0,)})
    assert "element 0, cycle 1: s(0,1) is sent, but s(0,1) is not held" in _refusal(early)
    late = _sends(schedule, {(2, 0): (x0,), (3, 0): (item,)})
    assert "element 1, cycle 3: W(1,0) needs s(1,0), but s(1,0) is not held" in _refusal(late)


def test_a_symmetric_score_may_be_sent_and_used_in_either_order() -> None:
    schedule = GENERATORS["half_ring"](2, 2)
    other = _sends(schedule, {(2, 0): (vector("x", 0), Item("score", 1, 0))})
    assert simulate(other) == simulate(schedule)
    turned = _operations(schedule, {_where(schedule, _score(0, 1)): _score(1, 0)})
    assert simulate(turned) == simulate(schedule)


def test_a_score_is_used_from_the_cycle_after_it() -> None:
    schedule = GENERATORS["ring"](1, 1)
    assert [row[0] for row in schedule.operations] == [_score(0, 0), _weigh(0, 0)]
    swapped = _operations(schedule, {(0, 0): _weigh(0, 0), (1, 0): _score(0, 0)})
    assert _refusal(swapped) == (
        "element 0, cycle 0: W(0,0) needs s(0,0), but s(0,0) is not held there; "
        "expected it to be computed or received at element 0 by cycle -1"
    )


@pytest.mark.parametrize(
    ("name", "left_out", "written"),
    [
        ("ring", _score(0, 1), _score(0, 0)),
        ("ring", _weigh(0, 1), _weigh(0, 0)),
        ("contiguous", _score(1, 0), _score(1, 1)),
        ("half_ring", _score(0, 1), _score(0, 0)),
    ],
)
def test_a_product_computed_twice_is_refused(
    name: str, left_out: Operation, written: Operation
) -> None:
    schedule = GENERATORS[name](2, 2)
    cycle, element = _where(schedule, left_out)
    first, owner = _where(schedule, written)
    assert _refusal(_operations(schedule, {(cycle, element): written})) == (
        f"element {element}, cycle {cycle}: {written} is computed twice: element {owner} has "
        f"computed it in cycle {first}; leave one of the two out"
    )


def test_a_symmetric_pair_scored_in_both_orders_is_computed_twice() -> None:
    # Element 1 has nothing to do in cycle 1 and has received x0.
    schedule = _sends(GENERATORS["half_ring"](2, 2), {(0, 0): (vector("x", 0),)})
    both = _operations(schedule, {(1, 1): _score(1, 0)})
    assert _refusal(both) == (
        "element 1, cycle 1: S(1,0) is computed twice: element 0 has computed it in cycle 1; "
        "leave one of the two out"
    )


@pytest.mark.parametrize(
    ("schedule", "operation", "asks"),
    [
        (
            ring(2, 2, scores=True),
            _score(1, 0),
            "general scheme asks for the score of every (i, j)",
        ),
        (ring(2, 2), _weigh(1, 0), "general scheme asks for the weighing of every (i, j)"),
        (
            contiguous(2, 2, scores=True),
            _score(1, 0),
            "causal scheme asks for the score of every (i, j) with j <= i",
        ),
        (
            contiguous(2, 2),
            _weigh(1, 0),
            "causal scheme asks for the weighing of every (i, j) with j <= i",
        ),
        (
            half_ring(2, 2, scores=True),
            _score(0, 1),
            "symmetric scheme asks for the score of every unordered pair",
        ),
        (half_ring(2, 2), _weigh(1, 0), "symmetric scheme asks for the weighing of every (i, j)"),
    ],
)
def test_a_product_never_computed_is_refused(
    schedule: Schedule, operation: Operation, asks: str
) -> None:
    owner = schedule.owner[operation.i]
    assert _refusal(_operations(schedule, {_where(schedule, operation): None})) == (
        f"{operation} is never computed in {schedule.cycles} cycles: the {asks} of 2 vectors; "
        f"expected it at one element, for instance at element {owner}, which owns vector "
        f"{operation.i}"
    )


def test_a_schedule_without_cycles_computes_nothing() -> None:
    empty = dataclasses.replace(GENERATORS["ring"](2, 2), operations=(), sends=())
    assert "S(0,0) is never computed in 0 cycles" in _refusal(empty)


@pytest.mark.parametrize(
    ("name", "operation", "asks"),
    [
        ("contiguous", _score(0, 1), "the causal scheme asks for the score of every (i, j) with j"),
        ("contiguous", _weigh(0, 1), "the causal scheme asks for the weighing of every (i, j) wit"),
        ("ring", _score(0, 2), "the general scheme asks for the score of every (i, j) of 2 vect"),
        ("ring", _weigh(-1, 0), "the general scheme asks for the weighing of every (i, j) of 2"),
        ("half_ring", _score(1, 2), "the symmetric scheme asks for the score of every unordered"),
    ],
)
def test_a_product_that_is_not_asked_for_is_refused(
    name: str, operation: Operation, asks: str
) -> None:
    schedule = GENERATORS[name](2, 2)
    extra = dataclasses.replace(
        schedule,
        operations=(*schedule.operations, (operation, None)),
        sends=(*schedule.sends, ((), ())),
    )
    simulate(schedule)
    text = _refusal(extra)
    place = f"element 0, cycle {schedule.cycles}: {operation} is not asked for: {asks}"
    assert text.startswith(place)
    assert text.endswith("; leave it out")


def test_a_schedule_of_scores_alone_may_not_weigh() -> None:
    schedule = SCORES["ring"](2, 2)
    assert not schedule.complete
    assert simulate(schedule).operations == 4
    whole = dataclasses.replace(GENERATORS["ring"](2, 2), complete=False)
    assert _refusal(whole) == (
        "element 0, cycle 2: W(0,0) is not asked for: complete=False asks for the score of every "
        "(i, j) of 2 vectors alone; leave it out"
    )


def test_a_link_with_too_many_vectors_is_refused() -> None:
    schedule = GENERATORS["ring"](2, 2)
    assert schedule.vector_links == 1
    both = (vector("k", 0), vector("v", 0))
    assert _refusal(_sends(schedule, {(0, 0): both})) == (
        "element 0, cycle 0: the link is full: 2 vectors are sent, k0, v0, where vector_links=1; "
        "send v0 in another cycle, or write vector_links=2"
    )
    wide = dataclasses.replace(_sends(schedule, {(0, 0): both}), vector_links=2)
    assert simulate(wide).vector_links == 2


def test_a_link_with_too_many_scores_is_refused() -> None:
    schedule = GENERATORS["half_ring"](2, 2)
    assert schedule.score_links == 1
    crowded = (vector("x", 0), Item("score", 0, 1), Item("score", 0, 0))
    assert _refusal(_sends(schedule, {(2, 0): crowded})) == (
        "element 0, cycle 2: the link is full: 2 scores are sent, s(0,1), s(0,0), where "
        "score_links=1; send s(0,0) in another cycle, or write score_links=2"
    )
    unlimited = dataclasses.replace(_sends(schedule, {(2, 0): crowded}), score_links=None)
    found = simulate(unlimited)
    assert (found.vector_links, found.score_links, found.score_words) == (1, 2, 2)


def test_vectors_and_scores_have_room_of_their_own_on_a_link() -> None:
    schedule = GENERATORS["half_ring"](2, 2)
    assert {item.kind for item in schedule.sends[2][0]} == {"x", "score"}
    simulate(schedule)


def test_a_partial_sum_that_is_not_merged_is_refused() -> None:
    schedule = GENERATORS["half_fused"](3, 3)
    cycle, element = _where(schedule, _merge(1))
    assert _refusal(_operations(schedule, {(cycle, element): None})) == (
        "element 1, cycle 8: o1 is left when the schedule ends; expected it to be sent to its "
        "owner, element 1, and merged there"
    )


def test_a_partial_sum_that_is_still_under_way_is_refused() -> None:
    work = _operations(_by_hand(), {(5, 0): None})
    late = dataclasses.replace(
        work, sends=(*work.sends[:4], ((), ()), ((), (vector("partial", 0),)))
    )
    assert _refusal(late).startswith("element 0, cycle 6: o0 is left when the schedule ends;")
    # Left where it was begun, not under way.
    kept = dataclasses.replace(work, sends=(*work.sends[:4], ((), ()), ((), ())))
    assert _refusal(kept).startswith("element 1, cycle 6: o0 is left when the schedule ends;")


def test_a_merge_before_the_partial_sum_has_come_is_refused() -> None:
    schedule = GENERATORS["half_fused"](3, 3)
    cycle, element = _where(schedule, _merge(0))
    early = _operations(schedule, {(cycle, element): None, (cycle - 1, element): _merge(0)})
    assert _refusal(early) == (
        "element 0, cycle 6: M(0) needs o0, but o0 is not held there; "
        "expected it to be begun or received at element 0 by cycle 5"
    )


@pytest.mark.parametrize(
    ("merged", "why"), [(1, "its owner is element 1"), (7, "there is no such vector")]
)
def test_a_merge_away_from_home_is_refused(merged: int, why: str) -> None:
    schedule = GENERATORS["half_fused"](3, 3)
    place = _where(schedule, _merge(0))
    assert _refusal(_operations(schedule, {place: _merge(merged)})) == (
        f"element 0, cycle 7: M({merged}) merges o{merged} away from home; {why}"
    )


def test_two_partial_sums_of_one_vector_may_not_meet() -> None:
    meeting = _made(
        "symmetric",
        (0, 1, 2),
        [
            [_score(0, 0), _score(1, 1), _score(2, 2)],
            [None, _score(1, 0), None],
            [None, _weigh(0, 1), _score(2, 0)],
            [None, None, _weigh(0, 2)],
        ],
        {
            (0, 0): (vector("x", 0),),
            (1, 1): (vector("x", 0),),
            (3, 1): (vector("partial", 0),),
        },
    )
    assert _refusal(meeting) == (
        "element 2, cycle 4: two partial sums of vector 0 meet, o0 arrives where o0 is held; "
        "send the first on, or weigh here only after the second has arrived"
    )


def test_a_partial_sum_that_has_come_is_added_to() -> None:
    schedule = GENERATORS["half_fused"](5, 5)
    elements = {
        p
        for row in schedule.operations
        for p, one in enumerate(row)
        if one and one.kind == "weigh" and one.i == 0
    }
    assert elements == {0, 1, 2}
    found = simulate(schedule)
    merges = [one for row in schedule.operations for one in row if one and one.kind == "merge"]
    assert len(merges) == 5
    assert found.operations == 15 + 25 + 5


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"operations": ((_score(0, 0),),), "sends": (((), ()),)},
            "operations of cycle 0 must have one entry for each element: 1 entries, elements=2; "
            "write 2 entries",
        ),
        (
            {"operations": ((None, None),), "sends": (((), (), ()),)},
            "sends of cycle 0 must have one entry for each element: 3 entries, elements=2; "
            "write 2 entries",
        ),
        (
            {"sends": ()},
            "operations and sends must have a row for each cycle: 4 rows of operations, 0 of "
            "sends; write an empty row where nothing is sent",
        ),
        (
            {"owner": (0, 2)},
            "owner of vector 1 is out of range: owner=2, elements=2; use 0 to 1",
        ),
        (
            {"owner": (-1, 1)},
            "owner of vector 0 is out of range: owner=-1, elements=2; use 0 to 1",
        ),
        (
            {"owner": ()},
            "a schedule needs an element and a vector: elements=2, 0 owners; write at least 1 of "
            "each",
        ),
        (
            {"elements": 0},
            "a schedule needs an element and a vector: elements=0, 2 owners; write at least 1 of "
            "each",
        ),
        (
            {"scheme": "casual"},
            "scheme is unknown: scheme='casual'; use one of general, symmetric, causal",
        ),
    ],
)
def test_a_malformed_schedule_is_refused(changes: dict[str, Any], text: str) -> None:
    schedule = GENERATORS["ring"](2, 2)
    simulate(schedule)
    assert _refusal(dataclasses.replace(schedule, **changes)) == text

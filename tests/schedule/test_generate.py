"""Every generated schedule runs without a refusal and takes what its closed form says."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from harness.errors import ScheduleError
from harness.schedule import (
    GENERATORS,
    SCORES,
    Figures,
    closed_form,
    register_bound,
    simulate,
)
from harness.schedule.model import Item, vector
from harness.schedule.route import Journey, send, send_with_least

SIZES = [(2, 2), (4, 2), (4, 4), (6, 2), (6, 3), (8, 2), (8, 4)]


@pytest.fixture(autouse=True, scope="module")
def _no_garbage_collection() -> Iterator[None]:
    # Millions of small tuples without a cycle among them: looking for one takes half the time.
    gc.disable()
    yield
    gc.enable()


def _pairs(name: str, most: int = 64) -> list[tuple[int, int]]:
    parts = 2 if name == "zigzag" else 1
    return [(n, m) for m in range(1, 9) for n in range(parts * m, most + 1, parts * m)]


def _range(name: str, n: int, m: int, *, scores: bool = False) -> tuple[int, int]:
    found = closed_form(name, n, m, scores=scores)
    return (found, found) if isinstance(found, int) else found


def test_the_pairs_are_those_of_the_closed_forms() -> None:
    assert len(_pairs("ring")) == 172
    assert len(_pairs("zigzag")) == 85


@pytest.mark.parametrize("name", GENERATORS)
def test_cycles_and_registers_are_the_closed_forms(name: str) -> None:
    for n, m in _pairs(name):
        schedule = GENERATORS[name](n, m)
        found = simulate(schedule)
        least, most = _range(name, n, m)
        assert least <= found.cycles <= most, (n, m, found)
        assert found.registers <= register_bound(name, n, m), (n, m, found)
        assert schedule.name == name
        assert schedule.complete


@pytest.mark.parametrize("name", SCORES)
def test_scores_alone_take_their_closed_form(name: str) -> None:
    for n, m in _pairs(name, 28):
        schedule = SCORES[name](n, m)
        found = simulate(schedule)
        assert found.cycles == closed_form(name, n, m, scores=True), (n, m, found)
        assert found.registers <= register_bound(name, n, m, scores=True), (n, m, found)
        assert not schedule.complete


@pytest.mark.parametrize(
    ("name", "optima"),
    [
        ("ring", [2, 8, 4, 18, 12, 32, 16]),
        ("half_ring", [2, 5, 3, 11, 7, 18, 9]),
        ("contiguous", [2, 7, 4, 15, 11, 26, 15]),
        ("striped", [2, 6, 4, 12, 9, 20, 12]),
        ("causal_half", [2, 5, 3, 11, 7, 18, 9]),
    ],
)
def test_scores_of_small_sizes_take_the_fewest_cycles_there_are(
    name: str, optima: list[int]
) -> None:
    assert [simulate(SCORES[name](n, m)).cycles for n, m in SIZES] == optima


def test_zigzag_scores_of_small_sizes_take_the_fewest_cycles_there_are() -> None:
    assert [simulate(SCORES["zigzag"](n, m)).cycles for n, m in [(4, 2), (8, 2), (8, 4)]] == [
        5,
        18,
        9,
    ]


def test_the_split_symmetric_form_takes_the_fewest_cycles_there_are() -> None:
    optima = [4, 13, 7, 29, 19, 50, 25]
    found = [simulate(GENERATORS["half_ring"](n, m)) for n, m in SIZES]
    assert [figures.cycles for figures in found] == optima


@pytest.mark.parametrize("name", ["ring", "zigzag"])
def test_no_element_of_a_balanced_rotation_ever_waits(name: str) -> None:
    assert {simulate(GENERATORS[name](n, m)).utilisation for n, m in _pairs(name, 24)} == {1.0}


@pytest.mark.parametrize("name", ["ring", "contiguous", "striped", "zigzag", "half_ring"])
def test_one_vector_a_link_and_cycle_is_enough(name: str) -> None:
    assert {GENERATORS[name](n, m).vector_links for n, m in _pairs(name, 24)} == {1}


@pytest.mark.parametrize("name", ["half_fused", "causal_half"])
def test_fused_forms_need_two_vectors_a_link_at_most(name: str) -> None:
    found = {(n, m): GENERATORS[name](n, m).vector_links for n, m in _pairs(name, 24)}
    assert set(found.values()) == {1, 2}
    assert found[24, 4] == 1


COLUMNS = "half_ring half_fused contiguous striped zigzag causal_half".split()
SAVINGS = {
    (8, 2): (64, [21.9, 15.6, 18.8, 37.5, 43.8, 37.5]),
    (8, 4): (32, [21.9, 12.5, 6.2, 25, 43.8, 34.4]),
    (16, 4): (128, [23.4, 20.3, 9.4, 37.5, 46.9, 43.8]),
    (64, 4): (2048, [24.6, 23.8, 11.7, 46.9, 49.2, 48.4]),
    (64, 8): (1024, [24.6, 23.8, 5.5, 43.8, 49.2, 48.4]),
}


@pytest.mark.parametrize("sizes", SAVINGS)
def test_savings_against_the_ring(sizes: tuple[int, int]) -> None:
    cycles, percents = SAVINGS[sizes]
    assert simulate(GENERATORS["ring"](*sizes)).cycles == cycles
    found = [100 - 100 * simulate(GENERATORS[name](*sizes)).cycles / cycles for name in COLUMNS]
    assert found == pytest.approx(percents, abs=0.0501)


def test_savings_of_long_sequences_by_closed_form() -> None:
    ring = closed_form("ring", 512, 8)
    assert ring == 65536
    for name, percent in zip(COLUMNS, [25.0, 24.9, 6.2, 49.2, 49.9, 49.8], strict=True):
        least, most = _range(name, 512, 8)
        assert 100 - 100 * most / ring - 0.0501 <= percent <= 100 - 100 * least / ring + 0.0501
        # The tail and the merges are no more than a tenth of a percent.
        assert most - least <= 0.0011 * ring


@pytest.mark.parametrize(("n", "m"), [(6, 3), (10, 5), (21, 7), (8, 2), (12, 4), (16, 8), (5, 1)])
def test_scores_travel_to_the_owner_that_has_not_computed_them(n: int, m: int) -> None:
    b = n // m
    found = simulate(GENERATORS["half_ring"](n, m))
    whole = sum(m - distance for distance in range(1, (m + 1) // 2)) * m * b * b
    # Of the last distance of an even ring each pair is computed once, and sent as far again.
    last = 0 if m % 2 else (m // 2) ** 2 * b * b
    assert found.score_words == whole + last
    assert simulate(GENERATORS["half_fused"](n, m)).score_words == 0


@pytest.mark.parametrize(("n", "m"), [(4, 2), (6, 3), (10, 5), (16, 4), (21, 7), (16, 8)])
def test_the_fused_form_sends_as_many_vectors_and_no_scores(n: int, m: int) -> None:
    split, fused = (simulate(GENERATORS[name](n, m)) for name in ("half_ring", "half_fused"))
    # Half a ring of x, and a whole one of x again or of its sum, begun one hop on.
    assert split.vector_words == fused.vector_words == n * (m // 2 + m - 1)
    assert split.score_words > fused.score_words == 0


def test_a_link_need_not_carry_more_scores_than_the_schedule_says() -> None:
    for n, m in _pairs("half_ring", 16):
        schedule = GENERATORS["half_ring"](n, m)
        found = simulate(schedule)
        assert found.score_links == (schedule.score_links or 0)
        assert found.score_links <= 3


@pytest.mark.parametrize(
    ("name", "n", "m", "text"),
    [
        ("ring", 10, 4, "m must divide n: n=10, m=4; use n=12, or m=1, 2, 5 or 10"),
        ("half_ring", 7, 2, "m must divide n: n=7, m=2; use n=8, or m=1 or 7"),
        ("half_fused", 1, 2, "m must divide n: n=1, m=2; use n=2, or m=1"),
        ("contiguous", 0, 2, "n must be at least 1: n=0; write 1 or more"),
        ("striped", 4, 0, "m must be at least 1: m=0; write 1 or more"),
        ("causal_half", 3, -1, "m must be at least 1: m=-1; write 1 or more"),
        ("zigzag", 12, 4, "2 m must divide n: n=12, m=4; use n=16, or m=1, 2, 3 or 6"),
        ("zigzag", 5, 1, "2 m must divide n: n=5, m=1; use n=6, or another n: no m fits this one"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(name: str, n: int, m: int, text: str) -> None:
    for refused in (GENERATORS[name], lambda n, m: closed_form(name, n, m)):
        with pytest.raises(ScheduleError) as found:
            refused(n, m)
        assert str(found.value) == text


def test_an_unknown_schedule_has_no_closed_form() -> None:
    with pytest.raises(ScheduleError, match=r"^no such schedule: 'zigzga'; did you mean zigzag\?$"):
        closed_form("zigzga", 8, 2)
    # It has no phases, so no scores alone.
    with pytest.raises(ScheduleError, match="no such schedule: 'half_fused'"):
        closed_form("half_fused", 8, 2, scores=True)


def test_closed_forms_of_one_element_have_no_tail() -> None:
    assert closed_form("half_fused", 5, 1) == 15 + 25
    assert closed_form("causal_half", 5, 1) == 30
    assert closed_form("half_fused", 8, 2) == (50, 60)


def test_what_must_be_sent_sooner_than_it_can_be_is_not_sent() -> None:
    one = Journey(vector("x", 0), 0, (3,), (2,))
    assert send([one], 2, 8) is None
    before = Journey(vector("x", 0), 0, (0, 1), (5, 0))
    assert send([before], 2, 8) is None
    with pytest.raises(ScheduleError, match="cannot be sent in time over 2 words a link"):
        send_with_least([one], 2, 5, most=2)


def test_a_link_gives_way_to_what_could_be_sent_no_sooner() -> None:
    tight = Journey(Item("partial", 1, 1), 0, (4,), (4,))
    loose = Journey(vector("x", 0), 0, (0,), (4,))
    for journeys in ([tight, loose], [loose, tight]):
        sent = send(journeys, 2, 1)
        assert sent is not None
        assert sorted(sent) == [(3, 0, loose.item), (4, 0, tight.item)]
    # Two of them fit no link of one word.
    other = Journey(Item("partial", 2, 2), 0, (4,), (4,))
    assert send_with_least([tight, other], 2, 9)[1] == 2


def test_figures_are_those_of_the_schedule_alone() -> None:
    found = simulate(GENERATORS["half_fused"](8, 4))
    assert isinstance(found, Figures)
    assert found == simulate(GENERATORS["half_fused"](8, 4))
    assert found.operations == 36 + 64 + 8

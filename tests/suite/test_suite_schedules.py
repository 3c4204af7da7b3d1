"""Suites that simulate schedules, alone or beside what they time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import OptionError, SuiteError
from harness.schedule import GENERATORS
from harness.suite import ScheduleCase, load_suite
from harness.suite.schedules import MAX_OPERATIONS
from harness.workload import VariantSpec

ALONE = """\
name: rings
schedules:
  - {schedule: [ring, zigzag], vectors: [8, 16], elements: [2, 4]}
  - schedule: half_fused
    vectors: 8
    elements: 2
"""
Write = Callable[[str], str]


def refused(path: str) -> str:
    with pytest.raises(SuiteError) as caught:
        load_suite(path)
    return str(caught.value).replace(f"{Path(path).parent}/", "")


def test_lists_sweep_and_nothing_is_timed(write: Write) -> None:
    suite = load_suite(write(ALONE))
    assert [str(case) for case in suite.schedules[:3]] == [
        "ring n=8 m=2",
        "ring n=8 m=4",
        "ring n=16 m=2",
    ]
    assert len(suite.schedules) == 2 * 2 * 2 + 1
    assert (suite.counts(), list(suite.blocks()), suite.baseline) == ((0, 0), [], None)
    assert len({case.id for case in suite.schedules}) == 9


def test_beside_workloads_both_are_run(write: Write, good_text: str) -> None:
    both = load_suite(write(good_text + ALONE.split("\n", 1)[1]))
    timed = load_suite(write(good_text))
    assert both.counts() == timed.counts() != (0, 0)
    assert len(both.schedules) == 9
    assert both.hash != timed.hash
    assert "schedules" not in timed._content(), "the hash of suites without them must not change"


def test_where_keeps_what_it_says(write: Write, good_text: str) -> None:
    text = good_text + ALONE.split("\n", 1)[1]
    suite = load_suite(write(text), where=["elements==4 and vectors<=8"])
    assert [str(case) for case in suite.schedules] == ["ring n=8 m=4", "zigzag n=8 m=4"]
    assert suite.counts() == load_suite(write(good_text)).counts()
    suite = load_suite(write(text), where=["schedule in [ring, half_fused]", "q_len==8"])
    assert {case.schedule for case in suite.schedules} == {"ring", "half_fused"}
    assert {workload.q_len for workload in suite.workloads()} == {8}
    with pytest.raises(OptionError, match="no case is left; the suite has vectors 8, 16"):
        load_suite(write(ALONE), where=["vectors>100"])
    with pytest.raises(OptionError, match="has no schedules; leave it out"):
        load_suite(write(good_text), where=["elements==4"])
    for condition in ("q_len==8", "variant==plain"):
        with pytest.raises(OptionError, match="the suite has no workloads; leave it out"):
            load_suite(write(ALONE), where=[condition])
    with pytest.raises(OptionError, match="vectors is compared with a whole number, found"):
        load_suite(write(ALONE), where=["vectors==many"])


def test_what_changes_workloads_is_refused_where_there_are_none(write: Write) -> None:
    path = write(ALONE)
    with pytest.raises(OptionError, match=r"--set q_len: .* has no workloads; leave it out"):
        load_suite(path, overrides=["q_len=8"])
    with pytest.raises(OptionError, match=r"--variant plain: .* simulates schedules"):
        load_suite(path, variants=[VariantSpec("plain")])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[ring, zigzag]", "rign", "s.yaml:3: schedules[0].schedule: unknown schedule, found "),
        ("[ring, zigzag]", "[ring, 7]", "s.yaml:3: schedules[0].schedule[1]: must be text"),
        ("[8, 16]", "[8, 0]", "s.yaml:3: schedules[0].vectors[1]: must be a whole number of at "),
        ("[8, 16]", "[]", "s.yaml:3: schedules[0].vectors: an empty sweep, found []"),
        ("[8, 16]", "[8, 8]", "s.yaml:3: schedules[0]: duplicate schedule: ring n=8 m=2"),
        ("[8, 16]", "4096", "s.yaml:2: schedules: at most 4,000,000 operations, found"),
        ("    vectors: 8\n", "", "s.yaml:4: schedules[1]: vectors is missing; write - {"),
        ("vectors: 8", "vectors: 8\n    colour: 2", "schedules[1].colour: unknown field"),
        ("half_fused", "ring", "s.yaml:4: schedules[1]: duplicate schedule: ring n=8 m=2 stands"),
        ("schedules:", "baseline: plain\nschedules:", "s.yaml:1: file: variants is missing"),
        ("schedules:", "claims: []\nschedules:", "s.yaml:1: file: variants is missing"),
    ],
)
def test_mistakes_are_named(write: Write, old: str, new: str, said: str) -> None:
    assert ALONE.count(old) >= 1
    assert said in refused(write(ALONE.replace(old, new, 1)))


@pytest.mark.parametrize("entries", ["[]", "7", "[ring]"])
def test_what_is_no_list_of_mappings_is_refused(write: Write, entries: str) -> None:
    text = refused(write(f"name: rings\nschedules: {entries}\n"))
    assert text.endswith("write - {schedule: ring, vectors: [16, 64], elements: 4}")


def test_a_claim_is_of_workloads(write: Write, good_text: str) -> None:
    claim = "claims: [{claim: c, source: s, quantity: time, of: plain, expected: [1, 2], where: "
    text = good_text + ALONE.split("\n", 1)[1] + claim + '"vectors==8"}]\n'
    assert "claims[0].where: is of workloads, found vectors; drop it" in refused(write(text))


def test_the_shipped_suite_has_every_schedule() -> None:
    cases = load_suite("schedules").schedules
    assert {case.schedule for case in cases} == set(GENERATORS)
    assert len({case.vectors for case in cases}) >= 4
    assert len({case.elements for case in cases}) >= 3
    assert sum(case.most_operations for case in cases) < MAX_OPERATIONS / 2


def test_the_same_schedule_has_the_same_id() -> None:
    one, other = (ScheduleCase(schedule="ring", vectors=8, elements=m) for m in (2, 4))
    assert one.id == ScheduleCase(schedule="ring", vectors=8, elements=2).id != other.id

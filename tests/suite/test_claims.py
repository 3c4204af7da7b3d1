"""Claims in a suite's file: what they turn into, and what is said of each mistake."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from harness.analysis.growth import LEAST_LENGTHS
from harness.suite import load_suite
from harness.suite.claim import LEAST_POINTS, Claim, apart, but_for, differing, position, within
from harness.workload import Workload

Edited = Callable[[str, str], str]
Refusal = Callable[[str], str]
Write = Callable[[str], str]

SUITE = """\
name: small
variants: [plain, {blocked: {size: [64, 128]}}]
baseline: plain
workloads:
  - {heads: 2, q_len: [8, 16, 32], pass: [forward, backward]}
claims:
"""
RATIO = """\
  - claim: blocks need half
    source: Table 1
    quantity: memory_ratio
    of: plain
    over: {blocked: {size: 64}}
    where: q_len==16 and pass==forward
    expected: 2
    tolerance: 0.1
    trend: [1, null]
    note: on paper
"""
GROWTH = """\
  - claim: it grows linearly
    source: Table 2
    quantity: time_growth
    of: blocked
    where: pass==forward
    expected: [0.9, 1.1]
"""
LOST = "  - {claim: it learns, source: Table 3, not_testable: needs training}\n"


def workload(**given: object) -> Workload:
    return Workload.model_validate({"heads": 4, "q_len": 64, "threads": 1, **given})


def test_claims_are_read_with_what_they_name(write: Write) -> None:
    ratio, growth, lost = load_suite(write(SUITE + RATIO + GROWTH + LOST)).claims
    assert (ratio.of, ratio.over, ratio.form, ratio.measure) == (
        "plain", "blocked(size=64)", "ratio", "memory",
    )  # fmt: skip
    assert ratio.allowed == (1.9, 2.1)
    assert ratio.trend == (1.0, None)
    assert (growth.of, growth.form, growth.along, growth.allowed) == (
        "blocked", "growth", "q_len", (0.9, 1.1),
    )  # fmt: skip
    assert (lost.not_testable, lost.quantity) == ("needs training", "")


def test_a_manifest_keeps_claims_as_they_were(write: Write) -> None:
    suite = load_suite(write(SUITE + RATIO + GROWTH + LOST))
    kept = json.loads(json.dumps(suite.as_dict()["claims"]))
    assert [Claim.model_validate(one) for one in kept] == list(suite.claims)
    assert load_suite(write(SUITE.removesuffix("claims:\n"))).as_dict()["claims"] == []


def test_claims_do_not_change_what_is_run(write: Write) -> None:
    with_claims = load_suite(write(SUITE + RATIO)).hash
    assert load_suite(write(SUITE.removesuffix("claims:\n"))).hash == with_claims


def test_claims_are_of_the_file_whatever_the_command_line_changes(write: Write) -> None:
    path = write(SUITE + RATIO + GROWTH)
    assert len(load_suite(path, where=["q_len==8"]).claims) == 2
    assert len(load_suite(path, overrides=["q_len=7"]).claims) == 2


def test_a_device_that_is_not_there_is_no_mistake(write: Write) -> None:
    text = RATIO.replace("q_len==16", "device==cuda and q_len==16")
    for cuda in (False, True):
        assert load_suite(write(SUITE + text), cuda=cuda).claims
    both = SUITE.replace("heads: 2", "heads: 2, device: [cpu, cuda]") + text
    assert load_suite(write(both)).claims


MISTAKES = [
    (RATIO, "source", "sorce", "claims[0].sorce: unknown key; did you mean source?"),
    (RATIO, "    source: Table 1\n", "", "s.yaml:7: claims[0]: source is missing; write source:"),
    (RATIO, "Table 1", "3", "s.yaml:8: claims[0].source: must be text, found 3; write it in quo"),
    (RATIO, "Table 1", "' '", 'claims[0].source: must be text, found " " (text); write it in'),
    (RATIO, "note: on paper", "note: [x]", 'claims[0].note: must be text, found ["x"] (a list)'),
    (
        RATIO,
        "    quantity: memory_ratio\n",
        "",
        "s.yaml:7: claims[0]: quantity is missing; write quantity: memory_ratio, for example, or "
        "not_testable: and the reason",
    ),
    (
        RATIO,
        "memory_ratio",
        "memroy_ratio",
        's.yaml:9: claims[0].quantity: unknown quantity, found "memroy_ratio" (text); did you mean '
        "memory_ratio",
    ),
    (RATIO, "    of: plain\n", "", "s.yaml:7: claims[0]: of is missing, found a ratio; write of:"),
    (
        RATIO,
        "    over: {blocked: {size: 64}}\n",
        "",
        "claims[0]: over is missing, found a ratio; write over:",
    ),
    (RATIO, "of: plain", "of: plian", 's.yaml:10: claims[0].of: unknown variant, found "plian" (t'),
    (
        RATIO,
        "size: 64",
        "size: 32",
        "s.yaml:11: claims[0].over: is not among the variants, found blocked(size=32); did you",
    ),
    (
        RATIO,
        "size: 64",
        "size: [64]",
        "s.yaml:11: claims[0].over.blocked.size: each side of a claim is one variant, found the l",
    ),
    (RATIO, "{blocked: {size: 64}}", "plain", "claims[0].over: is of itself, found plain twice; n"),
    (
        RATIO,
        "memory_ratio",
        "memory",
        "s.yaml:11: claims[0].over: is of a ratio, found memory; drop over",
    ),
    (RATIO, "note: on paper", "along: q_len", "claims[0].along: is of a growth, found memory_rat"),
    # expected, tolerance, trend
    (
        RATIO,
        "    expected: 2\n",
        "",
        "s.yaml:7: claims[0]: expected is missing, found a ratio; write expected:",
    ),
    (
        RATIO,
        "expected: 2",
        "expected: twice",
        's.yaml:13: claims[0].expected: must be a number, found "twice" (text); write expected: 2 '
        "with tolerance: 0.1, or expected: [1.9, 2.1]",
    ),
    (RATIO, "    tolerance: 0.1\n", "", "claims[0].tolerance: must be a number above 0, found not"),
    (RATIO, "0.1", "0", "s.yaml:14: claims[0].tolerance: must be a number above 0, found 0; wri"),
    (RATIO, "0.1", "true", "claims[0].tolerance: must be a number above 0, found true"),
    (
        RATIO,
        "expected: 2",
        "expected: [1.9, 2.1]",
        "s.yaml:14: claims[0].tolerance: a range has its tolerance in it; drop tolerance",
    ),
    (
        GROWTH,
        "[0.9, 1.1]",
        "[1.1, 0.9]",
        "s.yaml:12: claims[0].expected: must be two numbers, the lower one first, null for an open "
        "end, found [1.1, 0.9] (a list); write expected: [59, null], for example",
    ),
    (GROWTH, "[0.9, 1.1]", "[null, null]", "claims[0].expected: must be two numbers"),
    (GROWTH, "[0.9, 1.1]", "[1]", "claims[0].expected: must be two numbers"),
    (GROWTH, "[0.9, 1.1]", "[a, 1]", "claims[0].expected: must be two numbers"),
    (
        RATIO,
        "[1, null]",
        "[2, null]",
        "s.yaml:15: claims[0].trend: must hold the expected range, found [2, null] (a list); widen",
    ),
    (RATIO, "[1, null]", "3", "claims[0].trend: must be two numbers, the lower one first"),
    # where and along
    (
        RATIO,
        "q_len==16 and pass==forward",
        "q_lem==16",
        "s.yaml:12: claims[0].where: \"q_lem==16\": unknown field 'q_lem'; did you mean q_len",
    ),
    (
        RATIO,
        "q_len==16 and",
        "variant==plain and",
        "claims[0].where: is of workloads, found variant; name it under of or over",
    ),
    (
        RATIO,
        "q_len==16 and ",
        "",
        "s.yaml:12: claims[0].where: must leave one workload of the suite, leaves 3: forward B1 H2 "
        "L8 D64 none float32 cpu; forward B1",
    ),
    (RATIO, "q_len==16", "q_len==17", "must leave one workload of the suite, leaves 0; write whe"),
    (
        GROWTH,
        "    where: pass==forward\n",
        "",
        "s.yaml:7: claims[0].where: must leave workloads that differ in q_len alone, they differ "
        "in pass; add a condition on pass",
    ),
    (
        GROWTH,
        "pass==forward",
        "pass==forward and q_len<32",
        "claims[0].where: must leave 3 workloads along q_len at least, leaves 2; widen it",
    ),
    (
        GROWTH,
        "of: blocked",
        "of: blocked\n    along: length",
        's.yaml:11: claims[0].along: unknown axis, found "length" (text); did you me',
    ),
    (GROWTH, "of: blocked", "of: blocked\n    along: window", "they differ in q_len, kv_len"),
    (LOST, "not_testable", "of: plain, not_testable", "claims[0].of: stands beside not_testable;"),
    (LOST, "needs training", "''", 'claims[0].not_testable: must be text, found "" (text); write'),
]


@pytest.mark.parametrize(("claim", "old", "new", "text"), MISTAKES)
def test_a_mistake_is_named_with_its_place_and_remedy(
    write: Write, refusal: Refusal, claim: str, old: str, new: str, text: str
) -> None:
    assert old in claim
    assert text in refusal(write(SUITE + claim.replace(old, new)))


@pytest.mark.parametrize(
    ("claims", "text"),
    [
        ("claims: {}", "s.yaml:6: claims: must be a list of mappings, found {}"),
        ("claims: 3", "s.yaml:6: claims: must be a list of mappings, found 3; write - {claim: "),
        ("claims: [x]", 's.yaml:6: claims[0]: must be a mapping, found "x" (text); write - {claim'),
    ],
)
def test_claims_that_are_wrong_as_a_whole(
    write: Write, refusal: Refusal, claims: str, text: str
) -> None:
    assert text in refusal(write(SUITE.replace("claims:", claims)))


def test_an_exponent_needs_as_many_points_as_a_growth() -> None:
    assert LEAST_POINTS == LEAST_LENGTHS


@pytest.mark.parametrize(
    ("low", "high", "is_within", "is_apart"),
    [
        (1, 2, True, False),
        (1.5, 1.5, True, False),
        (0.5, 1.5, False, False),
        (0.5, 0.9, False, True),
        (2.1, 9, False, True),
        (0, 9, False, False),
    ],
)
def test_an_interval_lies_within_a_range_apart_from_it_or_across_its_end(
    low: float, high: float, is_within: bool, is_apart: bool
) -> None:
    assert (within(low, high, (1, 2)), apart(low, high, (1, 2))) == (is_within, is_apart)
    assert within(low, high, (None, None))
    assert not apart(low, high, (None, None))
    assert within(low, high, (1, None)) == (low >= 1)
    assert apart(low, high, (None, 2)) == (low > 2)


def test_workloads_of_one_growth_differ_in_what_follows_from_the_axis_alone() -> None:
    assert differing([workload(q_len=64), workload(q_len=128)], "q_len") == []
    assert differing([workload(q_len=64, kv_len=256), workload(q_len=64)], "q_len") == ["kv_len"]
    assert differing([workload(q_len=n, kv_len=256) for n in (64, 128)], "q_len") == []
    assert differing([workload(head_dim=n) for n in (16, 64)], "head_dim") == []
    assert differing([workload(head_dim=n, scale=0.1) for n in (16, 64)], "head_dim") == []
    assert differing([workload(heads=n) for n in (2, 4)], "heads") == []
    masks = [workload(mask=f"causal+window({n})") for n in (8, 16)]
    assert differing(masks, "window") == []
    assert [position(one, "window") for one in (*masks, workload())] == [8, 16, None]
    assert but_for(masks[0], "window")["mask"] == "causal"
    assert differing(masks, "q_len") == ["mask"]

"""--where and --set: what they keep, what they change, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.errors import OptionError, SuiteError
from harness.suite import load_suite

Edited = Callable[[str, str], str]


@pytest.mark.parametrize(
    ("where", "blocks"),
    [
        (["q_len<=8"], 4),
        (["q_len < 8 and heads==2", "mask==causal"], 0),
        (["q_len<=8 and heads==2", "mask==causal"], 1),
        (["q_len>8"], 4),
        (["q_len>=8"], 8),
        (["heads!=2"], 4),
        (["heads!=3"], 8),
        (["heads=2"], 4),
        (["heads in [2, 4, 8]"], 8),
        (["mask in [causal, causal+window(8)]"], 4),
        (["pass in [forward, decode]"], 8),
        (["compile==false"], 8),
        (["scale<1"], 8),
        (["scale==0.125"], 8),
        (["variant==plain"], 8),
    ],
)
def test_where_keeps_the_workloads_that_meet_it(good: str, where: list[str], blocks: int) -> None:
    if blocks == 0:
        with pytest.raises(OptionError, match="an empty sweep"):
            load_suite(good, where=where)
    else:
        assert load_suite(good, where=where).counts()[0] == blocks


@pytest.mark.parametrize(
    ("where", "variants"),
    [
        ("variant==plain", ["plain"]),
        ("variant!=plain", ["plain", "blocked(size=64, kernel=fast)", "blocked(kernel=fast)"]),
        ("variant==blocked", ["plain", "blocked(size=64, kernel=fast)", "blocked(kernel=fast)"]),
        ("variant==blocked(kernel=fast)", ["plain", "blocked(kernel=fast)"]),
        ("variant == blocked(size=128, kernel=fast)", ["plain", "blocked(kernel=fast)"]),
        ("variant in [plain, blocked(kernel=fast, size=64)]", ["plain", "blocked(size=64, ke"]),
        ("variant!=blocked(kernel=fast)", ["plain", "blocked(size=64, ke"]),
    ],
)
def test_where_on_variants_keeps_the_baseline_too(
    good: str, where: str, variants: list[str]
) -> None:
    found = [str(variant) for variant in load_suite(good, where=[where]).variants]
    assert len(found) == len(variants)
    assert all(text.startswith(start) for text, start in zip(found, variants, strict=True))


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("q_lem<=8", "--where \"q_lem<=8\": unknown field 'q_lem'; did you mean q_len"),
        ("varient==x", "did you mean variant?"),
        ("q_len", '--where "q_len": cannot be read; write field, operator and value, as in'),
        ("", '--where "": cannot be read'),
        ("q_len<=8 and ", "cannot be read"),
        ("q_len<=x", 'q_len is compared with a whole number, found "x" (text); write a whole'),
        ("q_len<=1.5", "q_len is compared with a whole number, found 1.5"),
        ("q_len==true", "q_len is compared with a whole number, found true"),
        ("scale<x", "scale is compared with a number, found"),
        ("compile==1", "compile is compared with true or false, found 1"),
        ("inputs==low_rank(4)", "inputs: cannot read 'low_rank(4)'; write normal(s) with the st"),
        ("mask<causal", "mask has no order, found <; write mask==, != or in"),
        ("variant<plain", "variant has no order"),
        ("variant==3", "variant is a name, found 3"),
        ("mask==cuasal", "mask: unknown mask: cannot read 'cuasal' in 'cuasal'; write no"),
        ("dtype==float31", 'dtype: unknown dtype, found "float31" (text); did you mean float32'),
        ("pass in forward", "in takes a list; write pass in [a, b]"),
        ("pass in []", "in takes a list"),
        ("heads==[", "cannot read the value '['"),
        ("variant==blokced", "the suite has no variant 'blokced'; did you mean blocked"),
        ("variant==blocked(size=3)", "the suite has no variant 'blocked(size=3)'; did you mean"),
        ("variant==blocked(", "the suite has no variant 'blocked('"),
        (
            "q_len<8",
            '--where "q_len<8": an empty sweep, no case is left; the suite has q_len 8, 16',
        ),
    ],
)
def test_a_condition_that_is_wrong(good: str, where: str, text: str) -> None:
    with pytest.raises(OptionError) as caught:
        load_suite(good, where=[where])
    assert text in str(caught.value)
    assert str(caught.value).startswith("--where")


def test_set_replaces_a_field_in_every_entry(edited: Edited) -> None:
    path = edited("measure:", "  - {pass: backward, q_len: 8}\nmeasure:")
    suite = load_suite(path, overrides=["heads=1,8", "mask=causal+window(4), none"])
    assert {b.workload.heads for b in suite.blocks()} == {1, 8}
    assert {b.workload.mask for b in suite.blocks()} == {"causal+window(4)", "none"}
    assert suite.counts()[0] == 2 * 2 * 2 + 2 * 2


def test_set_reads_a_list_in_brackets_and_measure(good: str) -> None:
    suite = load_suite(good, overrides=["q_len=[4, 8]", "measure.margin=0.05", "device=auto"])
    assert {b.workload.q_len for b in suite.blocks()} == {4, 8}
    assert suite.measure.margin == 0.05
    assert suite.measure.budget_s == 1


def test_entries_that_set_makes_equal_run_once(edited: Edited) -> None:
    path = edited("measure:", "  - {q_len: 32, heads: 2}\nmeasure:")
    assert load_suite(path).counts()[0] == 9
    assert load_suite(path, overrides=["q_len=8"]).counts()[0] == 4


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("haeds=2", "--set \"haeds=2\": unknown field 'haeds'; did you mean heads"),
        ("measure.margn=2", "measure has no field 'margn'; did you mean margin"),
        ("margin=2", "unknown field 'margin'; did you mean measure.margin?"),
        ("heads", '--set "heads": no value; write field=value, as in heads=2,8'),
        ("heads=", "no value"),
        ("heads=2,x", 'heads: must be a whole number of at least 1, found "x" (text)'),
        ("heads=2,,4", "heads: must be a whole number of at least 1, found nothing"),
        ("heads=0", "heads: must be a whole number of at least 1, found 0"),
        ("mask=causal,windw(3)", "mask: unknown mask: cannot read 'windw(3)'"),
        ("inputs=low_rank(0, 2)", "inputs: cannot read 'low_rank(0, 2)'; write normal(s) with"),
        ("measure.margin=2", "measure.margin: must be a number above 0 and below 1, found 2"),
        ("measure.margin=.nan", "cannot read the value '.nan': must be a finite number"),
    ],
)
def test_a_setting_that_is_wrong(good: str, setting: str, text: str) -> None:
    with pytest.raises(OptionError) as caught:
        load_suite(good, overrides=[setting])
    assert text in str(caught.value)


def test_a_setting_that_fits_no_entry_is_named(edited: Edited) -> None:
    path = edited("[2, 4]", "4\n    kv_heads: 2")
    with pytest.raises(SuiteError, match=r"kv_heads must divide heads.* \(with --set heads=3\)"):
        load_suite(path, overrides=["heads=3"])

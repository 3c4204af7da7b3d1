"""Each mistake in a suite file gives its file, line, field, what was found and what to write."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Edited = Callable[[str, str], str]
Refusal = Callable[[str], str]
Write = Callable[[str], str]

MISTAKES = [
    # unknown names, at every level
    ("measure:", "mesure:", "s.yaml:11: mesure: unknown key; did you mean measure?"),
    ("name: small", "name: small\ntasks: []", "s.yaml:2: tasks: unknown key"),
    ("heads: [2", "haeds: [2", "s.yaml:8: workloads[0].haeds: unknown field; did you mean heads"),
    ("pass:", "pass_:", "s.yaml:7: workloads[0].pass_: unknown field; did you mean pass?"),
    ("budget_s", "budget", "s.yaml:11: measure.budget: unknown key; did you mean budget_s?"),
    ("- plain", "- plian", 's.yaml:3: variants[0]: unknown variant, found "plian" (text); did you'),
    (
        "- plain",
        "- blocked(size=2)",
        's.yaml:3: variants[0]: unknown variant, found "blocked(size=2)" (text); write a name or {',
    ),
    ("size:", "sise:", "s.yaml:4: variants[1].blocked.sise: unknown parameter 'sise'; did you"),
    # variants
    (
        "fast",
        "fasst",
        "s.yaml:4: variants[1].blocked.kernel: kernel must be naive | fast, found 'f",
    ),
    ("[64,", "[x,", "s.yaml:4: variants[1].blocked.size[0]: size must be int, found 'x'"),
    ("[64, 128]", "true", "s.yaml:4: variants[1].blocked.size: size must be int, found True"),
    ("[64, 128]", "[]", "s.yaml:4: variants[1].blocked.size: an empty sweep, found []; write a"),
    ("[64, 128]", "[64, 64]", "s.yaml:4: variants[1]: duplicate variant: its lists give blocked("),
    (
        "- blocked: {size: [64, 128], kernel: fast}",
        "- blocked\n  - blocked: {size: 128}",
        "s.yaml:5: variants[2]: duplicate variant: blocked stands in variants[1] (line 4) too; dr",
    ),
    (
        "- plain",
        "- [plain]",
        's.yaml:3: variants[0]: must be one variant, found ["plain"] (a list)',
    ),
    ("{size: [64, 128], kernel: fast}", "7", "variants[1].blocked: must be a mapping of param"),
    # the baseline
    (
        "baseline: plain",
        "baseline: blocked",
        "s.yaml:5: baseline: is not among the variants, found",
    ),
    (
        "baseline: plain",
        "baseline: {blocked: {size: 64}}",
        "found blocked(size=64); did you mean blocked(size=64, kernel=fast)",
    ),
    (
        "baseline: plain",
        "baseline: {blocked: {size: [64]}}",
        "s.yaml:5: baseline.blocked.size: the baseline is one variant, found the list [64]",
    ),
    ("baseline: plain\n", "", "s.yaml:1: file: baseline is missing, found name, variants, work"),
    # fields of a workload
    ("causal]", "cuasal]", "s.yaml:10: workloads[0].mask[1]: unknown mask: cannot read 'cuasal'"),
    ("causal]", "window(0)]", "window(w) takes a whole number of keys, w >= 1"),
    ("pass: forward", "pass: forwrd", 's.yaml:7: workloads[0].pass: unknown pass, found "forwrd"'),
    ("pass: forward", "pass:", "s.yaml:7: workloads[0].pass: must be one of forward, backward"),
    ("heads: [2, 4]", "dtype: float31", 'workloads[0].dtype: unknown dtype, found "float31" (tex'),
    ("heads: [2, 4]", "device: gpu", 'unknown device, found "gpu" (text); did you mean cpu'),
    (
        "[2, 4]",
        '"4"',
        's.yaml:8: workloads[0].heads: must be a whole number of at least 1, found "4" (text); '
        "write heads: 4",
    ),
    ("[2, 4]", "true", "workloads[0].heads: must be a whole number of at least 1, found true; wr"),
    ("[8, 16]", "1.5", "s.yaml:9: workloads[0].q_len: must be a whole number of at least 1, found"),
    ("[8, 16]", "[8, 0]", "s.yaml:9: workloads[0].q_len[1]: must be a whole number of at least 1"),
    ("[8, 16]", "-8", "workloads[0].q_len: must be a whole number of at least 1, found -8; write"),
    ("[8, 16]", "[[8]]", "workloads[0].q_len[0]: must be a whole number of at least 1, found [8]"),
    ("[8, 16]", "", "workloads[0].q_len: must be a whole number of at least 1, found nothing; wr"),
    ("heads: [2, 4]", "compile: 1", "workloads[0].compile: must be true or false, found 1; write"),
    ("heads: [2, 4]", "scale: 0", "workloads[0].scale: must be a number above 0, found 0; write"),
    ("heads: [2, 4]", "inputs: uniform", "s.yaml:8: workloads[0].inputs: cannot read 'unifor"),
    (
        "heads: [2, 4]",
        "inputs: [normal(2), low_rank(2, 2)]",
        "s.yaml:8: workloads[0].inputs[1]: cannot read 'low_rank(2'; write normal(s)",
    ),
    (
        "heads: [2, 4]",
        'inputs: ["low_rank(65, 2)"]',
        "s.yaml:8: workloads[0].inputs: inputs: a rank is at most head_dim: low_rank(65, 2), he",
    ),
    ("    q_len: [8, 16]\n", "", "s.yaml:7: workloads[0]: q_len is missing; write q_len: [256"),
    ("pass: forward", "pass: decode", "workloads[0].pass: decode needs the length of the cache"),
    (
        "pass: forward",
        "pass: decode\n    kv_len: 8",
        "workloads[0].q_len: decode takes one query: q_len=8; leave q_len out",
    ),
    (
        "heads: [2, 4]",
        "heads: 12\n    kv_heads: 5",
        "s.yaml:9: workloads[0].kv_heads: kv_heads must divide heads: heads=12, kv_heads=5; use",
    ),
    (
        "heads: [2, 4]",
        "heads: 4000000000000000007\n    kv_heads: 5",
        "kv_heads must divide heads: heads=4000000000000000007",
    ),
    # empty sweeps and duplicates
    ("[8, 16]", "[]", "s.yaml:9: workloads[0].q_len: an empty sweep, found []; write q_len: with"),
    ("[8, 16]", "[8, 8]", "s.yaml:9: workloads[0].q_len: duplicate case: the list gives forward B"),
    ("[2, 4]", "2\n    kv_heads: [null, 2]", "s.yaml:9: workloads[0].kv_heads: duplicate case"),
    (
        "measure:",
        "  - {q_len: [4, 8], heads: 2}\nmeasure:",
        "s.yaml:11: workloads[1]: duplicate case: forward B1 H2 L8 D64 none float32 cpu stands in "
        "workloads[0] (line 7) too; drop it from one of them",
    ),
    ("[8, 16]", f"{list(range(1, 20_000))}", "workloads: at most 100,000 cases, found 239,988; w"),
    (
        "[64, 128]",
        f"{list(range(400))}, ratio: {[float(x) for x in range(400)]}",
        "s.yaml:4: variants[1]: at most 100,000 cases, found 160,000 variants",
    ),
    # measure
    ("budget_s: 1", "margin: 0", "s.yaml:11: measure.margin: must be a number above 0 and below 1"),
    ("budget_s: 1", "margin: 1", "measure.margin: must be a number above 0 and below 1, found 1;"),
    (
        "budget_s: 1",
        "margin: 1e0",
        "measure.margin: must be a number above 0 and below 1, found 1.",
    ),
    ("budget_s: 1", "alpha: '0.1'", 'found "0.1" (text); write alpha: 0.1'),
    ("budget_s: 1", "budget_s: -1", "measure.budget_s: must be a number above 0, found -1; write"),
    ("budget_s: 1", "launches: 1", "measure.launches: must be a whole number of at least 2, found"),
    ("budget_s: 1", "timeout_s: .inf", "s.yaml:11: measure.timeout_s: must be a finite number, f"),
    ("budget_s: 1", "margin: .nan", "measure.margin: must be a finite number, found .nan"),
    ("budget_s: 1", "familywise: 1", "measure.familywise: must be true or false, found 1"),
    ("{budget_s: 1}", "3", "s.yaml:11: measure: must be a mapping, found 3"),
    # the top
    ("name: small", "name: a/b", "s.yaml:1: name: must be letters, digits, _, . and -, 80 at most"),
    ("name: small", "name: 3", "s.yaml:1: name: must be letters"),
    ("name: small", "name: a\ndescription: 3", "s.yaml:2: description: must be text, found 3"),
]


@pytest.mark.parametrize(("old", "new", "text"), MISTAKES)
def test_a_mistake_is_named_with_its_place_and_remedy(
    edited: Edited, refusal: Refusal, old: str, new: str, text: str
) -> None:
    assert text in refusal(edited(old, new))


WHOLE = [
    ("", "s.yaml:1: file: is empty; write name, variants, baseline and workloads"),
    ("# nothing\n", "s.yaml:1: file: is empty"),
    (
        "- name: x\n",
        's.yaml:1: file: must be a mapping, found [{"name": "x"}] (a list); write name',
    ),
    ("quick", 's.yaml:1: file: must be a mapping, found "quick" (text)'),
    ("{}", "s.yaml:1: file: name is missing, found no key; write name: ..."),
    (
        "name: x\nvariants: []\nbaseline: plain\nworkloads: [{q_len: 1}]",
        "s.yaml:2: variants: an empty sweep, found []; name a variant",
    ),
    ("name: x\nvariants: plain\nbaseline: plain\nworkloads: []", "s.yaml:2: variants: must be a l"),
    (
        "name: x\nvariants: [plain]\nbaseline: plain\nworkloads: []",
        "s.yaml:4: workloads: an empty sweep, found []; write",
    ),
    ("name: x\nvariants: [plain]\nbaseline: plain\nworkloads: {a: 1}", "s.yaml:4: workloads: must"),
    (
        "name: x\nvariants: [plain]\nbaseline: plain\nworkloads: [3]",
        "s.yaml:4: workloads[0]: must be a mapping of fields, found 3",
    ),
]


@pytest.mark.parametrize(("text", "says"), WHOLE)
def test_a_file_that_is_wrong_as_a_whole(
    write: Write, refusal: Refusal, text: str, says: str
) -> None:
    assert says in refusal(write(text))


def test_an_unknown_suite_has_near_names(refusal: Refusal) -> None:
    assert refusal("quik") == "'quik': there is no such suite; did you mean quick?"
    assert "'quikc.yaml': there is no such file; did you mean quick" in refusal("quikc.yaml")
    assert "there is no such suite; use one of" in refusal("")
    assert "there is no such suite" in refusal("a\0b")
    assert "there is no such suite" in refusal("x" * 5000)

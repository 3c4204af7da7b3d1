"""Bad input: one clear line, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import TINY, Call

Refusal = Callable[..., str]

SUITES = {
    "unknown key": ("budget_s", "budget", "tiny.yaml:11: measure.budget: unknown key"),
    "unknown variant": ("- softmax", "- softmx", "did you mean softmax?"),
    "unknown parameter": ("{backend: math}", "{backnd: math}", "did you mean backend?"),
    "unknown value": ("{backend: math}", "{backend: maths}", "backend"),
    "unknown mask": ("q_len: 32", "q_len: 32\n    mask: casual", "tiny.yaml:9: workloads[0].mask"),
    "unknown dtype": ("q_len: 32", "q_len: 32\n    dtype: fp8", "workloads[0].dtype"),
    "unknown pass": ("q_len: 32", "q_len: 32\n    pass: sideways", "workloads[0].pass"),
    "wrong type": ("q_len: 32", "q_len: many", "tiny.yaml:8: workloads[0].q_len"),
    "kv_heads": ("heads: 1", "heads: 12\n    kv_heads: 5", "kv_heads=5"),
    "zero": ("q_len: 32", "q_len: 0", "tiny.yaml:8: workloads[0].q_len"),
    "negative": ("heads: 1", "heads: -1", "tiny.yaml:7: workloads[0].heads"),
    "empty sweep": ("q_len: 32", "q_len: []", "an empty sweep"),
    "baseline": ("baseline: softmax", "baseline: chunked", "is not among the variants"),
    "duplicate": ("q_len: 32", "q_len: [32, 32]", "duplicate"),
    "syntax": ("q_len: 32", "q_len: [32", "tiny.yaml:"),
    "alias bomb": ("q_len: 32", "q_len: &a [*a, *a]", "tiny.yaml:"),
}


@pytest.mark.parametrize("kind", SUITES)
def test_a_wrong_suite_names_file_line_and_field(refusal: Refusal, folder: Path, kind: str) -> None:
    old, new, text = SUITES[kind]
    assert TINY.count(old) >= 1
    (folder / "tiny.yaml").write_text(TINY.replace(old, new, 1))
    line = refusal("run", "tiny.yaml", "--out", "run")
    assert line.startswith("tiny.yaml:")
    assert text in line


def test_a_file_of_100_mb_is_refused_by_its_size(refusal: Refusal, folder: Path) -> None:
    with (folder / "tiny.yaml").open("wb") as file:
        file.truncate(100 << 20)
    assert "at most 1,048,576 bytes, found 104,857,600 bytes" in refusal("run", "tiny.yaml")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("run quik", "did you mean quick?"),
        ("run missing.yaml", "missing.yaml"),
        ("run tiny.yaml --variant softmx", "unknown variant 'softmx'; did you mean softmax?"),
        ("run tiny.yaml --variant polynomial(degre=2)", "did you mean degree"),
        ("run tiny.yaml --variant polynomial(degree=two)", "degree must be int, found 'two'"),
        ("run tiny.yaml --variant nowhere.py", "--variant nowhere.py: no such file"),
        ("run tiny.yaml --set q_le=8", "unknown field 'q_le'; did you mean q_len"),
        ("run tiny.yaml --set q_len=x", '--set "q_len=x": q_len'),
        ("run tiny.yaml --where q_le<=8", "unknown field 'q_le'; did you mean q_len"),
        ("run tiny.yaml --where q_len>99", "no case is left; the suite has q_len 32"),
        ("run tiny.yaml --budget 0", "--budget must be above 0 seconds, found 0; write 60"),
        ("run tiny.yaml --budget -3", "--budget must be above 0 seconds, found -3; write 60"),
        ("run tiny.yaml --budget nan", "--budget must be above 0 seconds, found nan; write 60"),
        ("run tiny.yaml --resume", "--resume needs the run's folder; add --out DIR"),
        ("run tiny.yaml --resume --out no", "no: holds no run to resume; leave --resume out"),
        ("run tiny.yaml --out tiny.yaml", "--out tiny.yaml: cannot be written"),
        ("show softmx", "no variant, suite or run is named 'softmx'; did you mean softmax?"),
        ("show quik", "no variant, suite or run is named 'quik'; did you mean quick?"),
        ("export nothing", "nothing: not a run"),
        ("report nothing", "nothing: not a run"),
    ],
)
def test_a_wrong_word_says_what_to_write(refusal: Refusal, words: str, text: str) -> None:
    assert text in refusal(*words.split())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("rnu quick", "no command 'rnu'; did you mean run?"),
        ("run quick --budgt 3", "'--budget'"),
        ("run quick --budget soon", "'soon' is not a valid float"),
        ("run quick --device gpu", "'gpu' is not one of 'auto', 'cpu', 'cuda'"),
        ("run", "Missing argument 'SUITE'"),
        ("list varants", "No such command 'varants'"),
        ("export x --format xml", "'xml' is not one of"),
    ],
)
def test_a_wrong_option_ends_with_usage_and_one_error(call: Call, words: str, text: str) -> None:
    answer = call(*words.split())
    assert (answer.code, answer.out) == (2, "")
    assert "Traceback" not in answer.err
    assert answer.err.startswith("Usage: attnbench")
    assert text in answer.err.splitlines()[-1]


FILES = {
    "does not import": ("import nowhere_at_all\n", "bad.py:1: does not import"),
    "is no Python": ("def (\n", "bad.py:1: does not import: SyntaxError"),
    "leaves": ("import sys\nsys.exit(0)\n", "bad.py:2: does not import: SystemExit"),
    "registers nothing": ("x = 1\n", "bad.py: registers no variant"),
    "is empty": ("", "bad.py: registers no variant"),
    "reuses a name": (
        "from dataclasses import dataclass\nfrom harness import AttentionOp, register\n"
        "@register('softmax')\n@dataclass(frozen=True)\nclass Mine(AttentionOp): pass\n",
        "the name is taken by",
    ),
    "registers no dataclass": (
        "from harness import AttentionOp, register\n"
        "@register('mine')\nclass Mine(AttentionOp): pass\n",
        "be a frozen dataclass",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_wrong_variant_file_is_named(refusal: Refusal, folder: Path, kind: str) -> None:
    content, text = FILES[kind]
    (folder / "bad.py").write_text(content)
    line = refusal("run", "tiny.yaml", "--variant", "bad.py")
    assert str(folder / "bad.py") in line
    assert text in line


def test_a_folder_that_cannot_be_written_is_refused(refusal: Refusal, folder: Path) -> None:
    (folder / "file").write_text("")
    line = refusal("run", "tiny.yaml", "--out", "file/run")
    assert line.startswith("--out file/run: cannot be written (")
    if os.geteuid() != 0:  # root may write anywhere
        (folder / "closed").mkdir(mode=0o500)
        assert "cannot be written" in refusal("run", "tiny.yaml", "--out", "closed/run")


def test_a_manifest_that_is_no_runs_is_refused(refusal: Refusal, folder: Path) -> None:
    (folder / "run").mkdir()
    (folder / "run" / ".lock").write_text("")
    (folder / "run" / "manifest.json").write_text("[]")
    assert "schema 'list' is not 2" in refusal("run", "tiny.yaml", "--out", "run")
    (folder / "run" / "manifest.json").unlink()
    (folder / "run" / "records.jsonl").write_text("")
    line = refusal("run", "tiny.yaml", "--out", "run")
    assert line == "run: holds records without a manifest; name another --out"

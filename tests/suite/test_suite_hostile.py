"""Files made to break the reader are refused, quickly and by a SuiteError."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import SuiteError
from harness.suite import load_suite
from harness.suite.document import MAX_BYTES

Refusal = Callable[[str], str]
Write = Callable[[str], str]

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 60))
HOSTILE = [
    (BOMB, "s.yaml:6: file: more than 100,000 values, aliases written out; write a shorter"),
    (CHAIN, "file: nested more than 32 deep"),
    ("name: &a [*a]\n", "s.yaml:1: file: an alias stands inside what it names; write the values"),
    ("a: &a {b: [*a]}\n", "an alias stands inside what it names"),
    ("[" * 5000, "s.yaml:1: file: nested more than 32 deep"),
    ("- " * 5000, "s.yaml:1: file: nested more than 32 deep"),
    ("[" + "1," * 100_001 + "]", "file: more than 100,000 values"),
    ("name: x\nname: y\n", "s.yaml:2: name: stands twice, first on line 1; write it once"),
    (
        "m:\n  - {a: 1,\n     a: 2}\n",
        "s.yaml:3: m[0].a: stands twice, first on line 2; write it on",
    ),
    ("name: x\nb: [1, 2\nc: 3\n", "s.yaml:3: file: not YAML: while parsing a flow sequence, expec"),
    (
        "name: x\n\tb: 1\n",
        "s.yaml:2: file: not YAML: while scanning for the next token, found char",
    ),
    ("a: 1\n---\nb: 2\n", "s.yaml:2: file: not YAML: expected a single document in the stream"),
    ("a: 1\nb: *x\n", "s.yaml:2: file: not YAML: found undefined alias 'x'"),
    ("a: 1\nb: \x07\n", "s.yaml:2: file: not YAML: the character 7 may not stand here; remove it"),
    (
        "name: !!python/object/apply:os.system [id]\n",
        "s.yaml:1: name: the tag !!python/object/apply:os.system is not accepted; write plain YAML",
    ),
    ("name: !mine x\n", "s.yaml:1: name: the tag !mine is not accepted"),
    ("name: !!set {a, b}\n", "s.yaml:1: name: the tag !!set is not accepted"),
    ("name: !!binary aGk=\n", "s.yaml:1: name: the tag !!binary is not accepted"),
    ("name: !!int x\n", "s.yaml:1: name: cannot read 'x' as int; write it plainly"),
    ("name: !!bool x\n", "s.yaml:1: name: cannot read 'x' as bool"),
    ("name: !!int ''\n", "s.yaml:1: name: cannot read '' as int"),
    (f"name: {'9' * 5000}\n", "s.yaml:1: name: "),
    (f"name: 0x{'f' * 5000}\n", "s.yaml:1: name: is too large a number, found 0xfff"),
    ("name: x\nmeasure: {budget_s: 1:30}\n", "s.yaml:2: measure.budget_s: '1:30' is read in base"),
    ("name: 9e999\n", "s.yaml:1: name: must be a finite number, found 9e999"),
    ('name: "\\uD800"\n', "s.yaml:1: name: half a character (a surrogate) is no text"),
    ('name: "\\UFFFFFFFF"\n', "file: not YAML: "),
    ("[a, b]: 1\n", "s.yaml:1: file: a key must be a word, found a list or mapping"),
]


@pytest.mark.parametrize(("text", "says"), HOSTILE)
def test_hostile_text_is_refused_at_once(
    write: Write, refusal: Refusal, text: str, says: str
) -> None:
    path = write(text)
    begin = time.perf_counter()
    assert says in refusal(path)
    assert time.perf_counter() - begin < 20


def test_aliases_within_reason_are_read(write: Write) -> None:
    text = "name: x\nvariants: [plain]\nbaseline: plain\nworkloads:\n"
    text += "- {q_len: &l [4, 8], pass: forward}\n- {q_len: *l, pass: backward}\n"
    assert load_suite(write(text)).counts() == (4, 4)


def test_a_large_file_is_refused_by_its_size_alone(
    tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.yaml"
    with path.open("wb") as stream:
        stream.truncate(100_000_000)

    def unread(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the file was opened")

    monkeypatch.setattr(Path, "open", unread)
    assert refusal(str(path)) == (
        "s.yaml:1: file: a suite has at most 1,048,576 bytes, found 100,000,000 bytes; "
        "write a shorter file: lists sweep"
    )


def test_a_file_of_the_largest_size_is_read(write: Write, refusal: Refusal) -> None:
    assert "is empty" in refusal(write("#" * MAX_BYTES))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_regular_file_is_refused_unopened(tmp_path: Path, refusal: Refusal) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    assert "pipe.yaml:1: file: is not a regular file" in refusal(str(tmp_path / "pipe.yaml"))
    assert "folder.yaml:1: file: is a folder; name a" in refusal(str(tmp_path / "folder.yaml"))
    assert "/dev/zero:1: file: is not a regular file; name a" in refusal("/dev/zero")


def test_an_unreadable_file_says_why(good: str, refusal: Refusal) -> None:
    # A superuser may read anything, so the refusal itself is put in place of a mode.
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        text = refusal(good)
    assert text == (
        "s.yaml:1: file: cannot be read: Permission denied; name a file that you may read"
    )


def test_text_that_is_not_utf8_is_named_by_byte_and_line(tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / "s.yaml").write_bytes(b"name: x\n# \xe9\n")
    assert refusal(str(tmp_path / "s.yaml")) == (
        "s.yaml:2: file: is not UTF-8, found byte 0xe9; save the file as UTF-8"
    )


def test_a_byte_order_mark_is_read_over(tmp_path: Path, good: str) -> None:
    raw = Path(good).read_bytes()
    Path(good).write_bytes(b"\xef\xbb\xbf" + raw)
    assert load_suite(good).text == raw.decode()


KEYS = ["name", "variants", "baseline", "workloads", "measure"]
FIELDS = ["pass", "heads", "kv_heads", "q_len", "kv_len", "mask", "dtype", "device"]
PLAIN = ["plain", "blocked", "size", "causal", "packed(4)", "forward", "decode", "true", "1", "8"]
PLAIN += ["-1", "0", "1.5", "1e3", ".inf", "0x10", "12:30", "2026-01-01", "null"]
MARKS = ["&", "*", "&a", "*a", "!", "!!int", "!!str", "|", ">", ">-", "---", "...", "%", ":", "-"]
MARKS += ["?", "[", "]", "{", "}", ",", "#", "'", '"', "@", "<<", "=", "\\"]
WORDS = [*KEYS, *FIELDS, *PLAIN, *MARKS]
SCRAPS = st.lists(st.sampled_from([*WORDS, "\n", "\n  ", " ", ": "]), max_size=40).map(" ".join)
SCALARS = st.sampled_from(["x", "plain", 1, 8, 2.5, True, "none", "causal"])
VALUES = st.recursive(
    SCALARS | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYS, *FIELDS, *PLAIN[:3]]), inner, max_size=3)
    ),
    max_leaves=8,
)
SHAPED = st.fixed_dictionaries(
    {"name": st.just("x") | VALUES, "baseline": st.just("plain") | VALUES},
    optional={
        "variants": st.just(["plain"]) | VALUES,
        "workloads": st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES), max_size=2)
        | st.just([{"q_len": 8}]),
        "measure": VALUES,
    },
).map(yaml.safe_dump)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=st.text(max_size=60) | SCRAPS | SHAPED)
def test_any_text_loads_or_raises_a_suite_error(write: Write, text: str) -> None:
    path = Path(write(""))
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        suite = load_suite(str(path))
    except SuiteError:
        return
    assert suite.counts()[0] == len(list(suite.blocks())) > 0

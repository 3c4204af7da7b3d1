"""Variants that die, hang or lie, in the probe or in the race: each costs its own record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.faults.bench import Bench

Cases = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class End:
    """How a case should end: its status, part of its reason, and how its process ended."""

    status: str
    reason: str
    exit_code: int | None = None
    signal: str | None = None


def killed(name: str) -> End:
    return End("crashed", f"the process was killed by {name}", signal=name)


def left(code: int) -> End:
    return End("crashed", f"the process exited with code {code} without an answer", code)


DEATHS = {
    "raise": End("error", "ValueError: on purpose"),
    "recurse": End("error", "RecursionError: maximum recursion depth"),
    "hang": End("timeout", "no answer within 3 s", signal="SIGKILL"),
    "segfault": killed("SIGSEGV"),
    "abort": killed("SIGABRT"),
    "leave_0": left(0),
    "leave_7": left(7),
    "sys_exit_0": left(0),
    "sys_exit_5": left(5),
    "sys_exit_text": left(1),
    "sigkill": killed("SIGKILL"),
    "sigterm": killed("SIGTERM"),
    "nameless_signal": killed("signal 40"),
    "huge_tensor": End("oom", "allocate memory"),
    "growing_tensors": End("oom", "allocate memory"),
    "growing_list": End("oom", "MemoryError"),
}
LIES = {
    "no_answer": "returned NoneType, expected a tensor",
    "a_number": "returned float, expected a tensor",
    "a_pair": "returned tuple, expected a tensor",
    "fewer_rows": "output has shape (1, 1, 4, 16), expected (1, 1, 32, 16)",
    "fewer_dims": "output has shape (1, 32, 16), expected (1, 1, 32, 16)",
    "other_dtype": "output is torch.float64, expected torch.float32",
    "wrong": "batch 0, head 0, judged row 0 is off by",
    "not_finite": "output is not finite, first at batch 0, head 0, row 0",
}
# Only the probe looks at every row and at the inputs.
SLY = {
    "wrong_late": "batch 0, head 0, judged row 31 is off by",
    "writes_inputs": "it writes its inputs q, k or v",
}
ELSEWHERE = ("raise", "segfault", "sys_exit_5", "sigkill")
METHODS = ("unsupported", "prepare", "definition", "definition_later")
RACES = ("when=race", "when=race, call=5")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One run, of one block, with all of them in it."""
    bench = Bench(tmp_path_factory.mktemp("deaths"))
    late = f"does: {swept([*DEATHS, *LIES])}, when: race, call: [1, 5]"
    bench.suite(
        "{sdpa: {backend: math}}, faulty_elsewhere, "
        f"{{faulty: {{does: {swept([*DEATHS, *LIES, *SLY])}}}}}, {{faulty: {{{late}}}}}, "
        f"{{faulty_elsewhere: {{does: {swept(ELSEWHERE)}, method: {swept(METHODS)}}}}}"
    )
    try:
        ended = bench.run()
    finally:
        bench.end_all()
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    return bench


@pytest.fixture(scope="module")
def cases(done: Bench) -> Cases:
    return done.cases()


def swept(names: Iterable[str]) -> str:
    """A list of names as a suite writes it."""
    return f"[{', '.join(names)}]"


def check(record: dict[str, Any], end: End) -> None:
    """The record tells this end, and nothing was timed."""
    found = (record["status"], record.get("reason"))
    assert record["status"] == end.status, found
    assert end.reason in record["reason"], found
    assert not record.get("launches"), found
    failure = record["failure"]
    assert (failure.get("exit_code"), failure.get("signal")) == (end.exit_code, end.signal), found


@pytest.mark.parametrize("name", DEATHS)
def test_a_death_in_the_probe_is_one_record(cases: Cases, name: str) -> None:
    record = cases[f"faulty(does={name})"]
    check(record, DEATHS[name])
    assert record["failure"]["where"] == "probe"


@pytest.mark.parametrize("told", RACES)
@pytest.mark.parametrize("name", DEATHS)
def test_a_death_in_the_race_is_one_record(cases: Cases, name: str, told: str) -> None:
    record = cases[f"faulty(does={name}, {told})"]
    check(record, DEATHS[name])
    assert record["failure"]["where"] == "race"
    assert record["numerics"].get("wrong") is None


@pytest.mark.parametrize("name", [*LIES, *SLY])
def test_a_wrong_answer_in_the_probe_is_incorrect(cases: Cases, name: str) -> None:
    record, reason = cases[f"faulty(does={name})"], {**LIES, **SLY}[name]
    assert (record["status"], record["reason"][: len(reason)]) == ("incorrect", reason)
    assert not record["launches"]


@pytest.mark.parametrize("told", RACES)
@pytest.mark.parametrize("name", LIES)
def test_a_wrong_answer_in_the_race_is_incorrect(cases: Cases, name: str, told: str) -> None:
    record = cases[f"faulty(does={name}, {told})"]
    assert record["status"] == "incorrect", record.get("reason")
    assert record["reason"].startswith("a timed call was wrong: ")
    assert not record["launches"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_death_in_another_method_is_one_record(cases: Cases, name: str, method: str) -> None:
    told = "" if method == "prepare" else f", method={method}"
    record = cases[f"faulty_elsewhere(does={name}{told})"]
    if method == "unsupported" and name == "raise":
        reason = "unsupported() raised ValueError: on purpose"
        assert (record["status"], record["reason"]) == ("error", reason)
        return
    check(record, DEATHS[name])
    if method != "definition_later":
        where = {"unsupported": "survey", "prepare": "probe", "definition": "truth"}[method]
        assert record["failure"]["where"] == where


@pytest.mark.parametrize("name", ["softmax", "sdpa(backend=math)", "faulty", "faulty_elsewhere"])
def test_the_others_are_raced_to_the_end(cases: Cases, name: str) -> None:
    assert (cases[name]["status"], cases[name].get("reason")) == ("ok", None)
    assert len(cases[name]["launches"]) == 2


def test_every_case_has_one_record_and_the_control_is_whole(done: Bench) -> None:
    # cases() has checked that none stands there twice.
    probed = len(DEATHS) + len(LIES) + len(SLY)
    raced = len(RACES) * (len(DEATHS) + len(LIES))
    assert len(done.cases()) == 4 + probed + raced + len(ELSEWHERE) * len(METHODS)
    controls = [line for line in done.lines() if line["record"] == "control"]
    assert [len(control["launches"]) for control in controls] == [2]


def test_nothing_is_left_running(done: Bench) -> None:
    assert done.left_after(2.0) == []
    assert list((done.folder / "scratch").glob("attnbench-*")) == []

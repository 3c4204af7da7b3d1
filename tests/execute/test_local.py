"""The local executor: what a run is called, what it says of itself, what it asks first."""

from __future__ import annotations

import math
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RunError
from harness.execute import local
from harness.execute.estimate import estimate_s
from harness.execute.local import Listeners, Request, default_folder, git_state
from harness.execute.workers import Outcome
from harness.suite import Suite, load_suite
from tests.execute.asking import Pretended

TEXT = """\
name: small
variants: [softmax, sdpa]
baseline: softmax
workloads: [{heads: 1, q_len: [8, 16], head_dim: 8, threads: 1}]
measure: {budget_s: 5, launches: 2}
"""


@pytest.fixture
def suite(tmp_path: Path, installed: None) -> Suite:
    (tmp_path / "small.yaml").write_text(TEXT)
    return load_suite(str(tmp_path / "small.yaml"))


def test_default_folder_is_suite_time_and_machine(suite: Suite) -> None:
    folder = default_folder(suite, "cpu")
    assert folder.parent == Path("results/local")
    assert re.fullmatch(r"small-\d{8}T\d{6}Z-[a-z0-9-]+-\d+c", folder.name)


def test_estimate_covers_the_budgets(suite: Suite) -> None:
    # Two blocks of 5 s, their launches, four cases.
    assert 10 < estimate_s(suite) < 20
    # What is not racing takes its time, whatever was asked for.
    least = estimate_s(suite) - 2 * 5
    asked = [estimate_s(suite, budget_s) for budget_s in (0.1, least + 3, 1000.0)]
    assert asked == pytest.approx([least, least + 3, estimate_s(suite)], abs=0.01)


def test_estimate_follows_the_size_of_what_is_run(tmp_path: Path, installed: None) -> None:
    def estimated(name: str, **given: str) -> float:
        overrides = [f"{field}={value}" for field, value in given.items()]
        return estimate_s(load_suite(name, overrides=overrides), None)

    # Two cores took 97 s and 590 s.
    assert 60 < estimated("quick", threads="2") < 160
    assert 390 < estimated("growth", threads="2") < 900
    small = estimated("growth", threads="2", q_len="64")
    assert estimated("growth", threads="2", q_len="4096") > 10 * small
    assert estimated("growth", threads="2", q_len="64", **{"pass": "backward"}) > small


def test_git_state_of_a_checkout_and_of_none(tmp_path: Path) -> None:
    assert git_state(tmp_path / "nowhere") is None
    assert git_state(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    (tmp_path / "file").write_text("1")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    found = git_state(tmp_path)
    assert found is not None
    assert (len(found["commit"]), found["changed"]) == (40, False)
    (tmp_path / "file").write_text("2")
    assert git_state(tmp_path) == {"commit": found["commit"], "changed": True}


def test_a_survey_that_dies_whole_is_asked_case_by_case(suite: Suite, tmp_path: Path) -> None:
    def answer(task: str, payload: dict[str, Any]) -> Outcome:
        cases = payload["cases"]
        if any(case["variant"]["name"] == "sdpa" for case in cases):
            return Outcome(signal="SIGSEGV")
        return Outcome(result=[{"definition": "d", "own": False, "family": "f"} for _ in cases])

    workers = Pretended(tmp_path, answer)
    blocks = list(suite.blocks())
    cases = [case for block in blocks for case in block.cases]
    found = local.survey_cases(workers, cases, (), 60.0)
    assert [len(payload["cases"]) for _, payload in workers.asked] == [4, 1, 1, 1, 1]
    for block in blocks:
        softmax, sdpa = (found[case.id] for case in block.cases)
        assert softmax["definition"] == "d"
        assert sdpa["status"] == "crashed"
        assert sdpa["reason"] == "unsupported(): the process was killed by SIGSEGV"
        assert sdpa["failure"].where == "survey"
        assert sdpa["failure"].signal == "SIGSEGV"


def test_a_survey_that_lives_is_asked_once(suite: Suite, tmp_path: Path) -> None:
    workers = Pretended(tmp_path, lambda task, asked: Outcome(result=[{}] * len(asked["cases"])))
    cases = [case for block in suite.blocks() for case in block.cases]
    local.survey_cases(workers, cases, (), 60.0)
    assert workers.count("survey") == 1


def test_the_budget_of_a_run_is_shared_by_its_blocks(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[float, float]] = []

    class Noted:
        """A block that takes no time and says nothing."""

        def __init__(self, *_: Any) -> None:
            pass

        def run(self, budget_s: float, within_s: float) -> list[Any]:
            """Note both."""
            given.append((budget_s, within_s))
            return []

    def run_with(budget_s: float | None, folder: str) -> list[tuple[float, float]]:
        given.clear()
        listeners = Listeners(lambda *_: None, lambda *_: None)
        local.run_suite(Request(suite, tmp_path / folder, budget_s=budget_s), listeners)
        return list(given)

    monkeypatch.setattr(local, "BlockRun", Noted)
    monkeypatch.setattr(local, "survey_cases", lambda *_: _Anything())
    assert run_with(None, "a") == [(5.0, math.inf)] * 2
    # Half of it for the first of two; what that left over for the second.
    (whole, half), (same, rest) = run_with(40.0, "b")
    assert (whole, same) == (5.0, 5.0)
    assert (half, rest) == pytest.approx((20.0, 40.0), rel=0.1)
    assert rest < 40.0  # what was done before the first block counts


def test_resuming_nothing_writes_nothing(suite: Suite, tmp_path: Path) -> None:
    request = Request(suite, tmp_path / "none", resume=True)
    with pytest.raises(RunError, match="none: holds no run to resume; leave --resume out"):
        local.run_suite(request, Listeners(lambda *_: None, lambda *_: None))
    assert not (tmp_path / "none").exists()


class _Anything(dict[str, Any]):
    def __missing__(self, key: str) -> dict[str, Any]:
        return {}

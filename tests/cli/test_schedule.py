"""attnbench schedule: what it prints, draws, solves and refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.schedule.generate import GENERATORS
from harness.schedule.storing import from_json
from tests.cli.conftest import Answer, Call

Refusal = Callable[..., str]
WORDS = "schedule --n 8 --m 4 --scheme"


def told(answer: Answer) -> dict[str, object]:
    assert answer.code == 0, answer
    found = json.loads(answer.out)
    assert isinstance(found, dict)
    return found


def test_a_schedule_is_a_row_a_cycle_and_its_figures(call: Call) -> None:
    answer = call(*"schedule --n 4 --m 2 --scheme general".split())
    assert (answer.code, answer.err) == (0, "")
    lines = [line.split() for line in answer.out.splitlines()]
    assert lines[0] == "ring: general, n=4, m=2".split()
    assert [line[0] for line in lines[2:18]] == [str(cycle) for cycle in range(16)]
    assert "S(0,0)" in lines[2]
    text = " ".join(answer.out.split())
    assert "cycles 16 (at least 16 by counting)" in text
    assert "utilisation 100.0% of 2 elements" in text
    assert "against ring 0.0% of 16 cycles saved" in text


def test_a_large_one_is_cut_and_says_so(call: Call) -> None:
    answer = call(*"schedule --n 48 --m 12 --scheme causal --name striped".split())
    assert answer.code == 0
    assert re.search(r"element 3 +8 more$", answer.out.splitlines()[1].rstrip())
    assert max(map(len, answer.out.splitlines())) <= 80
    assert "... " in answer.out
    assert len(answer.out.splitlines()) < 60


@pytest.mark.parametrize("name", GENERATORS)
def test_json_has_the_figures_and_the_schedule(call: Call, name: str) -> None:
    schedule = GENERATORS[name](8, 4)
    answer = told(call(*f"{WORDS} {schedule.scheme} --name {name} --json".split()))
    assert from_json(json.dumps(answer["schedule"])) == schedule
    assert answer["cycles"] == schedule.cycles
    assert answer["ring_cycles"] == 32
    assert answer["saving"] == pytest.approx(1 - schedule.cycles / 32)
    assert "search" not in answer


def test_solve_finds_the_fewest_cycles_and_then_registers(call: Call) -> None:
    pytest.importorskip("pysat", reason="python-sat is not installed")
    words = "schedule --n 4 --m 2 --scheme symmetric --solve --registers"
    answer = call(*words.split())
    assert answer.code == 0
    assert answer.err.splitlines()[0] == "13 cycles?"
    text = " ".join(answer.out.split())
    assert "cycles 13 (at least 13: the fewest, by counting bound)" in text
    assert "registers 2 vectors in an element at most, the fewest" in text
    found = told(call(*words.split(), "--json"))
    search = found["search"]
    assert isinstance(search, dict)
    assert (found["cycles"], found["registers"]) == (13, 2)
    assert (search["optimal"], search["proof"], search["fewest"]) == (True, "counting bound", True)


def test_solve_takes_a_problem_by_name(call: Call) -> None:
    pytest.importorskip("pysat", reason="python-sat is not installed")
    words = f"{WORDS} causal --solve --name causal_striped"
    answer = call(*words.split())
    text = " ".join(answer.out.split())
    assert "causal, scores alone, n=8, m=4" in text
    assert "cycles 12 (at least 12: the fewest, by counting bound)" in text


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_plot_draws_it(call: Call, folder: Path, kind: str) -> None:
    answer = call(*f"schedule --n 4 --m 2 --scheme symmetric --plot schedule.{kind}".split())
    assert (answer.code, answer.err) == (0, f"schedule.{kind}\n")
    assert (folder / f"schedule.{kind}").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("schedule --n 8 --m 3 --scheme general", "--n 8 --m 3; write --m as one of 1, 2, 4, 8"),
        ("schedule --n 4 --m 4 --scheme causal --name zigzag", "--n 4 --m 4 --name zigzag: 2 m"),
        (f"{WORDS} general --name rong", "--name rong: no such schedule; did you mean ring?"),
        (
            f"{WORDS} general --name zigzag",
            "--name zigzag is not of --scheme general; use one of ring",
        ),
        (
            f"{WORDS} causal --solve --name zigzag",
            "--name zigzag: no such problem for --solve; use one of causal_balanced",
        ),
        (f"{WORDS} general --registers", "--registers needs a search; add --solve"),
        (f"{WORDS} general --solve --time-limit 0", "--time-limit must be above 0 seconds"),
        (f"{WORDS} general --solve --time-limit nan", "found nan; write 60"),
        (f"{WORDS} general --plot a.gif", "--plot a.gif: must end in .png, .svg or .pdf"),
        (f"{WORDS} general --plot no/a.png", "--plot no/a.png: there is no folder no"),
        ("schedule --n 64 --m 8 --scheme general --solve", "too large to solve for: vectors=64"),
    ],
)
def test_a_wrong_word_says_what_to_write(refusal: Refusal, words: str, text: str) -> None:
    assert text in refusal(*words.split())


def test_a_picture_that_cannot_be_written_is_refused(call: Call, folder: Path) -> None:
    (folder / "taken.png").mkdir()
    answer = call(*f"{WORDS} general --plot taken.png".split())
    assert answer.code == 2
    assert "--plot taken.png: is a folder; name a file" in answer.err
    assert "Traceback" not in answer.err
    answer = call(*f"{WORDS} general --plot /proc/none.png".split())
    assert answer.code == 2
    assert "--plot /proc/none.png: cannot be written (No such file" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("schedule --m 4 --scheme general", "--n"),
        ("schedule --n 0 --m 4 --scheme general", "--n"),
        ("schedule --n 8 --m x --scheme general", "--m"),
        ("schedule --n 8 --m 4 --scheme generic", "--scheme"),
        (f"{WORDS} general --time-limit soon", "--time-limit"),
    ],
)
def test_a_value_that_is_none_names_its_option(call: Call, words: str, option: str) -> None:
    answer = call(*words.split())
    assert (answer.code, answer.out) == (2, "")
    assert f"'{option}'" in answer.err
    assert "Traceback" not in answer.err

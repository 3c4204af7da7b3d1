"""The control on demand: what is asked, what is made of the answers, how they are counted."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.errors import OptionError, RunError
from harness.execute import control as module
from harness.execute import local, slowed
from harness.execute.control import Control, different, planned
from harness.execute.local import Listeners, Request, control_share, run_suite
from harness.execute.sequential import METHODS, sequential
from harness.execute.slowed import slow_down
from harness.execute.tally import Answer, clopper_pearson, tally
from harness.execute.workers import Outcome, Workers
from harness.measure.calls import Call
from harness.records import read_manifest
from harness.suite import Suite, load_suite
from tests.build import workload
from tests.execute.asking import FAR, Pretended, described
from tests.records.made import case, launch, write_run
from tests.records.made import control as control_record

linux = pytest.mark.skipif(sys.platform != "linux", reason="forks, as only Linux can safely")


@pytest.fixture
def suite(installed: None) -> Suite:
    return load_suite(
        "control", overrides=["q_len=8,16", "head_dim=8", "threads=1", "measure.budget_s=6"]
    )


# What is planned


def test_trials_alternate_and_one_in_four_is_slowed_beside_them(suite: Suite) -> None:
    trials = planned(suite, 8)
    assert [(t.number, t.block.workload.q_len, t.slowed) for t in trials] == [
        (0, 8, 0.0),
        (1, 16, 0.0),
        (2, 8, 0.0),
        (3, 16, 0.0),
        (4, 8, 0.05),
        (5, 8, 0.0),
        (6, 16, 0.0),
        (7, 8, 0.0),
        (8, 16, 0.0),
        (9, 16, 0.05),
    ]


@pytest.mark.parametrize(("count", "slowed_ones"), [(1, 1), (3, 1), (4, 1), (7, 1), (200, 50)])
def test_how_many_are_slowed(suite: Suite, count: int, slowed_ones: int) -> None:
    trials = planned(suite, count)
    assert sum(bool(trial.slowed) for trial in trials) == slowed_ones
    assert len(trials) == count + slowed_ones


def test_a_pass_with_a_part_that_is_not_timed_is_refused(installed: None) -> None:
    backward = load_suite("control", overrides=["pass=backward"])
    with pytest.raises(OptionError, match=r"write --set pass=forward\+backward$"):
        planned(backward, 4)


# What is asked, and what is made of the answers


def _times(ratio: float) -> list[float]:
    """Rounds enough for a verdict: times of a copy that takes `ratio` times as long as 1 s."""
    return [ratio * (1 + 1e-4 * (n % 5)) for n in range(256)]


def _pretended(folder: Path, ratio: float, medians: tuple[float, float]) -> Pretended:
    def answer(task: str, payload: dict[str, Any]) -> Outcome:
        if task == "truth":
            Path(payload["path"]).write_text("a truth")
            return Outcome(result={"own": {"output": 0.5}}, task_s=9.0)
        if task == "sequential":
            first, second = medians
            found = {"first_s": first, "second_s": second, "spent_s": 4.0}
            return Outcome(result={"one": found, "other": found}, task_s=8.5)
        samples = {"warmup_s": [1.0], "host_s": []}
        times = {"kernel": _times(1.0), "copy": _times(ratio)}
        return Outcome(
            result=[
                {"name": entrant["name"], "rounds_s": times[entrant["name"]], **samples}
                for entrant in payload["entrants"]
            ],
            task_s=2.0,
        )

    return Pretended(folder, answer)


def _run(suite: Suite, workers: Workers, count: int) -> list[Answer]:
    found: list[Answer] = []

    def listen(number: int, answers: Sequence[Answer]) -> None:
        found.extend(answers)

    Control(suite, workers, ["mine.py"]).run(planned(suite, count), listen)
    return found


def test_what_a_race_is_asked(suite: Suite, tmp_path: Path) -> None:
    workers = _pretended(tmp_path, 1.0, (1.0, 1.0))
    _run(suite, workers, 4)
    races = [payload for task, payload in workers.asked if task == "race"]
    assert len(races) == 2 * 5, "two launches a trial"
    for payload in races:
        kernel, copy = payload["entrants"]
        assert (kernel["name"], copy["name"]) == ("kernel", "copy")
        assert kernel["variant"] == copy["variant"] == described("sdpa", backend="flash")
        assert kernel["own"] == copy["own"] == {"output": 0.5}
        assert (payload["has_baseline"], payload["controls"]) == (True, []), "a contender"
        assert payload["rules"] == {"margin": 0.02, "alpha": 0.025, "budget_s": 3.0}
        assert payload["files"] == ["mine.py"]
    assert len({payload["seed"] for payload in races}) == len(races)
    assert [payload["workload"]["q_len"] for payload in races[::2]] == [8, 16, 8, 16, 8]
    slowed_ones = [[e.get("slowed") for e in payload["entrants"]] for payload in races]
    assert slowed_ones == [[None, None]] * 8 + [[None, 0.05]] * 2


def test_a_truth_is_found_once_a_workload_and_its_file_removed(
    suite: Suite, tmp_path: Path
) -> None:
    workers = _pretended(tmp_path, 1.0, (1.0, 1.0))
    _run(suite, workers, 4)
    assert workers.count("truth") == 2
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_sequential_methods_get_the_time_that_the_race_took(suite: Suite, tmp_path: Path) -> None:
    workers = _pretended(tmp_path, 1.0, (1.0, 1.0))
    found = _run(suite, workers, 4)
    asked = [payload for task, payload in workers.asked if task == "sequential"]
    assert [payload["seconds"] for payload in asked] == [4.0] * 5
    assert [payload["slowed"] for payload in asked] == [0.0] * 4 + [0.05]
    assert [answer.seconds for answer in found] == [4.0] * 15


@pytest.mark.parametrize(
    ("ratio", "medians", "verdicts"),
    [
        (1.0, (1.0, 1.021), ("same", "slower")),
        (1.05, (1.0, 1.019), ("slower", "same")),
        (0.9, (1.021, 1.0), ("faster", "faster")),
    ],
)
def test_verdicts_are_those_of_the_harness(
    suite: Suite,
    tmp_path: Path,
    ratio: float,
    medians: tuple[float, float],
    verdicts: tuple[str, str],
) -> None:
    found = _run(suite, _pretended(tmp_path, ratio, medians), 1)
    assert [answer.method for answer in found] == ["race", "one", "other"] * 2
    assert (found[0].verdict, found[1].verdict) == verdicts
    assert found[2].verdict == verdicts[1]
    assert found[0].ratio == pytest.approx(ratio)
    assert found[1].ratio == pytest.approx(medians[1] / medians[0])


def test_a_kernel_that_dies_is_an_error_with_its_reason(suite: Suite, tmp_path: Path) -> None:
    workers = Pretended(tmp_path, lambda task, payload: Outcome(signal="SIGSEGV"))
    with pytest.raises(RunError, match=r"^control: sdpa\(backend=flash\) on .*L8 .*by SIGSEGV$"):
        _run(suite, workers, 1)


def test_a_kernel_that_fails_while_it_is_timed_is_an_error(suite: Suite, tmp_path: Path) -> None:
    def answer(task: str, payload: dict[str, Any]) -> Outcome:
        if task == "truth":
            return Outcome(result={"own": {"output": 0.5}})
        return Outcome(result=[{"name": "kernel", "status": "incorrect", "reason": "wrong"}])

    with pytest.raises(RunError, match=r"^control: incorrect: wrong$"):
        _run(suite, Pretended(tmp_path, answer), 1)


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(1.0199, "same"), (1.0201, "slower"), (1 / 1.0199, "same"), (1 / 1.0201, "faster")],
)
def test_medians_differ_beyond_the_margin(ratio: float, verdict: str) -> None:
    assert different(ratio, 0.02) == verdict


# What is made slower, and what is timed one after the other


class _Clock:
    """A clock that goes on by a little whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        """The time, a thousandth later at each reading."""
        self.now += 0.001
        return self.now


def test_a_slowed_call_waits_for_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waited = _Clock(), []

    class Device:
        """Notes what it is asked."""

        def synchronize(self) -> None:
            """A kernel that ends one second after it was submitted."""
            waited.append(clock.now)
            clock.now += 1.0

    def run() -> str:
        clock.now += 9.0
        return "result"

    call = Call(None, None, None, run)  # type: ignore[arg-type]
    call.run = run  # type: ignore[method-assign]
    monkeypatch.setattr(slowed, "time", clock)
    slow_down(call, 0.05, Device())  # type: ignore[arg-type]
    begin = clock.now
    assert call.run() == "result"
    assert clock.now - begin == pytest.approx(10.5, abs=0.01)
    assert len(waited) == 1


@linux
def test_both_methods_time_both_kernels(workers: Workers) -> None:
    asked = {"files": [], "workload": workload(threads=1).as_dict(), "variant": described("sdpa")}
    outcome = workers.run("sequential", {**asked, "seconds": 0.05, "slowed": 0.0}, FAR)
    assert outcome.answered, outcome
    assert set(outcome.result) == set(METHODS) == {"blocked_autorange", "do_bench"}
    for found in outcome.result.values():
        assert set(found) == {"first_s", "second_s", "spent_s"}
        assert min(found.values()) > 0


@linux
def test_both_methods_time_a_layer_as_the_race_does(workers: Workers) -> None:
    shape = workload(level="layer", heads=4, head_dim=8, q_len=16, threads=1)
    asked = {"files": [], "workload": shape.as_dict(), "variant": described("sdpa")}
    outcome = workers.run("sequential", {**asked, "seconds": 0.05, "slowed": 0.0}, FAR)
    assert outcome.answered, outcome
    assert set(outcome.result) == set(METHODS)


def test_the_copy_is_timed_second_for_half_of_the_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: None
) -> None:
    given: list[tuple[bool, float]] = []

    def median(call: Call, device: Any, seconds: float) -> float:
        given.append(("run" in vars(call), seconds))
        return float(len(given))

    (tmp_path / "running.bin").write_bytes(bytes(16))
    monkeypatch.setattr("harness.execute.sequential.METHODS", {"noted": median})
    monkeypatch.setattr("harness.execute.sequential.start_device", lambda _: module_device())
    asked = {"files": [], "workload": workload(threads=1).as_dict(), "variant": described("sdpa")}
    found = sequential({**asked, "seconds": 3.0, "slowed": 0.05}, tmp_path)
    assert given == [(False, 1.5), (True, 1.5)], "the copy alone is slowed"
    assert (found["noted"]["first_s"], found["noted"]["second_s"]) == (1.0, 2.0)


def module_device() -> Any:
    """The CPU, its threads left as they are."""
    from harness.device import CpuDevice

    return CpuDevice()


@linux
def test_a_control_in_real_workers(workers: Workers, suite: Suite) -> None:
    """Through the race task itself; a copy fifty times slower shows on any machine."""
    quick = Control(load_suite("control", overrides=FAST), workers)
    found: list[Answer] = []
    trial = planned(suite, 1)[0]
    far = module.Trial(0, trial.block, 50.0)
    quick.run([trial, far], lambda number, answers: found.extend(answers))
    assert [answer.method for answer in found] == ["race", *METHODS] * 2
    assert {answer.slowed for answer in found} == {0.0, 50.0}
    assert min(answer.ratio for answer in found[3:]) > 5


FAST = ["q_len=8", "head_dim=8", "threads=1", "measure.budget_s=0.2"]


# How answers are counted


def _answers(verdicts: str, slowed_by: float = 0.0, method: str = "race") -> list[Answer]:
    words = {"f": "faster", "s": "slower", "=": "same", "?": "undecided"}
    return [
        Answer(method, "w", slowed_by, words[letter], 1.0, float(at))
        for at, letter in enumerate(verdicts)
    ]


def test_a_tally_counts_by_kind_and_method() -> None:
    lines = tally(
        [*_answers("fs==?"), *_answers("fss=", 0.05), *_answers("==", 0.0, "other")],
    )
    assert [(line.slowed, line.method) for line in lines] == [
        (0.0, "race"),
        (0.0, "other"),
        (0.05, "race"),
    ]
    copies, other, slower = lines
    assert (copies.trials, copies.different, copies.slower) == (5, 2, 1)
    assert (copies.same, copies.undecided) == (2, 1)
    assert (copies.share, copies.median_s) == (0.4, 2.0)
    assert (copies.low, copies.high) == clopper_pearson(2, 5)
    assert (other.share, other.low) == (0.0, 0.0)
    # Among slowed ones only `slower` is a find: `faster` is a second mistake.
    assert (slower.different, slower.slower, slower.share) == (3, 2, 0.5)
    assert (slower.low, slower.high) == clopper_pearson(2, 4)
    assert tally([]) == []


@pytest.mark.parametrize(
    ("count", "trials", "low", "high"),
    [
        # The extremes have a closed form: 1 - (0.025)**(1/n); the others are scipy's.
        (0, 200, 0.0, 1 - 0.025 ** (1 / 200)),
        (200, 200, 0.025 ** (1 / 200), 1.0),
        (0, 1, 0.0, 0.975),
        (5, 10, 0.1870860, 0.8129140),
        (10, 200, 0.0242342, 0.0900276),
    ],
)
def test_interval_of_a_share(count: int, trials: int, low: float, high: float) -> None:
    assert clopper_pearson(count, trials) == pytest.approx((low, high), abs=1e-6)


@pytest.mark.parametrize("trials", [7, 40, 2000])
def test_the_interval_leaves_the_nominal_tails_out(trials: int) -> None:
    count = trials // 3
    low, high = clopper_pearson(count, trials, level=0.9)

    def at_most(most: int, share: float) -> float:
        return sum(
            math.exp(math.log(math.comb(trials, k)) + k * math.log(share))
            * (1 - share) ** (trials - k)
            for k in range(most + 1)
        )

    assert at_most(count, high) == pytest.approx(0.05, rel=1e-6)
    assert 1 - at_most(count - 1, low) == pytest.approx(0.05, rel=1e-6)


# The share of a run


def _records() -> list[Any]:
    steady = tuple(_times(1.0))
    return [
        *(
            case("a", block, is_baseline=True, launches=(launch(*steady),))
            for block in ("b1", "b2", "b3", "b4")
        ),
        control_record("b1", launch(*_times(1.001))),
        control_record("b2", launch(*_times(1.2))),
        control_record("b3", launch(*_times(0.8))),
        control_record("b4", launch(1.0, 1.0)),
    ]


def test_the_share_of_a_run_is_counted_from_its_records(tmp_path: Path) -> None:
    folder = write_run(tmp_path, _records())
    assert control_share(folder) == {"blocks": 4, "same": 1, "undecided": 1, "different": 2}


def test_a_run_writes_its_share_and_its_hazards_into_its_manifest(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Made:
        """A block that was measured already: its copy is slower."""

        def __init__(self, block: Any, *_: Any) -> None:
            self._id = block.id

        def run(self, budget_s: float, within_s: float) -> list[Any]:
            """The records of a baseline and of its copy, two launches each."""
            cases = case("a", self._id, is_baseline=True, launches=(launch(*_times(1.0)),) * 2)
            return [cases, control_record(self._id, *(launch(*_times(1.5)),) * 2)]

    class Everything(dict[str, Any]):
        def __missing__(self, key: str) -> dict[str, Any]:
            return {}

    monkeypatch.setattr(local, "BlockRun", Made)
    monkeypatch.setattr(local, "survey_cases", lambda *_: Everything())
    monkeypatch.setattr(local, "describe_machine", lambda: {"packages": {}, "on_battery": True})
    run_suite(Request(suite, tmp_path / "run"), Listeners(lambda *_: None, lambda *_: None))
    found = read_manifest(tmp_path / "run")
    assert found["control"] == {"blocks": 2, "same": 0, "undecided": 0, "different": 2}
    (hazard,) = found["hazards"]
    assert hazard.startswith("running on battery: ")
    assert hazard.endswith("plug the machine in")

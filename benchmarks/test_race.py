"""How long a race takes to decide, and how much of it is spent inside timed calls."""

import statistics
from collections.abc import Iterator
from typing import Any

import pytest

from harness.execute.workers import Workers
from harness.records.frame import paired_ratio
from harness.records.schema import Launch
from harness.workload import Workload

ALPHA, MARGIN, LAUNCHES = 0.05, 0.02, 2
FLASH: tuple[str, dict[str, Any]] = ("sdpa", {"backend": "flash"})
MATH: tuple[str, dict[str, Any]] = ("sdpa", {"backend": "math"})
SOFTMAX: tuple[str, dict[str, Any]] = ("softmax", {})
FIELD = {"flash": FLASH, "copy": FLASH, "softmax": SOFTMAX, "math": MATH}


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers() as started:
        assert started.run("survey", {"files": [], "cases": []}, 60).result == []
        yield started


def raced(
    workers: Workers, workload: Workload, field: dict[str, Any], budget_s: float, seed: int
) -> tuple[list[dict[str, Any]], float]:
    """The answers of one launch and the seconds that it took."""
    # The error of float32 softmax attention at these lengths; it only bounds the timed outputs.
    own = {"tensor": 1e-6, "row": 4e-6, "gradient": 1e-5, "largest_v": 5.0}
    entrants = [
        {"name": name, "variant": {"name": kind, "params": params}, "own": own}
        for name, (kind, params) in field.items()
    ]
    payload = {
        "files": [],
        "workload": workload.as_dict(),
        "entrants": entrants,
        "has_baseline": len(field) > 1,
        "controls": [],
        "rules": {"margin": MARGIN, "alpha": ALPHA / LAUNCHES, "budget_s": budget_s},
        "seed": seed,
    }
    outcome = workers.run("race", payload, 120)
    assert outcome.answered, outcome
    assert all("status" not in answer for answer in outcome.result), outcome.result
    assert outcome.task_s is not None
    return outcome.result, outcome.task_s


def decided(launches: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """The verdict of each contender over its launches."""
    by_name: dict[str, list[Launch]] = {}
    for answers in launches:
        for answer in answers:
            times = Launch(rounds_s=answer["rounds_s"], warmup_s=answer["warmup_s"])
            by_name.setdefault(answer["name"], []).append(times)
    first, *others = by_name
    rules = {"margin": MARGIN, "alpha": ALPHA / LAUNCHES}
    return {name: paired_ratio(by_name[name], by_name[first], rules) for name in others}


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize(("length", "bar_s"), [(256, 3.0), (1024, 12.0)])
def test_time_to_decide(
    workers: Workers, benchmark: Any, capsys: Any, length: int, bar_s: float, heads: int
) -> None:
    fields = {"q_len": length, "heads": heads, "head_dim": 64, "mask": "causal"}
    workload = Workload.model_validate(fields)
    taken: list[tuple[float, str]] = []

    def once() -> None:
        launches, seconds = [], 0.0
        for number in range(LAUNCHES):
            seed = LAUNCHES * len(taken) + number
            answers, took = raced(workers, workload, FIELD, 2 * bar_s, seed)
            launches.append(answers)
            seconds += took
        found = decided(launches)
        text = ", ".join(
            f"{name} {row['verdict']} {row['ratio']:.3f}" for name, row in found.items()
        )
        taken.append((seconds, text))

    benchmark.pedantic(once, rounds=5)
    with capsys.disabled():
        print(f"\nL={length} H={heads}, bar {bar_s:g} s:")
        for seconds, text in taken:
            print(f"  {seconds:5.2f} s  {text}")


@pytest.mark.parametrize(
    ("name", "length", "heads"), [("softmax", 1024, 1), ("softmax", 1024, 4), ("flash", 1024, 1)]
)
def test_duty_cycle(
    workers: Workers, benchmark: Any, capsys: Any, name: str, length: int, heads: int
) -> None:
    fields = {"q_len": length, "heads": heads, "head_dim": 64}
    workload = Workload.model_validate(fields)
    field = {name: FIELD[name], "copy": FIELD[name]}
    shares: list[tuple[float, float]] = []

    def once() -> None:
        answers, seconds = raced(workers, workload, field, 5.0, len(shares))
        times = [time for answer in answers for time in answer["rounds_s"]]
        warm = [time for answer in answers for time in answer["warmup_s"]]
        call = statistics.median(times)
        shares.append((call, (sum(times) + sum(warm)) / seconds))

    benchmark.pedantic(once, rounds=3)
    with capsys.disabled():
        for call, share in shares:
            text = f"a call of {call * 1e3:.2f} ms, duty cycle {share:.0%}"
            print(f"\n{name} L={length} H={heads}: {text}")

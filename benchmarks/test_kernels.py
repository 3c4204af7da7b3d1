"""How fast the block-wise and linear kernels are, beside the bars that they are held to.

    python -m pytest benchmarks/test_kernels.py --benchmark-only -s

Each table is one race on the CPU, float32, head_dim 64, two threads: all entrants in every round,
in random order, in one process a launch; ratios are medians of paired rounds with their 95%
interval. Nothing here fails for being slow. ATTNBENCH_BUDGET_S is the seconds of each race.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import statistics, variant
from harness.analysis.growth import Point, exponent
from harness.execute.workers import Workers
from harness.records.frame import paired_ratio
from harness.records.schema import Launch
from harness.workload import Workload

CONTENDERS = Path(__file__).with_name("contenders.py")
LAUNCHES = 2
BUDGET_S = float(os.environ.get("ATTNBENCH_BUDGET_S", "40"))
RULES = {"margin": 0.02, "alpha": 0.05 / LAUNCHES}
# No verdict is ever reached at this level, so that a race spends its budget and its interval
# becomes as narrow as that allows.
UNDECIDED = {"margin": 0.02, "alpha": 1e-12, "budget_s": BUDGET_S / LAUNCHES}

FLASH = "sdpa(backend=flash)"
CHUNKED = "chunked(kernel=blocked)"
CUBIC, SQUARE = "polynomial(kernel=blocked)", "polynomial(degree=2, kernel=blocked)"
LINEAR_2, LINEAR_1 = (f"polynomial(degree={p}, kernel=linear)" for p in (2, 1))
FEW, MANY = "products", "products(q_block=256)"


@dataclass(frozen=True)
class Bar:
    """The most that a variant's time may be of another's, and what to aim at beyond that."""

    variant: str
    most: float
    against: str = FLASH
    aim: float | None = None

    def __str__(self) -> str:
        aim = "" if self.aim is None else f", aim {self.aim:.2f}"
        return f"bar {self.most:.2f}{aim}"


SHORT = {"heads": 8, "q_len": 2048}
RACES: dict[str, tuple[dict[str, Any], list[Bar]]] = {
    "forward": (
        SHORT,
        [Bar(CUBIC, 1.15, aim=1.0), Bar(CUBIC, 1.25, FEW), Bar(CHUNKED, 1.30)],
    ),
    "forward+backward": (
        SHORT | {"pass": "forward+backward"},
        [Bar(CUBIC, 1.35), Bar(CUBIC, 1.25, FEW), Bar(CHUNKED, 1.35)],
    ),
    "long": (
        {"heads": 2, "q_len": 8192},
        [
            Bar(SQUARE, 1.05),
            Bar(SQUARE, 1.25, MANY),
            Bar(LINEAR_2, 0.5, aim=0.3),
            Bar(LINEAR_1, 0.05),
        ],
    ),
    "causal": (
        {"heads": 8, "q_len": 4096, "mask": "causal"},
        [Bar(CHUNKED, 0.65, "unmasked")],
    ),
}
LENGTHS = (2048, 4096, 8192, 16384)
EXPONENT = 1.1


def described(name: str) -> dict[str, Any]:
    spec = variant.parse_spec(name)
    return {"name": spec.name, "params": dict(spec.params)}


def asked(workers: Workers, task: str, workload: Workload, fields: Mapping[str, Any]) -> Any:
    payload = {"files": [str(CONTENDERS)], "workload": workload.as_dict(), **fields}
    outcome = workers.run(task, payload, 600)
    assert outcome.answered, outcome
    return outcome.result


def own_error(workers: Workers, workload: Workload, name: str) -> dict[str, float]:
    """The error of a variant's definition, which bounds that of its timed outputs."""
    path = str(workers.scratch / "truth.pt")
    found = asked(workers, "truth", workload, {"variant": described(name), "path": path})["own"]
    for file in workers.scratch.glob("*.pt"):
        file.unlink()
    return dict(found)


def raced(workers: Workers, workload: Workload, names: Sequence[str]) -> dict[str, list[Launch]]:
    """The launches of each entrant, the first of which is the baseline."""
    entrants = [
        {"name": name, "variant": described(name), "own": own_error(workers, workload, name)}
        for name in names
    ]
    found: dict[str, list[Launch]] = {name: [] for name in names}
    for seed in range(LAUNCHES):
        fields = {"entrants": entrants, "has_baseline": True, "controls": [], "rules": UNDECIDED}
        for answer in asked(workers, "race", workload, fields | {"seed": seed}):
            assert "status" not in answer, answer
            times = Launch(rounds_s=answer["rounds_s"], warmup_s=answer["warmup_s"])
            found[answer["name"]].append(times)
    return found


def seconds(launches: Sequence[Launch]) -> tuple[float, float | None, float | None]:
    """Median of all rounds and the hull of the launches' intervals."""
    pooled = statistics.location([t for one in launches for t in one.rounds_s], RULES["alpha"])
    each = [statistics.location(one.rounds_s, RULES["alpha"]) for one in launches]
    lows, highs = [low for _, low, _ in each], [high for _, _, high in each]
    if None in lows or None in highs:
        return pooled[0], None, None
    return pooled[0], min(low for low in lows if low), max(high for high in highs if high)


def line(found: dict[str, list[Launch]], bar: Bar) -> str:
    row = paired_ratio(found[bar.variant], found[bar.against], RULES)
    interval = "no interval"
    if "ratio_low" in row:
        interval = f"[{row['ratio_low']:.3f}, {row['ratio_high']:.3f}]"
    held = "within" if row["ratio"] <= bar.most else "ABOVE"
    return f"{bar.variant}: {row['ratio']:.3f} {interval} of {bar.against}; {bar}: {held}"


@pytest.mark.parametrize("title", RACES)
def test_kernels(workers: Workers, benchmark: Any, capsys: Any, title: str) -> None:
    fields, bars = RACES[title]
    workload = Workload.model_validate({**fields, "threads": 2})
    with capsys.disabled():
        benchmark.pedantic(lambda: race_to_bars(workers, workload, bars), rounds=1)


def race_to_bars(workers: Workers, workload: Workload, bars: Sequence[Bar]) -> None:
    """Race what the bars name, and print the times and how each bar came out."""
    names = list(dict.fromkeys([*(bar.against for bar in bars), *(bar.variant for bar in bars)]))
    found = raced(workers, workload, names)
    rounds = [len(launch.rounds_s) for launch in found[names[0]]]
    print(f"\n{workload}, rounds {rounds}:")
    for name in names:
        print(f"  {seconds(found[name])[0] * 1e3:8.2f} ms  {name}")
    for bar in bars:
        print(f"  {line(found, bar)}")


def test_linear_kernels_grow_with_the_length(workers: Workers, benchmark: Any, capsys: Any) -> None:
    names = (LINEAR_2, LINEAR_1)

    def once() -> dict[int, dict[str, list[Launch]]]:
        long = {"heads": 2, "threads": 2}
        return {
            length: raced(workers, Workload.model_validate({**long, "q_len": length}), names)
            for length in LENGTHS
        }

    found = benchmark.pedantic(once, rounds=1)
    with capsys.disabled():
        print(f"\nforward B1 H2 D64, q_len {', '.join(map(str, LENGTHS))}:")
        for name in names:
            points = [Point(length, *seconds(found[length][name])) for length in LENGTHS]
            fit = dataclasses.astuple(exponent(points))
            times = ", ".join(f"{point.value * 1e3:.2f}" for point in points)
            held = "within" if fit[0] <= EXPONENT else "ABOVE"
            grows = f"L^{fit[0]:.2f} [{fit[1]:.2f}, {fit[2]:.2f}]"
            print(f"  {name}: {times} ms, {grows}; bar {EXPONENT}: {held}")

"""Payloads of tasks, and workers that only pretend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.execute.workers import Outcome, Workers
from harness.workload import Workload
from tests.build import workload

FAULTY = Path(__file__).parent.parent / "faults" / "faulty.py"
FAR = 60.0


def described(name: str, **params: Any) -> dict[str, Any]:
    """A variant as payloads name it."""
    return {"name": name, "params": params}


def ask_faulty(workers: Workers, does: str, timeout_s: float = FAR) -> Outcome:
    """Run a task that ends as the deed says: the survey asks a faulty variant."""
    variant = described("faulty_elsewhere", does=does, method="unsupported")
    case = {"variant": variant, "workload": workload().as_dict()}
    return workers.run("survey", {"files": [str(FAULTY)], "cases": [case]}, timeout_s)


def probe_outcomes(
    workers: Workers, *variants: dict[str, Any], files: tuple[str, ...] = (), **fields: Any
) -> list[Outcome]:
    """Probe variants that share a definition, its truth found first."""
    asked = {"files": files, "workload": workload(**fields).as_dict()}
    path = str(workers.scratch / "truth.pt")
    found = workers.run("truth", {**asked, "variant": variants[0], "path": path}, FAR)
    for kept in workers.scratch.glob("softmax-*.pt"):
        kept.unlink()
    assert found.answered, found
    payloads = [{**asked, "variant": variant, "truth": path} for variant in variants]
    return [workers.run("probe", payload, FAR) for payload in payloads]


def probed(workers: Workers, *variants: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    """The answers of their probes."""
    outcomes = probe_outcomes(workers, *variants, **fields)
    assert all(outcome.answered for outcome in outcomes), outcomes
    return [outcome.result for outcome in outcomes]


OWN = {"tensor": 2e-7, "row": 1e-6, "gradient": 1e-6, "largest_v": 4.0}
"""An error of a definition that softmax attention of small shapes keeps."""


def raced(
    workers: Workers,
    shape: Workload,
    variants: dict[str, dict[str, Any]],
    budget_s: float,
    files: tuple[str, ...] = (),
) -> dict[str, dict[str, Any]]:
    """The answers of one race by name; the first is the baseline, `control` its copy."""
    payload = {
        "files": files,
        "workload": shape.as_dict(),
        "entrants": [{"name": n, "variant": v, "own": OWN} for n, v in variants.items()],
        "has_baseline": True,
        "controls": ["control"],
        "rules": {"margin": 0.02, "alpha": 0.05, "budget_s": budget_s},
        "seed": 1,
    }
    outcome = workers.run("race", payload, FAR)
    assert outcome.answered, outcome
    return {answer["name"]: answer for answer in outcome.result}


class Pretended(Workers):
    """Workers that start nothing: `answer` says how each task ends; what was asked is kept."""

    def __init__(self, scratch: Path, answer: Callable[[str, dict[str, Any]], Outcome]) -> None:
        super().__init__()
        self.scratch = scratch
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._answer = answer

    def run(self, task: str, payload: dict[str, Any], timeout_s: float) -> Outcome:
        """Keep what is asked, and answer as told."""
        self.asked.append((task, payload))
        return self._answer(task, payload)

    def count(self, task: str) -> int:
        """How often a task was asked for."""
        return sum(1 for name, _ in self.asked if name == task)

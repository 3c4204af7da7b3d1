"""The control on demand: what the harness and two sequential methods say of no difference.

Each trial races a kernel against a copy of itself, in the race that times every suite, and then
times the two one after the other for as long as the race took. Every few trials the copy is made
slower by a known share, to see that a difference is found where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import statistics
from harness.errors import OptionError, RunError
from harness.execute.block import described
from harness.execute.tally import Answer
from harness.execute.workers import Outcome, Workers
from harness.records.frame import paired_ratio
from harness.records.schema import Launch
from harness.suite import Block, Suite

SLOWED = 0.05
"""Share by which the copy of some trials is made slower."""
EVERY = 4
"""A/A trials to one of these."""
KERNEL, COPY = "kernel", "copy"
RACE = "race"

OnTrial = Callable[[int, Sequence[Answer]], None]


@dataclass(frozen=True)
class Trial:
    """One trial: a block whose baseline is the kernel, and how much slower its copy is made."""

    number: int
    block: Block
    slowed: float


def planned(suite: Suite, count: int) -> list[Trial]:
    """`count` A/A trials, alternating over the suite's workloads, and one slowed to four of them.

    Raises OptionError for a pass with a part that is not timed: no sequential method knows it.
    """
    blocks = list(suite.blocks())
    if any(block.workload.pass_ == "backward" for block in blocks):
        raise OptionError(
            "--control: pass=backward needs a forward before each call, which sequential methods "
            "cannot leave out of the time; write --set pass=forward+backward"
        )
    return [Trial(number, *kind) for number, kind in enumerate(_kinds(blocks, count))]


def _kinds(blocks: Sequence[Block], count: int) -> Iterator[tuple[Block, float]]:
    slowed = 0
    for number in range(count):
        yield blocks[number % len(blocks)], 0.0
        if number % EVERY == EVERY - 1 or number == count - 1 < EVERY:
            yield blocks[slowed % len(blocks)], SLOWED
            slowed += 1


class Control:
    """Runs trials in workers."""

    def __init__(self, suite: Suite, workers: Workers, files: Sequence[str] = ()) -> None:
        self._measure, self._workers, self._files = suite.measure, workers, list(files)
        self._own: dict[str, dict[str, float]] = {}

    def run(self, trials: Sequence[Trial], listen: OnTrial) -> None:
        """Run them one after another; each trial's answers are told as it ends.

        Raises RunError when a kernel fails.
        """
        for trial in trials:
            launches, seconds = self._race(trial)
            answers = [self._raced(trial, launches, seconds), *self._timed(trial, seconds)]
            listen(trial.number, answers)

    def _race(self, trial: Trial) -> tuple[dict[str, list[Launch]], float]:
        """The launches of the kernel and of its copy, and the seconds that all took."""
        launches: dict[str, list[Launch]] = {KERNEL: [], COPY: []}
        spent = 0.0
        own = self._own_error(trial)
        for number in range(self._measure.launches):
            outcome = self._ask(RACE, trial, self._race_payload(trial, number, own))
            spent += outcome.task_s or 0.0
            for answer in outcome.result:
                if "status" in answer:
                    raise RunError(f"control: {answer['status']}: {answer['reason']}")
                samples = {key: answer[key] for key in ("rounds_s", "warmup_s", "host_s")}
                launches[answer["name"]].append(Launch(**samples))
        return launches, spent

    def _race_payload(self, trial: Trial, number: int, own: Mapping[str, float]) -> dict[str, Any]:
        kernel = {"variant": _described(trial), "own": own}
        slowed = {"slowed": trial.slowed} if trial.slowed else {}
        launches = self._measure.launches
        return {
            # The copy is no control: it holds the race open until it is decided.
            "entrants": [{"name": KERNEL, **kernel}, {"name": COPY, **kernel, **slowed}],
            "has_baseline": True,
            "controls": [],
            "rules": {
                "margin": self._measure.margin,
                "alpha": self._measure.alpha / launches,
                "budget_s": self._measure.budget_s / launches,
            },
            "seed": trial.number * launches + number,
        }

    def _own_error(self, trial: Trial) -> dict[str, float]:
        """The definition's own error, which bounds that of timed outputs; found once a block."""
        key = trial.block.id
        if key not in self._own:
            path = self._workers.scratch / f"control-{key}"
            path.mkdir(exist_ok=True)
            asked = {"variant": _described(trial), "path": str(path / "truth.pt")}
            self._own[key] = self._ask("truth", trial, asked).result["own"]
            for file in path.iterdir():
                file.unlink()
        return self._own[key]

    def _ask(self, task: str, trial: Trial, payload: dict[str, Any]) -> Outcome:
        asked = {"files": self._files, "workload": trial.block.workload.as_dict(), **payload}
        outcome = self._workers.run(task, asked, self._measure.timeout_s)
        if not outcome.answered:
            reason = outcome.reason(self._measure.timeout_s)
            raise RunError(f"control: {trial.block.baseline} on {trial.block.workload}: {reason}")
        return outcome

    def _raced(
        self, trial: Trial, launches: Mapping[str, Sequence[Launch]], seconds: float
    ) -> Answer:
        share = self._measure.alpha / self._measure.launches
        rules = {"margin": self._measure.margin, "alpha": share}
        found = paired_ratio(launches[COPY], launches[KERNEL], rules)
        return _answer(RACE, trial, found["verdict"], found["ratio"], seconds)

    def _timed(self, trial: Trial, seconds: float) -> list[Answer]:
        asked = {"variant": _described(trial), "seconds": seconds, "slowed": trial.slowed}
        found = self._ask("sequential", trial, asked).result
        answers = []
        for method, medians in found.items():
            ratio = medians["second_s"] / medians["first_s"]
            verdict = different(ratio, self._measure.margin)
            answers.append(_answer(method, trial, verdict, ratio, medians["spent_s"]))
        return answers


def different(ratio: float, margin: float) -> statistics.Verdict:
    """What two medians are called: `faster` or `slower` when they differ by more than margin."""
    exact = math.log(ratio)
    return statistics.judge(exact, exact, exact, margin)


def _answer(method: str, trial: Trial, verdict: str, ratio: float, seconds: float) -> Answer:
    return Answer(method, str(trial.block.workload), trial.slowed, verdict, ratio, seconds)


def _described(trial: Trial) -> dict[str, Any]:
    return described(next(c for c in trial.block.cases if c.variant == trial.block.baseline))

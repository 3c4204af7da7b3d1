"""One block from cases to records: truths, probes, launches."""

from __future__ import annotations

import datetime
import hashlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import variant
from harness.execute.cost import beyond_limits
from harness.execute.entry import Entry
from harness.execute.workers import Outcome, Workers
from harness.records import CaseRecord, ControlRecord
from harness.records.schema import (
    EnergyResult,
    Failure,
    GateResult,
    Launch,
    NumericsResult,
    ProbeResult,
    SemanticsResult,
    Variant,
    Where,
)
from harness.roofline import Ceilings
from harness.suite import Block, Measure
from harness.workload import Case

CONTROL = "copy of the baseline"  # no variant is written so
Record = CaseRecord | ControlRecord
_SAMPLES = ("rounds_s", "warmup_s", "host_s", "throttled", "ceilings")


class BlockRun:
    """Runs one block in the workers."""

    def __init__(
        self,
        block: Block,
        surveyed: Sequence[dict[str, Any]],
        measure: Measure,
        workers: Workers,
        files: Sequence[str],
    ) -> None:
        self._block, self._measure, self._workers = block, measure, workers
        self._files = list(files)
        self._workload = block.workload.as_dict()
        self._entries = [
            Entry(case, found) for case, found in zip(block.cases, surveyed, strict=True)
        ]
        self._control: list[Launch] = []

    def run(self, budget_s: float, within_s: float = math.inf) -> list[Record]:
        """Everything the block has to say: a record a case, and the control's.

        budget_s: what its races may take. within_s: what all of it should: races are cut short.
        """
        begin = time.monotonic()
        self.examine()
        budget_s = min(budget_s, max(0.0, within_s - (time.monotonic() - begin)))
        for number in range(self._measure.launches):
            self._launch(number, budget_s / self._measure.launches)
        self._judge_by_limits()
        return self._records()

    def examine(self) -> list[Entry]:
        """Each case before it is timed: what rules it out, its truth, its probe."""
        for entry in self._entries:
            if "status" in entry.surveyed:
                found = entry.surveyed
                entry.out(found["status"], found["reason"], found.get("failure"))
        folder = self._workers.scratch / f"block-{self._block.id}"
        folder.mkdir(exist_ok=True)
        self._find_truths(folder)
        for entry in self._running():
            self._probe(entry, folder)
        for file in folder.iterdir():
            file.unlink()
        return self._entries

    def _judge_by_limits(self) -> None:
        """Where a case seems impossible, measure the ceilings for longer before it is said to be.

        Beside the race they may have been measured in moments that another program had.
        """
        if any(beyond_limits(entry.launches, entry.cost) for entry in self._running()):
            outcome = self._ask("limits", {})
            again = Ceilings(**outcome.result) if outcome.answered and outcome.result else None
            for entry in self._running():
                entry.judge_by_limits(again)

    def _running(self) -> list[Entry]:
        return [entry for entry in self._entries if entry.runs]

    def _ask(self, task: str, payload: dict[str, Any]) -> Outcome:
        whole = {"files": self._files, "workload": self._workload, **payload}
        return self._workers.run(task, whole, self._measure.timeout_s)

    def _find_truths(self, folder: Path) -> None:
        known: dict[str, Outcome] = {}
        for entry in self._running():
            key = entry.surveyed["definition"]
            if key not in known:
                path = str(_truth_path(folder, entry))
                known[key] = self._ask("truth", {"variant": described(entry.case), "path": path})
            outcome = known[key]
            if outcome.answered:
                entry.own = outcome.result["own"]
                found = {**outcome.result["gate"], "definition": _digest(entry)}
                entry.gate = GateResult.model_validate(found)
            else:
                reason = f"its definition: {outcome.reason(self._measure.timeout_s)}"
                entry.out(outcome.status(), reason, failure_of("truth", outcome))

    def _probe(self, entry: Entry, folder: Path) -> None:
        truth = str(_truth_path(folder, entry))
        outcome = self._ask("probe", {"variant": described(entry.case), "truth": truth})
        if not outcome.answered:
            reason = outcome.reason(self._measure.timeout_s)
            entry.out(outcome.status(), reason, failure_of("probe", outcome))
            return
        found = outcome.result
        against = "itself" if entry.surveyed["own"] else "definition"
        entry.probe = ProbeResult(**found["probe"])
        entry.numerics = NumericsResult(**found["numerics"], checked_against=against)
        if found.get("semantics") is not None:
            entry.semantics = SemanticsResult(**found["semantics"])
        if entry.numerics.wrong is not None:
            entry.out("incorrect", entry.numerics.wrong)
        elif entry.semantics is not None and entry.semantics.wrong is not None:
            entry.out("incorrect", entry.semantics.wrong)
        elif found["fallback"] is not None:
            entry.out("fallback", found["fallback"])

    def _launch(self, number: int, budget_s: float) -> None:
        """Race the survivors; whoever falls out is taken out and the rest race again."""
        tries, spared = len(self._entries) + 2, False
        while self._running() and tries:
            tries -= 1
            named = self._named()
            outcome = self._ask("race", self._race_payload(named, number, budget_s))
            if not outcome.answered:
                if outcome.running < 0 and not spared:
                    spared = True  # Nobody was being called: once, that is nobody's fault.
                else:
                    self._blame(outcome, named)
                continue
            faults = [answer for answer in outcome.result if "status" in answer]
            for answer in faults:
                named[answer["name"]].out(answer["status"], answer["reason"], Failure(where="race"))
            # Samples taken beside a variant that failed stay good, unless it was the baseline.
            if any(named[answer["name"]].case.variant == self._block.baseline for answer in faults):
                continue
            self._keep(outcome.result, named)
            return

    def _named(self) -> dict[str, Entry]:
        """Entrants by name, the baseline first and its copy, the control, second."""
        running = self._running()
        baseline = [e for e in running if e.case.variant == self._block.baseline]
        others = [e for e in running if e.case.variant != self._block.baseline]
        named = {str(e.case.variant): e for e in baseline}
        if baseline:
            named[CONTROL] = baseline[0]
        return named | {str(e.case.variant): e for e in others}

    def _race_payload(
        self, named: dict[str, Entry], number: int, budget_s: float
    ) -> dict[str, Any]:
        share = self._measure.launches
        if self._measure.familywise:
            share *= max(1, len(self._block.cases) - 1)
        return {
            "entrants": [
                {"name": name, "variant": described(entry.case), "own": entry.own}
                for name, entry in named.items()
            ],
            "has_baseline": CONTROL in named,
            "controls": [CONTROL],
            "rules": {
                "margin": self._measure.margin,
                "alpha": self._measure.alpha / share,
                "budget_s": budget_s,
            },
            "seed": int(self._block.id, 16) + number,
            "energy": number == self._measure.launches - 1,
        }

    def _blame(self, outcome: Outcome, named: dict[str, Entry]) -> None:
        """The case that was running takes the blame; all do when none was."""
        entries = list(named.values())
        guilty = [entries[outcome.running]] if 0 <= outcome.running < len(entries) else entries
        for entry in guilty:
            reason = f"while racing: {outcome.reason(self._measure.timeout_s)}"
            entry.out(outcome.status(), reason, failure_of("race", outcome))

    def _keep(self, answers: list[dict[str, Any]], named: dict[str, Entry]) -> None:
        for answer in answers:
            if "status" in answer:
                continue
            launch = Launch(**{key: answer[key] for key in _SAMPLES if key in answer})
            if answer["name"] == CONTROL:
                self._control.append(launch)
            else:
                named[answer["name"]].launches.append(launch)
                if answer.get("energy"):
                    named[answer["name"]].energy = EnergyResult(**answer["energy"])

    def _records(self) -> list[Record]:
        records: list[Record] = [self._record(entry) for entry in self._entries]
        baseline = [e for e in self._running() if e.case.variant == self._block.baseline]
        if baseline and self._control:
            control = ControlRecord(block_id=self._block.id, launches=tuple(self._control))
            records.append(control)
        return records

    def _record(self, entry: Entry) -> CaseRecord:
        spec = entry.case.variant
        family = entry.surveyed.get("family") or variant.get(spec.name).family or spec.name
        return CaseRecord(
            block_id=self._block.id,
            case_id=entry.case.id,
            variant=Variant(
                name=spec.name,
                params=dict(spec.params),
                text=str(spec),
                family=family,
                approximates=entry.surveyed.get("approximates", ""),
            ),
            workload=self._workload,
            is_baseline=spec == self._block.baseline,
            status=entry.status,
            reason=entry.reason,
            flops=_flops(entry),
            cost=entry.cost,
            energy=entry.energy,
            probe=entry.probe,
            numerics=entry.numerics,
            semantics=entry.semantics,
            gate=entry.gate,
            launches=tuple(entry.launches),
            limits=entry.limits,
            failure=entry.failure,
            ended_utc=utc_now(),
        )


def _flops(entry: Entry) -> int | None:
    """Algorithmic FLOPs; of a layer, for which no convention is, those that it says it executes."""
    if "status" in entry.surveyed:
        # What the survey ruled out may be too large even for its mask to be built here.
        return None
    if entry.case.workload.level == "op":
        return entry.case.workload.flops()
    return None if entry.cost is None else entry.cost.executed_flops or None


def utc_now() -> str:
    """Now, in UTC, to the second, as ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def described(case: Case) -> dict[str, Any]:
    """The variant of a case, as tasks are told of it."""
    return {"name": case.variant.name, "params": dict(case.variant.params)}


def _truth_path(folder: Path, entry: Entry) -> Path:
    return folder / f"truth-{_digest(entry)}.pt"


def failure_of(where: Where, outcome: Outcome) -> Failure:
    """What a record keeps of a task that gave no answer."""
    raised = outcome.raised or {}
    return Failure(
        where=where,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        traceback=raised.get("traceback"),
        stderr=outcome.output or None,
    )


def _digest(entry: Entry) -> str:
    """Equal for cases that share a definition."""
    return hashlib.sha256(entry.surveyed["definition"].encode()).hexdigest()[:16]

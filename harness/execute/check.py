"""A variant checked, not timed: its truth, the mutants of that, and its probe on each workload."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.execute.block import BlockRun
from harness.execute.entry import Entry
from harness.execute.local import survey_cases
from harness.execute.workers import Workers
from harness.suite import Block, Suite
from harness.workload import Case, VariantSpec

SUITE = "check"
"""The shipped suite whose workloads a variant is checked on."""


def check(
    spec: VariantSpec, suite: Suite, workers: Workers, files: Sequence[str] = ()
) -> Iterator[Entry]:
    """What is known of a variant on each workload of a suite, as it becomes known; no race."""
    cases = [Case(spec, workload) for workload in suite.workloads()]
    surveyed = survey_cases(workers, cases, files, suite.measure.timeout_s)
    for case in cases:
        block = Block(case.workload, (case,), spec)
        run = BlockRun(block, [surveyed[case.id]], suite.measure, workers, files)
        yield from run.examine()


def is_sound(entries: Sequence[Entry]) -> bool:
    """True where some case ran, each was right, and each gate that says so catches every mutant.

    What a variant says that it does not support is no fault of it.
    """
    ran = [entry for entry in entries if entry.status != "unsupported"]
    vacuous = any(entry.gate is None or entry.gate.vacuous for entry in ran)
    return bool(ran) and all(entry.runs for entry in ran) and not vacuous

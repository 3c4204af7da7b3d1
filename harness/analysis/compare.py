"""Two runs compared case by case: what became faster, larger, less exact, or fails now."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.analysis.pair import KINDS, Pair, Rules, ceilings_of, paired
from harness.errors import RunError
from harness.records import CaseRecord, read_manifest, read_records
from harness.records.manifest import Difference, differences

VERDICTS = ("slower", "faster", "same", "undecided", "failed", "fixed", "not run")
Manifest = Mapping[str, Any]


@dataclass(frozen=True)
class Options:
    """What was asked: the margin (A's when None), and what may differ between the runs."""

    margin: float | None = None
    across_machines: bool = False
    across_versions: bool = False


@dataclass(frozen=True)
class Comparison:
    """Run B against run A. machines, versions: in what the runs are unlike, as was allowed.

    measures: the settings of A and of B. no_yardstick: the folders of runs in which the machine
    was not measured beside the races.
    """

    pairs: tuple[Pair, ...]
    only_a: tuple[CaseRecord, ...]
    only_b: tuple[CaseRecord, ...]
    rules: Rules
    measures: tuple[Manifest, Manifest]
    machines: tuple[Difference, ...] = ()
    versions: tuple[Difference, ...] = ()
    no_yardstick: tuple[Path, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def unlike(self) -> str:
        """What every line of an answer says: `other machine, other versions`; else empty."""
        said = (("other machine", self.machines), ("other versions", self.versions))
        return ", ".join(text for text, found in said if found)

    def counts(self) -> dict[str, int]:
        """How many cases have each verdict on latency, in the order of VERDICTS."""
        found = Counter(pair.verdict for pair in self.pairs)
        return {verdict: found[verdict] for verdict in VERDICTS}

    def regressions(self) -> dict[str, int]:
        """How many cases regressed in each way; `missing`: that B lacks."""
        found = Counter(kind for pair in self.pairs for kind in pair.regressions)
        return {**{kind: found[kind] for kind in KINDS}, "missing": len(self.only_a)}

    def mean(self) -> tuple[float, int] | None:
        """Geometric mean of B's latency over A's, and the number of cases that it is taken over.

        Only cases that both runs have and that are decided; None without any.
        """
        decided = [
            math.log(pair.timing.evidence.seconds.ratio)
            for pair in self.pairs
            if pair.timing is not None and pair.timing.verdict != "undecided"
        ]
        return (math.exp(sum(decided) / len(decided)), len(decided)) if decided else None


def compare(a: Path, b: Path, options: Options | None = None) -> Comparison:
    """Compare run B with run A over the cases that both have.

    Raises RunError for a folder that is no run, for unlike machines or versions that the options
    do not allow, and for runs that have no case in common.
    """
    asked = options or Options()
    one, other = _Run.read(a), _Run.read(b)
    machines = _allowed(one, other, "machine", asked.across_machines)
    versions = _allowed(one, other, "versions", asked.across_versions)
    both = [case for name, case in one.cases.items() if name in other.cases]
    if not both:
        raise RunError(
            f"{a} and {b}: no timed case in common; name two runs of one suite that times cases"
        )
    measure = one.manifest["suite"]["measure"]
    margin = measure["margin"] if asked.margin is None else asked.margin
    rules = Rules(margin, measure["alpha"])
    runs = {run.folder: run for run in (one, other)}
    return Comparison(
        pairs=tuple(_pair(case, one, other, rules) for case in both),
        only_a=tuple(case for name, case in one.cases.items() if name not in other.cases),
        only_b=tuple(case for name, case in other.cases.items() if name not in one.cases),
        rules=rules,
        measures=(measure, other.manifest["suite"]["measure"]),
        machines=machines,
        versions=versions,
        no_yardstick=tuple(folder for folder, run in runs.items() if not run.has_yardstick),
        remarks=tuple(
            text for folder, run in runs.items() for text in remarks(folder, run.manifest)
        ),
    )


def remarks(folder: Path, manifest: Manifest) -> list[str]:
    """What the manifest of a run says against trusting it."""
    found = []
    if not manifest.get("ended_utc"):
        found.append(f"{folder} has not ended: what it still lacks is listed as missing")
    control = manifest.get("control") or {}
    blocks, different = control.get("blocks", 0), control.get("different", 0)
    alpha = manifest["suite"]["measure"]["alpha"]
    if _at_least(different, blocks, alpha) < alpha:
        found.append(
            f"{folder} called two copies of one kernel different in {different} of {blocks} "
            "blocks, which chance does not explain: do not trust its ratios"
        )
    return found


def _at_least(hits: int, trials: int, chance: float) -> float:
    """P(Binomial(trials, chance) >= hits)."""
    fewer = range(min(hits, trials + 1))
    below = (math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in fewer)
    return 1 - sum(below)


@dataclass(frozen=True)
class _Run:
    """A run's cases by id, and those of each block."""

    folder: Path
    manifest: Manifest
    cases: dict[str, CaseRecord]
    blocks: dict[str, list[CaseRecord]]

    @staticmethod
    def read(folder: Path) -> _Run:
        run = _Run(folder, read_manifest(folder), {}, {})
        for record in read_records(folder):
            if not isinstance(record, CaseRecord):
                continue
            if record.case_id in run.cases:
                raise RunError(
                    f"{folder}: holds the case {record.case_id} ({record.variant.text}) twice; "
                    "remove one of its lines"
                )
            run.cases[record.case_id] = record
            run.blocks.setdefault(record.block_id, []).append(record)
        return run

    @property
    def has_yardstick(self) -> bool:
        return any(ceilings_of(block) for block in self.blocks.values())

    def source(self, case: CaseRecord) -> Any:
        return (self.manifest.get("sources") or {}).get(case.variant.name)


def _allowed(
    one: _Run, other: _Run, check: Literal["machine", "versions"], allowed: bool
) -> tuple[Difference, ...]:
    found = differences(one.manifest, other.manifest, check)
    if found and not allowed:
        what, option = {
            "machine": ("machines or their settings", "--across-machines"),
            "versions": ("versions", "--across-versions"),
        }[check]
        raise RunError(
            f"{one.folder} and {other.folder}: unlike {what} ({'; '.join(map(str, found))}); "
            f"name runs that agree, or add {option}"
        )
    return found


def _pair(case: CaseRecord, one: _Run, other: _Run, rules: Rules) -> Pair:
    its = other.cases[case.case_id]
    return paired(
        case.case_id,
        one.blocks[case.block_id],
        other.blocks[its.block_id],
        rules,
        has_new_source=one.source(case) != other.source(its),
    )

"""What `attnbench compare` prints for a reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from harness.analysis.advice import meaning, remedy
from harness.analysis.change import Change, Evidence
from harness.analysis.compare import Comparison
from harness.analysis.groups import Group, grouped
from harness.analysis.pair import IDENTICAL, Judged, Pair
from harness.cli.console import Console
from harness.records import CaseRecord
from harness.report.numbers import speedup, speedup_interval
from harness.workload import Workload

# Marks are shapes, so that a verdict is read without colour.
_MARKS = {"slower": "▼", "faster": "▲", "same": "=", "undecided": "?", "failed": "✗", "fixed": "✓"}
_COLOURS = {"slower": "red", "failed": "red", "faster": "green", "fixed": "green"}
_ORDER = ("failed", "slower", "undecided", "faster", "fixed", "same", "not run")
# More workloads than this are counted, not named.
_NAMED = 3


def print_comparison(found: Comparison, run_a: Path, run_b: Path) -> None:
    """A table a group of workloads, worst first; what is missing; what would decide; the sum."""
    console = Console(highlight=False)
    lines = Console(highlight=False, soft_wrap=True)
    lines.print(f"A: {run_a}\nB: {run_b}", markup=False)
    lines.print(
        "time B/A: above 1x B is slower; to baseline: the ratio to it, B over A; "
        f"margin {100 * found.rules.margin:g}%"
    )
    for one in (*found.machines, *found.versions):
        lines.print(f"unlike: {one}", markup=False)
    for text in found.remarks:
        lines.print(f"note: {text}", markup=False)
    rows = [
        {**pair.a.workload, "variant": pair.a.variant.text, "pair": pair} for pair in found.pairs
    ]
    for group in sorted(grouped(rows), key=lambda group: not any(map(_worse, _pairs(group)))):
        console.print(_table(group, found))
    for text in _ending(found):
        lines.print(text, markup=False)


def _table(group: Group, found: Comparison) -> Table:
    drawn = Table(title=Text(group.title), title_justify="left", pad_edge=False, box=SIMPLE_HEAD)
    drawn.add_column("variant", overflow="fold")
    drawn.add_column(group.axis, justify="right")
    drawn.add_column("verdict", no_wrap=True)
    drawn.add_column("time B/A", justify="right", no_wrap=True)
    drawn.add_column("to baseline", justify="right", no_wrap=True)
    drawn.add_column("notes", overflow="fold")
    for pair in sorted(_pairs(group), key=_rank):
        seen = None if pair.timing is None else pair.timing.evidence
        drawn.add_row(
            Text(pair.a.variant.text),
            str(pair.a.workload[group.axis]),
            Text(f"{_MARKS.get(pair.verdict, '')} {pair.verdict}".strip()),
            "" if seen is None else _factor(seen.widened),
            "" if seen is None or seen.relative is None else _factor(seen.relative),
            Text("; ".join(_notes(pair, found))),
            style=_COLOURS.get("slower" if pair.regressions else pair.verdict, ""),
        )
    return drawn


def _pairs(group: Group) -> list[Pair]:
    return [row["pair"] for row in group.rows]


def _worse(pair: Pair) -> bool:
    return bool(pair.regressions)


def _rank(pair: Pair) -> tuple[Any, ...]:
    lengths = (pair.a.workload["q_len"], pair.a.workload["kv_len"])
    return not pair.regressions, _ORDER.index(pair.verdict), lengths


def _factor(change: Change) -> str:
    """`1.10x` and below it `1.05 to 1.15`, as many digits as are known."""
    if change == IDENTICAL:
        return "1x"
    turned = (
        1 / change.ratio,
        None if change.high is None else 1 / change.high,
        None if change.low is None else 1 / change.low,
    )
    inside = speedup_interval(*turned)
    return f"{speedup(*turned)}\n{inside}" if inside else speedup(*turned)


def _notes(pair: Pair, found: Comparison) -> Iterator[str]:
    if found.unlike:
        yield found.unlike
    if pair.a.status != pair.b.status or pair.verdict == "not run":
        reason = f": {pair.b.reason}" if pair.b.reason else ""
        yield f"{pair.a.status} -> {pair.b.status}{reason}"
    if pair.timing is not None:
        yield from _timing_notes(pair, found)
    yield from _judged("memory", pair.memory)
    yield from _judged("error", pair.error)
    if pair.has_new_source:
        yield "new source"


def _timing_notes(pair: Pair, found: Comparison) -> Iterator[str]:
    assert pair.timing is not None
    seen, why = pair.timing.evidence, pair.timing.why
    if seen.seconds == IDENTICAL:
        yield "same samples"
    machine = _machine(seen, found.rules.margin)
    if machine:
        yield machine
    if why == "launches":
        yield f"launches {max(span.spread for span in pair.timing.spans):.2f}x apart"
    elif why is not None and why != "machine":
        yield {
            "rounds": "too few rounds",
            "margin": "too wide",
            "baseline": "ratio says otherwise",
            "alone": "no second witness",
        }[why]


def _machine(seen: Evidence, margin: float) -> str:
    """How far apart the yardsticks lie, where that is beyond the margin."""
    if seen.yardstick is None or seen.yardstick.widening <= 1 + margin:
        return ""
    side = "slower" if seen.yardstick.furthest > 1 else "faster"
    return f"machine up to {seen.yardstick.widening:.2f}x {side}"


def _judged(name: str, judged: Judged | None) -> Iterator[str]:
    if judged is not None and judged.verdict != "same":
        yield f"{name} {judged.verdict} {judged.ratio:.3g}x"


def _ending(found: Comparison) -> Iterator[str]:
    for name, cases in (("A", found.only_a), ("B", found.only_b)):
        yield from (f"only in {name}: {text}" for text in _listed(cases))
    whys = Counter(pair.timing.why for pair in found.pairs if pair.timing and pair.timing.why)
    for why, count in whys.most_common():
        assert why is not None
        yield f"{count} undecided: {meaning(why)}; {remedy(why, found)}"
    if found.no_yardstick:
        which = " and ".join(map(str, found.no_yardstick))
        yield f"no yardstick of the machine in {which}: only the ratio to the baseline shows drift"
    mean = found.mean()
    if mean is not None:
        of = f"{mean[1]} of {len(found.pairs)} cases"
        yield f"geometric mean {mean[0]:.3g}x in time, over the {of} that are decided"
    yield _sum(found)


def _listed(cases: Sequence[CaseRecord]) -> Iterator[str]:
    by_variant: dict[str, list[CaseRecord]] = {}
    for case in cases:
        by_variant.setdefault(case.variant.text, []).append(case)
    for variant, members in by_variant.items():
        if len(members) > _NAMED:
            yield f"{variant} on {len(members)} workloads"
        else:
            named = (str(Workload.model_validate(case.workload)) for case in members)
            yield f"{variant} on {'; '.join(named)}"


def _sum(found: Comparison) -> str:
    """`3 slower, 1 faster, 80 same, 12 undecided; 1 larger; 2 cases only in A`."""
    always = ("slower", "faster", "same", "undecided")
    counts = found.counts()
    times = ", ".join(f"{n} {name}" for name, n in counts.items() if n or name in always)
    others = [f"{n} {name}" for name, n in _side(found).items()]
    for name, cases in (("A", found.only_a), ("B", found.only_b)):
        if cases:
            others.append(f"{len(cases)} {'case' if len(cases) == 1 else 'cases'} only in {name}")
    return "; ".join([times, *others])


def _side(found: Comparison) -> dict[str, int]:
    said = ("larger", "smaller", "worse", "better")
    judged = [one for pair in found.pairs for one in (pair.memory, pair.error) if one is not None]
    counts = Counter(one.verdict for one in judged)
    return {name: counts[name] for name in said if counts[name]}

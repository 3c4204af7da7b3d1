"""What a page says first: who is fastest, in one sentence and by length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.groups import Group, Row, grouped, in_order
from harness.report.numbers import rounded
from harness.report.ranking import Winner, winner_at, winners_of


@dataclass(frozen=True)
class Span:
    """The lengths, next to each other, that one variant wins."""

    variant: str
    lengths: str
    speedup: str
    ties: tuple[str, ...]


@dataclass(frozen=True)
class Fastest:
    """The winners of one group of workloads, by length."""

    title: str
    axis: str
    spans: tuple[Span, ...]


def sentence(rows: Sequence[Row]) -> str:
    """The verdict of the page, in one sentence."""
    found = winners_of(rows)
    if not found:
        return "No case came out correct and timed, so there is nothing to rank."
    counts = Counter(winner.variant for winner in found).most_common()
    blocks = len(found)
    first, most = counts[0]
    if len(counts) == 1:
        where = f"all {blocks} workloads" if blocks > 1 else "the one workload"
        text = f"{first} is the fastest in {where}{_versus(found, rows)}"
    else:
        others = _listed([f"{name} in {count}" for name, count in counts[1:]])
        text = f"{first} is the fastest in {most} of {blocks} workloads, {others}"
    tied = sum(bool(winner.ties) for winner in found)
    alone = sum(winner.rivals == 0 for winner in found)
    notes = [f"in {tied} the lead is within the noise"] if tied else []
    notes += [f"in {alone} nothing else came out ok"] if alone else []
    return text + (f" ({_listed(notes)})." if notes else ".")


def fastest(rows: Sequence[Row]) -> list[Fastest]:
    """The winner at each length, for each group of workloads."""
    found = winners_of(rows)
    made = [Fastest(group.title, group.axis, _spans(group, found)) for group in grouped(rows)]
    return [one for one in made if one.spans]


def _spans(group: Group, found: Sequence[Winner]) -> tuple[Span, ...]:
    runs: list[list[tuple[int, Winner]]] = []
    for length in group.lengths:
        winner = winner_at(group, length, found)
        if winner is None:
            continue
        if runs and runs[-1][-1][1].variant == winner.variant:
            runs[-1].append((length, winner))
        else:
            runs.append([(length, winner)])
    return tuple(_span(run) for run in runs)


def _span(run: Sequence[tuple[int, Winner]]) -> Span:
    low, high = run[0][0], run[-1][0]
    ties = in_order(name for _, winner in run for name in winner.ties)
    lengths = f"{low} to {high}" if high > low else str(low)
    return Span(run[0][1].variant, lengths, _range([winner for _, winner in run]), ties)


def _range(found: Sequence[Winner]) -> str:
    """Speed-ups from lowest to highest: `2.7x to 3.5x`; empty for the baseline itself."""
    turned = sorted(1 / winner.ratio for winner in found if winner.ratio and winner.ratio != 1)
    if not turned:
        return ""
    ends = in_order(f"{rounded(value, 2)}x" for value in (turned[0], turned[-1]))
    return " to ".join(ends)


def _versus(found: Sequence[Winner], rows: Sequence[Row]) -> str:
    baselines = in_order(row["variant"] for row in rows if row.get("is_baseline"))
    span = _range(found)
    return f", {span} as fast as {baselines[0]}" if span and len(baselines) == 1 else ""


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"

"""What a page says first: who is fastest, in one sentence and by length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.groups import Group, Row, grouped, in_order
from harness.report.numbers import speedup, speedup_interval
from harness.report.ranking import Winner, winner_at, winners_of


@dataclass(frozen=True)
class Span:
    """Lengths, next to each other, with the same answer.

    `variant` is the quickest; the fastest only where `ties`, what it cannot be told from, is
    empty. `speedup` names the variant where it is not called the fastest.
    """

    variant: str
    lengths: str
    speedup: str
    ties: tuple[str, ...]

    @property
    def undecided(self) -> str:
        """`no single fastest: A, B cannot be told apart`; empty where one is the fastest."""
        names = ", ".join((self.variant, *self.ties))
        return f"no single fastest: {names} cannot be told apart" if self.ties else ""


@dataclass(frozen=True)
class Fastest:
    """The answers for one group of workloads, by length."""

    title: str
    axis: str
    spans: tuple[Span, ...]


def sentence(rows: Sequence[Row]) -> str:
    """The verdict of the page, in one sentence.

    A variant is called the fastest only where it is told apart from every other correct one.
    """
    found = winners_of(rows)
    if not found:
        return "No case came out correct and timed, so there is nothing to rank."
    decided = [winner for winner in found if not winner.ties]
    if not decided:
        return _nothing_shown(found, rows)
    blocks = len(found)
    (first, most), *others = Counter(winner.variant for winner in decided).most_common()
    if most == blocks:
        where = f"all {blocks} workloads" if blocks > 1 else "the one workload"
        text = f"{first} is the fastest in {where}{_versus(found, rows)}"
    else:
        text = f"{first} is the fastest in {most} of {blocks} workloads"
        text += "".join(f", {name} in {count}" for name, count in others)
    open_ = blocks - len(decided)
    alone = sum(winner.rivals == 0 for winner in found)
    text += f"; in {open_} no single fastest can be named" if open_ else ""
    return text + (f" (in {alone} nothing else came out ok)." if alone else ".")


def fastest(rows: Sequence[Row]) -> list[Fastest]:
    """The answer at each length, for each group of workloads."""
    found = winners_of(rows)
    made = [Fastest(group.title, group.axis, _spans(group, found)) for group in grouped(rows)]
    return [one for one in made if one.spans]


def _nothing_shown(found: Sequence[Winner], rows: Sequence[Row]) -> str:
    verdicts = [row["verdict"] for row in rows if row.get("verdict") and not row.get("is_baseline")]
    if len(found) > 1:
        text = f"No single fastest in any of the {len(found)} workloads: in each, the quickest "
        text += "variants cannot be told apart"
    else:
        names = _listed((found[0].variant, *found[0].ties))
        text = f"No single fastest: {names} cannot be told apart"
    if verdicts and set(verdicts) == {"undecided"}:
        count = f"all {len(verdicts)} comparisons" if len(verdicts) > 1 else "the one comparison"
        text += f"; {count} with the baseline came out undecided"
    return f"{text}."


def _spans(group: Group, found: Sequence[Winner]) -> tuple[Span, ...]:
    runs: list[list[tuple[int, Winner]]] = []
    for length in group.lengths:
        winner = winner_at(group, length, found)
        if winner is None:
            continue
        if runs and _answer(runs[-1][-1][1]) == _answer(winner):
            runs[-1].append((length, winner))
        else:
            runs.append([(length, winner)])
    return tuple(_span(run) for run in runs)


def _answer(winner: Winner) -> tuple[str, frozenset[str]]:
    return winner.variant, frozenset(winner.ties)


def _span(run: Sequence[tuple[int, Winner]]) -> Span:
    low, high = run[0][0], run[-1][0]
    first = run[0][1]
    lengths = f"{low} to {high}" if high > low else str(low)
    versus = _range([winner for _, winner in run])
    if versus and first.ties:
        versus = f"{first.variant}: {versus}"
    return Span(first.variant, lengths, versus, first.ties)


def _range(found: Sequence[Winner]) -> str:
    """Speed-ups from lowest to highest, each with its interval; empty for the baseline itself."""
    rated = [winner for winner in found if winner.ratio and winner.ratio != 1]
    ordered = sorted(rated, key=lambda winner: -(winner.ratio or 0))
    return " to ".join(in_order(_speedup(winner) for winner in (*ordered[:1], *ordered[-1:])))


def _speedup(winner: Winner) -> str:
    ratios = (winner.ratio, winner.ratio_low, winner.ratio_high)
    interval = speedup_interval(*ratios)
    known = f" ({interval})" if interval else ""
    unsure = not interval or winner.verdict == "undecided"
    return f"{speedup(*ratios)}{known}{' ?' if unsure else ''}"


def _versus(found: Sequence[Winner], rows: Sequence[Row]) -> str:
    baselines = in_order(row["variant"] for row in rows if row.get("is_baseline"))
    span = _range(found)
    return f", {span} as fast as {baselines[0]}" if span and len(baselines) == 1 else ""


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"

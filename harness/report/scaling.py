"""Growth and crossovers as tables of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.crossover import Rivals
from harness.analysis.groups import in_order
from harness.analysis.growth import Growth, Quantity

QUANTITIES: tuple[Quantity, ...] = ("time", "memory", "error")
# In words as well as by a sign, never by colour alone.
AGAINST = {
    "held": "",
    "above": "grows faster than claimed",
    "below": "grows slower than claimed",
    "not reached": "not reached: still rising",
}


@dataclass(frozen=True)
class GrowthCell:
    """An exponent, and what it says of the claim."""

    measured: str
    claim: str
    flag: str


@dataclass(frozen=True)
class GrowthLine:
    """One variant; a cell for each of QUANTITIES, None where there are too few lengths."""

    variant: str
    cells: tuple[GrowthCell | None, ...]
    lengths: str


@dataclass(frozen=True)
class Exponents:
    """Exponents of the variants of one group of workloads."""

    title: str
    axis: str
    lines: tuple[GrowthLine, ...]


@dataclass(frozen=True)
class Turn:
    """A crossing, as a row of a table."""

    title: str
    below: str
    above: str
    at: str
    between: str


@dataclass(frozen=True)
class Crossovers:
    """Where pairs cross, and how many do not, or may."""

    turns: tuple[Turn, ...]
    pairs: int
    cross: int
    none: int
    not_known: int


def exponents(found: Sequence[Growth]) -> list[Exponents]:
    """A table for each group of workloads."""
    groups = in_order(id(one.group) for one in found)
    members = [[one for one in found if id(one.group) == key] for key in groups]
    return [
        Exponents(
            mine[0].group.title,
            mine[0].group.axis,
            tuple(_line(mine, variant) for variant in in_order(one.variant for one in mine)),
        )
        for mine in members
    ]


def crossovers(found: Sequence[Rivals]) -> Crossovers:
    """The crossings of all pairs as rows, and the rest as counts."""
    counts = Counter(pair.outcome for pair in found)
    turns = [
        Turn(
            pair.group.title,
            one.below,
            one.above,
            f"{pair.group.axis} {one.text}",
            f"{one.between[0]} and {one.between[1]}",
        )
        for pair in found
        for one in pair.crossings
    ]
    return Crossovers(
        tuple(turns), len(found), counts["crosses"], counts["none"], counts["not known"]
    )


def _line(found: Sequence[Growth], variant: str) -> GrowthLine:
    mine = {one.quantity: one for one in found if one.variant == variant}
    spans = in_order(_lengths(one) for one in mine.values())
    if len(spans) > 1:
        spans = tuple(f"{one.quantity}: {_lengths(one)}" for one in mine.values())
    cells = tuple(_cell(mine[name]) if name in mine else None for name in QUANTITIES)
    return GrowthLine(variant, cells, "; ".join(spans))


def _lengths(one: Growth) -> str:
    missing = ", ".join(f"{length} {status}" for length, status in one.missing)
    return ", ".join(map(str, one.lengths)) + (f" (without {missing})" if missing else "")


def _cell(one: Growth) -> GrowthCell:
    claim = "" if one.claim is None else f"claims L^{one.claim:g}"
    if claim and not one.tells:
        claim += "; too wide to tell"
    return GrowthCell(one.measured, claim, AGAINST[one.against_claim or "held"])

"""What stands behind the verdicts: was the gate able to fail, what was probed, was it throttled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.analysis.groups import Group, Row, block_of, grouped, in_order


@dataclass(frozen=True)
class Survivor:
    """A wrong answer that the gate let pass: for which variants, on which workloads."""

    mutant: str
    variants: tuple[str, ...]
    workloads: tuple[str, ...]


@dataclass(frozen=True)
class Gates:
    """Mutants put through the gates of these cases; `untested` cases have no such record."""

    cases: int
    untested: int
    killed: int
    applicable: int
    survivors: tuple[Survivor, ...]


@dataclass(frozen=True)
class Probed:
    """A property, on how many cases it was probed and held, and on how many not probed."""

    name: str
    held: int
    not_probed: int


@dataclass(frozen=True)
class Throttled:
    """Rounds of one run during which the device held its clock back."""

    run: str
    rounds: int
    of: int
    variants: tuple[str, ...]


def gate(rows: Sequence[Row]) -> Gates:
    """How many wrong answers the gates caught, and which they let pass."""
    tested = [row for row in rows if "vacuous" in row]
    gates = {_gate_of(row): row for row in tested}.values()
    killed = sum(len(_names(row, "mutants_killed")) for row in gates)
    survived = sum(len(_names(row, "mutants_survived")) for row in gates)
    untested = sum(row["status"] == "ok" for row in rows if "vacuous" not in row)
    return Gates(len(tested), untested, killed, killed + survived, _survivors(rows))


def _gate_of(row: Row) -> tuple[Any, ...]:
    """The cases of one block with one definition share a gate, which is tested once.

    Older records do not name it: there a family's gates with the same outcome are taken for one.
    """
    named = row.get("gate_definition") or row.get("family")
    return block_of(row), named, row.get("mutants_killed"), row.get("mutants_survived")


def probed(rows: Sequence[Row]) -> list[Probed]:
    """Every property that some case was probed for, in order of first mention."""
    held = Counter(name for row in rows for name in _names(row, "semantics_held"))
    not_probed = Counter(name for row in rows for name in _names(row, "semantics_not_probed"))
    return [Probed(name, held[name], not_probed[name]) for name in in_order([*held, *not_probed])]


def throttled(rows: Sequence[Row]) -> list[Throttled]:
    """Runs with throttled rounds, and the variants that they befell."""
    found = []
    for run in in_order(str(row.get("run", "")) for row in rows):
        timed = [row for row in rows if str(row.get("run", "")) == run and "rounds" in row]
        held_back = [row for row in timed if row.get("throttled_rounds")]
        if held_back:
            count = int(sum(row["throttled_rounds"] for row in held_back))
            names = in_order(row["variant"] for row in held_back)
            found.append(Throttled(run, count, int(sum(row["rounds"] for row in timed)), names))
    return found


def _names(row: Row, column: str) -> list[str]:
    return [name for name in str(row.get(column, "")).split("; ") if name]


def _survivors(rows: Sequence[Row]) -> tuple[Survivor, ...]:
    """By mutant; workloads on which the same variants let it pass stand together."""
    places: dict[tuple[str, str], list[str]] = {}
    for group in grouped(rows):
        for row in group.rows:
            for mutant in _names(row, "mutants_survived"):
                places.setdefault((mutant, _place(group, row)), []).append(row["variant"])
    together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (mutant, place), variants in places.items():
        together.setdefault((mutant, in_order(variants)), []).append(place)
    return tuple(
        Survivor(mutant, variants, tuple(found)) for (mutant, variants), found in together.items()
    )


def _place(group: Group, row: Row) -> str:
    return f"{group.title}, {group.axis} {row[group.axis]}"


def listed(names: Iterable[str], most: int = 4) -> str:
    """The first few names, and how many more there are."""
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more

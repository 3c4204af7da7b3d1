"""attnbench check: is a variant right, and could the gate that says so have said otherwise?"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from harness.cli.options import load_variants, print_json

_COLUMNS = "{:<12}{:>9}{:>10}{:>10}{:>10}{:>9}{:>10}  {}"
_HEADS = ("status", "error", "allowed", "gradient", "allowed", "mutants", "semantics", "workload")
_INDENT = "            "


@click.command("check")
@click.argument("name", metavar="VARIANT|FILE")
@click.option("--variant", "files", multiple=True, metavar="FILE", help="Register a file first.")
@click.option(
    "--set", "settings", multiple=True, metavar="FIELD=VALUES", help="As in q_len=256,1024."
)
@click.option("--json", "as_json", is_flag=True, help="Print for a program.")
def check_command(
    name: str, files: tuple[str, ...], settings: tuple[str, ...], as_json: bool
) -> None:
    """Check VARIANT on small workloads of every kind (suite `check`), and race nothing.

    On each: its error beside what is allowed, which wrong answers the gate catches there, and
    which properties it was seen to hold. Leaves with 1 unless it is right on each, and the gate
    caught every wrong answer.
    """
    specs, paths = load_variants((name, *files))
    from harness.execute.check import SUITE, check, is_sound
    from harness.execute.workers import Workers
    from harness.suite import load_suite

    suite = load_suite(SUITE, overrides=settings)
    answers = []
    with Workers() as workers:
        # A name comes before the variants of files, a file's own before those of other files.
        for spec in specs if name.endswith(".py") else specs[:1]:
            if not as_json:
                click.echo(f"{spec} on {_count(suite.counts()[0], 'workload')}")
                click.echo(_COLUMNS.format(*_HEADS))
            entries = []
            for entry in check(spec, suite, workers, paths):
                entries.append(entry)
                if not as_json:
                    _print_entry(entry)
            answers.append({"variant": str(spec), "sound": is_sound(entries)})
            answers[-1]["cases"] = [_answer(entry) for entry in entries]
            if not as_json:
                _print_summary(entries)
    if as_json:
        print_json(answers)
    if not all(answer["sound"] for answer in answers):
        sys.exit(1)


def _answer(entry: Any) -> dict[str, Any]:
    parts = {name: getattr(entry, name) for name in ("numerics", "gate", "semantics", "probe")}
    told = {key: None if part is None else part.model_dump() for key, part in parts.items()}
    workload = entry.case.workload.as_dict()
    return {"workload": workload, "status": entry.status, "reason": entry.reason, **told}


def _print_entry(entry: Any) -> None:
    found, gate, semantics = entry.numerics, entry.gate, entry.semantics
    errors = ["error", "error_bound", "gradient_error", "gradient_error_bound"]
    numbers = [None if found is None else getattr(found, name) for name in errors]
    killed = "-" if gate is None else f"{len(gate.killed)}/{len(gate.killed + gate.survived)}"
    held = "-"
    if semantics is not None:
        held = f"{len(semantics.held)}/{len(semantics.held) + len(semantics.broken)}"
    shown = ("-" if number is None else f"{number:.1e}" for number in numbers)
    click.echo(_COLUMNS.format(entry.status, *shown, killed, held, entry.case.workload))
    if entry.reason is not None:
        click.echo(f"{_INDENT}{entry.reason}")
    if gate is not None and gate.vacuous:
        click.echo(f"{_INDENT}vacuous: the gate lets pass {', '.join(gate.survived)}")
    for name, why in (semantics.broken if semantics is not None else {}).items():
        click.echo(f"{_INDENT}broken: {name}: {why}")


def _print_summary(entries: Sequence[Any]) -> None:
    counts = Counter(entry.status for entry in entries)
    text = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    vacuous = sum(entry.gate is not None and entry.gate.vacuous for entry in entries)
    click.echo(f"{text}; {_count(vacuous, 'gate')} vacuous")
    held: set[str] = set().union(*(e.semantics.held for e in entries if e.semantics is not None))
    if held:
        click.echo(f"semantics held: {', '.join(sorted(held))}")
    missing: dict[str, str] = {}
    for entry in entries:
        missing |= entry.semantics.not_probed if entry.semantics is not None else {}
    for name, why in sorted(missing.items()):
        if name not in held:
            click.echo(f"not probed: {name}: {why}")


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'s' if number > 1 else ''}"

"""attnbench list: variants, suites, runs."""

from __future__ import annotations

import inspect
from collections import Counter
from pathlib import Path
from typing import Any

import click
from rich.table import Column, Table

from harness.cli.console import Console
from harness.cli.options import RESULTS, find_runs, print_json
from harness.errors import AttnbenchError

_JSON = click.option("--json", "as_json", is_flag=True, help="Print for a program.")


@click.group("list")
def list_command() -> None:
    """List variants, suites or runs."""


@list_command.command("variants")
@_JSON
def list_variants(as_json: bool) -> None:
    """Every variant that is installed."""
    from harness import variant

    variant.load_installed()
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "family": cls.family or name,
            "approximates": cls.approximates or None,
            "parameters": {
                key: {"type": found.type_text, "default": None if found.required else found.default}
                for key, found in variant.parameters(cls).items()
            },
            "summary": summary(cls),
        }
        for name, cls in variant.registered().items()
    ]
    if as_json:
        print_json(rows)
        return
    heads = ("variant", "family", "approximates", "parameters", "what it is")
    table = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        names = ", ".join(f"{k}={v['default']}" for k, v in row["parameters"].items())
        stands_for = row["approximates"] or "-"
        table.add_row(row["name"], row["family"], stands_for, names or "-", row["summary"])
    Console().print(table)


@list_command.command("suites")
@_JSON
def list_suites(as_json: bool) -> None:
    """Every suite that is shipped."""
    from harness import variant
    from harness.suite import load_suite, shipped

    variant.load_installed()
    rows: list[dict[str, Any]] = []
    for name, path in sorted(shipped().items()):
        suite = load_suite(str(path))
        blocks, cases = suite.counts()
        row: dict[str, Any] = {"name": name, "blocks": blocks, "cases": cases}
        row["schedules"] = len(suite.schedules)
        rows.append({**row, "description": suite.description, "path": str(path)})
    if as_json:
        print_json(rows)
        return
    table = Table("suite", "to run", "question", box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            row["name"], amounts(row["blocks"], row["cases"], row["schedules"]), row["description"]
        )
    Console().print(table)


@list_command.command("runs")
@click.option(
    "--in", "root", type=click.Path(path_type=Path), default=RESULTS, help="Where to look."
)
@_JSON
def list_runs(root: Path, as_json: bool) -> None:
    """Every run below results/ (or --in FOLDER)."""
    rows: list[dict[str, Any]] = [described_run(folder) for folder in find_runs(root)]
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo(f"no runs below {root}; make one with `attnbench run quick`")
        return
    table = Table(
        Column("run", overflow="fold"),
        "suite",
        "machine",
        "started",
        "outcomes",
        box=None,
        pad_edge=False,
    )
    for row in rows:
        found = [f"{n} {status}" for status, n in row["outcomes"].items()]
        found += [f"{n} schedules {status}" for status, n in row["schedules"].items()]
        outcomes = ", ".join(found)
        state = outcomes if row["ended_utc"] else f"{outcomes or 'nothing yet'} (unfinished)"
        table.add_row(row["folder"], row["suite"], row["machine"], row["started_utc"], state)
    Console().print(table)


def described_run(folder: Path) -> dict[str, Any]:
    """What a list says of a run: suite, machine, times, counts by status."""
    from harness.records import CaseRecord, ScheduleRecord, read_manifest, read_records

    try:
        manifest = read_manifest(folder)
    except AttnbenchError as error:
        return {
            "folder": str(folder),
            "suite": "?",
            "machine": "?",
            "started_utc": "?",
            "ended_utc": None,
            "outcomes": {},
            "schedules": {},
            "problem": str(error),
        }
    records = list(read_records(folder))
    outcomes = Counter(one.status for one in records if isinstance(one, CaseRecord))
    simulated = Counter(one.status for one in records if isinstance(one, ScheduleRecord))
    return {
        "folder": str(folder),
        "suite": manifest["suite"]["name"],
        "machine": manifest["machine_name"],
        "started_utc": manifest["started_utc"],
        "ended_utc": manifest.get("ended_utc"),
        "outcomes": dict(outcomes),
        "schedules": dict(simulated),
    }


def amounts(blocks: int, cases: int, schedules: int) -> str:
    """How much a suite holds: `8 blocks, 96 cases`, `96 schedules`."""
    timed = f"{blocks} blocks, {cases} cases" if blocks or not schedules else ""
    simulated = f"{schedules} schedules" if schedules else ""
    return ", ".join(filter(None, [timed, simulated]))


def summary(cls: type) -> str:
    """The first line of a class's docstring."""
    return (inspect.getdoc(cls) or "").strip().split("\n")[0]

"""attnbench report, export, schema, completion: what is written for others."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click
from click.shell_completion import get_completion_class

from harness.cli.options import complete_run, print_json, write_output
from harness.errors import OptionError

Format = Literal["csv", "parquet", "markdown", "latex", "json"]
_RUNS = click.argument(
    "runs",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    shell_complete=complete_run,
)


@click.command("report")
@_RUNS
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the report.")
@click.option("--json", "as_json", is_flag=True, help="Print for a program.")
def report_command(runs: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Turn RUNS into a page, figures and tables, in the run's report/ unless --out names one."""
    from harness.report import write_report

    page = write_report(runs, out)
    if as_json:
        print_json({"page": str(page)})
    else:
        click.echo(str(page))


@click.command("export")
@_RUNS
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "parquet", "markdown", "latex", "json"]),
    default="csv",
    show_default=True,
)
@click.option("--out", metavar="FILE", help="Standard output when left out.")
@click.option("--claims", is_flag=True, help="What became of the claims instead, one row each.")
@click.option("--schedules", is_flag=True, help="The simulated schedules instead, one row each.")
def export_command(
    runs: tuple[Path, ...], form: Format, out: str | None, claims: bool, schedules: bool
) -> None:
    """Write the records of RUNS, one row a case."""
    from harness import records
    from harness.records import load, named_runs
    from harness.report.claims import table
    from harness.report.export import export

    if claims and schedules:
        raise OptionError("--claims and --schedules exclude each other; leave one out")
    frame = records.schedules(runs) if schedules else load(runs)
    if schedules and frame.empty:
        raise OptionError(f"--schedules: none was simulated in {', '.join(map(str, runs))}")
    if claims:
        frame = table(frame, {name: told for name, (_, told) in named_runs(runs).items()})
    write_output(export(frame, form), out)


@click.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of suite files, for editors."""
    from harness import variant
    from harness.suite import schema

    variant.load_installed()
    print_json(schema())


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the code that completes attnbench in SHELL.

    For bash: eval "$(attnbench completion bash)".
    """
    from harness.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "attnbench", "_ATTNBENCH_COMPLETE").source())

"""attnbench schedule: attention on a ring of processing elements, cycle by cycle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import print_json
from harness.errors import OptionError, ScheduleError, suggest

if TYPE_CHECKING:
    from harness.schedule.model import Schedule
    from harness.schedule.solution import Solution

_COUNT = click.IntRange(min=1)
MOST_VECTORS = 1024
"""2 n^2 operations are listed: half a minute for so many."""


@dataclass(frozen=True)
class Wanted:
    """The options that say which schedule is meant."""

    n: int
    m: int
    scheme: str
    name: str | None
    solve: bool
    registers: bool
    time_limit: float


@click.command("schedule")
@click.option("--n", type=_COUNT, required=True, help="How many vectors.")
@click.option("--m", type=_COUNT, required=True, help="How many elements; m divides n.")
@click.option(
    "--scheme",
    type=click.Choice(["general", "symmetric", "causal"]),
    required=True,
    help="q, k, v differ; q = k = v; a causal mask.",
)
@click.option("--name", help="One of the scheme's schedules; with --solve one of its problems.")
@click.option("--solve", is_flag=True, help="Search the fewest cycles, for few vectors.")
@click.option("--registers", is_flag=True, help="With --solve: then the fewest registers.")
@click.option(
    "--time-limit",
    type=float,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Of the search for cycles, and of that for registers.",
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw it: .png, .svg or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print for a program.")
def schedule_command(plot: Path | None, as_json: bool, **options: Any) -> None:
    """Show what each element of a ring does and sends in each cycle, and what that costs.

    Without --name it is ring, half_fused, or zigzag (striped where 2 m does not divide n); with
    --solve general, symmetric_total or causal_balanced.
    """
    wanted = Wanted(**options)
    _check(wanted, plot)
    schedule, solution = _solved(wanted) if wanted.solve else (_generated(wanted), None)
    told = _told(schedule, solution)
    if as_json:
        print_json({**told, "schedule": _stored(schedule)})
    else:
        from harness.cli.schedule_text import print_schedule

        print_schedule(schedule, told)
    if plot is not None:
        _draw(schedule, plot)


def _check(wanted: Wanted, plot: Path | None) -> None:
    if wanted.registers and not wanted.solve:
        raise OptionError("--registers needs a search; add --solve")
    if not wanted.time_limit > 0:
        raise OptionError(
            f"--time-limit must be above 0 seconds, found {wanted.time_limit:g}; write 60"
        )
    if wanted.n > MOST_VECTORS:
        raise OptionError(
            f"--n {wanted.n}: a schedule is written out cycle by cycle, for at most "
            f"{MOST_VECTORS:,} vectors; harness.schedule.closed_form has the cycles of more"
        )
    if wanted.n % wanted.m:
        fits = ", ".join(str(m) for m in range(1, wanted.n + 1) if wanted.n % m == 0)
        raise OptionError(
            f"--m must divide --n: --n {wanted.n} --m {wanted.m}; write --m as one of {fits}"
        )
    if plot is not None:
        _check_plot(plot)


def _check_plot(plot: Path) -> None:
    """Before the work: a search may take a minute."""
    if plot.suffix not in (".png", ".svg", ".pdf"):
        raise OptionError(f"--plot {plot}: must end in .png, .svg or .pdf; write schedule.png")
    if plot.is_dir():
        raise OptionError(f"--plot {plot}: is a folder; name a file")
    if not plot.absolute().parent.is_dir():
        raise OptionError(f"--plot {plot}: there is no folder {plot.parent}; make it first")


def _generated(wanted: Wanted) -> Schedule:
    from harness.schedule.generate import GENERATORS

    # Sizes that every generator takes tell what scheme it is of.
    known = [name for name, make in GENERATORS.items() if make(4, 2).scheme == wanted.scheme]
    causal = "striped" if wanted.n % (2 * wanted.m) else "zigzag"
    usual = {"general": "ring", "symmetric": "half_fused", "causal": causal}[wanted.scheme]
    name = _named(wanted.name or usual, known, GENERATORS, wanted)
    try:
        return GENERATORS[name](wanted.n, wanted.m)
    except ScheduleError as error:
        raise OptionError(f"--n {wanted.n} --m {wanted.m} --name {name}: {error}") from error


def _solved(wanted: Wanted) -> tuple[Schedule, Solution]:
    from harness.schedule.problem import PROBLEMS, problem_named
    from harness.schedule.solve import fewest_registers, solve

    known = [name for name in PROBLEMS if name.split("_")[0] == wanted.scheme]
    name = _named(wanted.name or known[0], known, PROBLEMS, wanted)
    problem = problem_named(name, wanted.n, wanted.m)
    limits: dict[str, Any] = {"time_limit_s": wanted.time_limit, "progress": _progress}
    found = solve(problem, **limits)
    if wanted.registers:
        found = fewest_registers(problem, found, **limits)
    return found.schedule, found


def _named(name: str, known: list[str], every: Any, wanted: Wanted) -> str:
    if name in known:
        return name
    option = f"--name {name}"
    if name in every:
        raise OptionError(
            f"{option} is not of --scheme {wanted.scheme}; use one of {', '.join(known)}"
        )
    what = "problem for --solve" if wanted.solve else "schedule"
    raise OptionError(f"{option}: no such {what}; {suggest(name, known)}")


def _progress(text: str) -> None:
    click.echo(text, err=True)


def _told(schedule: Schedule, solution: Solution | None) -> dict[str, Any]:
    """All figures of a schedule, and what a search says of them."""
    from harness.schedule.account import account

    found = account(schedule, solution.bound if solution else None)
    told: dict[str, Any] = {
        "name": schedule.name,
        "scheme": schedule.scheme,
        "n": schedule.vectors,
        "m": schedule.elements,
        "complete": schedule.complete,
        **asdict(found.figures),
        "bound": found.bound,
        "ring_cycles": found.ring,
        "saving": found.saving,
    }
    if solution is not None:
        names = ("optimal", "proof", "fewest", "seconds", "variables", "clauses")
        told["search"] = {name: getattr(solution, name) for name in names}
    return told


def _stored(schedule: Schedule) -> Any:
    from harness.schedule.storing import to_json

    return json.loads(to_json(schedule))


def _draw(schedule: Schedule, plot: Path) -> None:
    from harness.report.figures import render
    from harness.report.gantt import gantt

    content = render(gantt(schedule), plot.suffix[1:])
    try:
        plot.write_bytes(content)
    except OSError as error:
        raise OptionError(
            f"--plot {plot}: cannot be written ({error.strerror}); name another file"
        ) from error
    click.echo(str(plot), err=True)

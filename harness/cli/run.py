"""attnbench run: a suite on this machine, with progress, a table and a page at the end."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, Literal

import click

from harness.cli.options import complete_suite, cuda_available, load_variants, print_json
from harness.errors import OptionError


@click.command("run")
@click.argument("suite", shell_complete=complete_suite)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.")
@click.option(
    "--variant",
    "variants",
    multiple=True,
    metavar="FILE_OR_NAME",
    help="Add a variant: a file that registers one, or a name such as polynomial(degree=2).",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option(
    "--budget",
    type=float,
    metavar="SECONDS",
    help="Seconds to aim at: races are cut short, and more stays undecided. Each case is checked "
    "and timed once nevertheless; --dry-run says how long that takes at least.",
)
@click.option("--resume", is_flag=True, help="Finish the run in --out.")
@click.option("--where", multiple=True, metavar="EXPR", help='Only these, as in "q_len<=1024".')
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUES", help="As in heads=2,8.")
@click.option("--dry-run", is_flag=True, help="Say how much there is to do, and stop.")
@click.option("--no-report", is_flag=True, help="Write no report; `attnbench report` writes one.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome for a program.")
def run_command(
    suite: str,
    out: Path | None,
    variants: tuple[str, ...],
    device: Literal["auto", "cpu", "cuda"],
    budget: float | None,
    resume: bool,
    where: tuple[str, ...],
    settings: tuple[str, ...],
    dry_run: bool,
    no_report: bool,
    as_json: bool,
) -> None:
    """Run SUITE, a file or the name of a shipped suite (see `attnbench list suites`)."""
    if budget is not None and not 0 < budget < float("inf"):
        raise OptionError(f"--budget must be above 0 seconds, found {budget:g}; write 60")
    if out is not None and not str(out).strip("."):
        raise OptionError(f"--out names no folder: {str(out)!r}; write --out results/local/mine")
    if resume and out is None:
        raise OptionError("--resume needs the run's folder; add --out DIR")
    specs, files = load_variants(variants)
    from harness.suite import load_suite

    cuda = device == "auto" and cuda_available()
    loaded = load_suite(
        suite, variants=specs, where=where, overrides=settings, device=device, cuda=cuda
    )
    _announce(loaded, budget, as_json=as_json and dry_run)
    if not dry_run:
        folder = _execute(loaded, out, files, budget, resume)
        _conclude(folder, report=not no_report, as_json=as_json)


def _announce(suite: Any, budget: float | None, *, as_json: bool) -> None:
    from harness.cli.listing import amounts
    from harness.execute.estimate import estimate_s

    blocks, cases = suite.counts()
    about = estimate_s(suite, budget)
    if as_json:
        counts = {"blocks": blocks, "cases": cases, "schedules": len(suite.schedules)}
        print_json({"suite": suite.name, **counts, "about_s": about})
        return
    click.echo(
        f"{suite.name}: {amounts(blocks, cases, len(suite.schedules))}, about {_minutes(about)}",
        err=True,
    )


def _execute(
    suite: Any,
    out: Path | None,
    files: tuple[str, ...],
    budget: float | None,
    resume: bool,
) -> Path:
    from harness.cli.progress import Progress
    from harness.execute.local import Request, default_folder, run_suite

    first = next(suite.blocks(), None)
    device = first.workload.device if first is not None else "cpu"
    folder = out if out is not None else default_folder(suite, device)
    for name in ("SIGTERM", "SIGHUP"):  # asked to end, or the terminal is gone: as Ctrl-C
        number = getattr(signal, name, None)
        # Under nohup the signal is ignored, and stays so.
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    request = Request(suite, folder, files, budget, resume, tuple(sys.argv))
    with Progress(suite.counts()[0], suite.measure.model_dump()) as progress:
        try:
            run_suite(request, progress.listeners())
        except KeyboardInterrupt:
            progress.stop()
            blocks = suite.counts()[0]
            after = f" after {progress.done} of {blocks} blocks" if blocks else ""
            click.echo(
                f"interrupted{after}; what was {'measured' if blocks else 'simulated'} is in "
                f"{folder}\nresume with: {_resume_command(folder)}",
                err=True,
            )
            sys.exit(3)
    return folder


def _conclude(folder: Path, *, report: bool, as_json: bool) -> None:
    from harness.cli.tables import Told

    told = Told.of(folder)
    page = _page(folder) if report else None
    if as_json:
        print_json({"run": str(folder), "page": page, **told.as_dict()})
        return
    told.print()
    click.echo(
        f"no report; write one with: attnbench report {folder}" if page is None else f"page: {page}"
    )


def _page(folder: Path) -> str:
    from harness.report import write_report

    return str(write_report([folder]))


def _resume_command(folder: Path) -> str:
    from harness.records import holds_run

    words = [*_program(), *sys.argv[1:]]
    if not any(word == "--out" or word.startswith("--out=") for word in words):
        words += ["--out", str(folder)]
    if holds_run(folder) and "--resume" not in words:
        words += ["--resume"]
    return shlex.join(words)


def _program() -> list[str]:
    """What this program is called by: `attnbench` only where that is this one."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return [sys.executable, "-m", "harness.cli"]
    found = shutil.which("attnbench")
    is_found = found is not None and called.exists() and Path(found).samefile(called)
    return ["attnbench" if is_found or not called.exists() else str(called)]


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"

"""attnbench compare: the same cases of two runs, and whether the second is worse."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from harness.cli.options import complete_run, print_json, read_margin

_KINDS = ("slower", "larger", "worse", "failed", "missing")
_RUN = click.Path(path_type=Path)


@click.command("compare")
@click.argument("run_a", type=_RUN, shell_complete=complete_run)
@click.argument("run_b", type=_RUN, shell_complete=complete_run)
@click.option(
    "--margin", callback=read_margin, metavar="PERCENT", help="As in 2%; RUN_A's when left out."
)
@click.option(
    "--fail-on",
    type=click.Choice(_KINDS),
    multiple=True,
    default=("slower", "failed"),
    show_default=True,
    help="Leave with 1 when a case of RUN_B is so, or missing there; may be given several times.",
)
@click.option("--across-machines", is_flag=True, help="Compare runs of unlike machines.")
@click.option("--across-versions", is_flag=True, help="Compare runs of unlike versions.")
@click.option("--json", "as_json", is_flag=True, help="Print for a program.")
def compare_command(
    run_a: Path,
    run_b: Path,
    margin: float | None,
    fail_on: tuple[str, ...],
    across_machines: bool,
    across_versions: bool,
    as_json: bool,
) -> None:
    """Say what is faster, slower or the same in RUN_B against RUN_A, in time, memory and error.

    `slower` needs times that are longer by more than the machine's drift explains, and that the
    ratio to the baseline bears it out. Leaves with 1 on a regression, with 2 when the runs cannot
    be compared.
    """
    from harness.analysis.compare import Options, compare

    found = compare(run_a, run_b, Options(margin, across_machines, across_versions))
    if as_json:
        print_json(_document(found, run_a, run_b))
    else:
        from harness.cli.compare_text import print_comparison

        print_comparison(found, run_a, run_b)
    if any(count for kind, count in found.regressions().items() if kind in fail_on):
        sys.exit(1)


def _document(found: Any, run_a: Path, run_b: Path) -> dict[str, Any]:
    mean = found.mean()
    return {
        "a": str(run_a),
        "b": str(run_b),
        "margin": found.rules.margin,
        "alpha": found.rules.alpha,
        "unlike": [str(one) for one in (*found.machines, *found.versions)],
        "no_yardstick": [str(folder) for folder in found.no_yardstick],
        "remarks": list(found.remarks),
        "counts": found.counts(),
        "regressions": found.regressions(),
        "mean_ratio": None if mean is None else {"ratio": mean[0], "cases": mean[1]},
        "cases": [_case(pair, found) for pair in found.pairs],
        "only_in_a": [_named(case) for case in found.only_a],
        "only_in_b": [_named(case) for case in found.only_b],
    }


def _named(case: Any) -> dict[str, Any]:
    return {"case_id": case.case_id, "variant": case.variant.text, "workload": case.workload}


def _case(pair: Any, found: Any) -> dict[str, Any]:
    from harness.analysis.advice import meaning, remedy

    whole = {
        **_named(pair.a),
        "verdict": pair.verdict,
        "regressions": list(pair.regressions),
        "unlike": found.unlike,
        "has_new_source": pair.has_new_source,
        "status": [pair.a.status, pair.b.status],
        "reason": pair.b.reason,
        "memory": _judged(pair.memory),
        "error": _judged(pair.error),
    }
    if pair.timing is not None:
        seen, why = pair.timing.evidence, pair.timing.why
        whole |= {
            "latency_s": [span.middle for span in pair.timing.spans],
            "seconds": vars(seen.seconds),
            "seconds_less_drift": vars(seen.widened),
            "ratio_to_baseline": None if seen.relative is None else vars(seen.relative),
            "machine_slower": None if seen.yardstick is None else seen.yardstick.furthest,
            "why": None if why is None else meaning(why),
            "remedy": None if why is None else remedy(why, found),
        }
    return whole


def _judged(judged: Any) -> dict[str, Any] | None:
    return None if judged is None else {"verdict": judged.verdict, "ratio": judged.ratio}

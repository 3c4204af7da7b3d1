"""attnbench machine: what this machine is, what of it hurts measurements, and the control."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import click

from harness.cli.options import load_variants, print_json, read_margin
from harness.errors import OptionError, RunError

SUITE = "control"
TIMEOUT_S = 60.0


@click.command("machine")
@click.option(
    "--control",
    type=click.IntRange(min=1),
    metavar="N",
    help="Race a kernel against a copy of itself N times, beside two sequential methods.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="FIELD=VALUES", help="As in q_len=256,1024."
)
@click.option("--margin", callback=read_margin, metavar="PERCENT", help="As in 2%.")
@click.option("--budget", type=float, metavar="SECONDS", help="Seconds a trial may race.")
@click.option("--json", "as_json", is_flag=True, help="Print for a program.")
def machine_command(
    control: int | None,
    settings: tuple[str, ...],
    margin: float | None,
    budget: float | None,
    as_json: bool,
) -> None:
    """Say what this machine is, what of it would hurt measurements, and how fast it can be.

    With --control, also how often the harness calls two copies of one kernel different here: on
    the CPU, unless --set device=cuda --set dtype=bfloat16 names another.
    """
    suite = _suite(control, settings, margin, budget)
    from harness.cli.machine_text import print_ceilings, print_control, print_machine
    from harness.execute.workers import Workers, allocator
    from harness.machine import describe_machine, hazards

    described = describe_machine()
    found = hazards(described)
    document: dict[str, Any] = {
        "machine": described,
        "hazards": [dataclasses.asdict(hazard) for hazard in found],
        "allocator": allocator(),
    }
    if not as_json:
        print_machine(described, found, _no_gpu())
    stopped: BaseException | None = None
    with Workers() as workers:
        document["ceilings"] = _ceilings(workers, described)
        if not as_json:
            print_ceilings(document["ceilings"])
        if suite is not None and control is not None:
            answers, stopped = _control(suite, control, workers)
            document["control"] = _summary(suite, answers)
    if as_json:
        print_json(document)
    elif "control" in document:
        print_control(document["control"])
    if stopped is not None:
        raise stopped


def _no_gpu() -> str | None:
    from harness.device import CudaDevice

    return CudaDevice().unavailable()


def _ceilings(workers: Any, described: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each device reaches, measured in a worker; why not, where that failed."""
    found = []
    for device in ("cpu", "cuda") if "gpu" in described else ("cpu",):
        asked = {"device": device, "threads": described["usable_cpus"]}
        outcome = workers.run("ceilings", asked, TIMEOUT_S)
        if outcome.answered:
            found.append(outcome.result)
        else:
            found.append({**asked, "reason": outcome.reason(TIMEOUT_S)})
    return found


def _suite(
    control: int | None, settings: Sequence[str], margin: float | None, budget: float | None
) -> Any:
    """The suite of the control with what the options change; None without --control."""
    options = (("--set", bool(settings)), ("--margin", margin), ("--budget", budget))
    given = [name for name, value in options if value not in (None, False)]
    if control is None:
        if given:
            raise OptionError(f"{given[0]} is an option of the control; add --control 20")
        return None
    if budget is not None and not 0 < budget < float("inf"):
        raise OptionError(f"--budget must be above 0 seconds, found {budget:g}; write 10")
    load_variants(())
    from harness.execute.control import planned
    from harness.suite import load_suite

    changed = [
        f"measure.{name}={value!r}"
        for name, value in (("margin", margin), ("budget_s", budget))
        if value is not None
    ]
    suite = load_suite(SUITE, overrides=[*settings, *changed])
    planned(suite, control)
    return suite


def _control(
    suite: Any, count: int, workers: Any
) -> tuple[list[Any], KeyboardInterrupt | RunError | None]:
    """The answers of every trial that ended, and what kept the others from it."""
    from harness.execute.control import Control, planned

    trials = planned(suite, count)
    answers: list[Any] = []

    def listen(number: int, found: Sequence[Any]) -> None:
        answers.extend(found)
        kind = f" {found[0].slowed:.0%} slower" if found[0].slowed else ""
        texts = [f"{a.method} {a.verdict} {a.ratio:.4f} ({a.seconds:.1f} s)" for a in found]
        line = f"[{number + 1}/{len(trials)}] {found[0].workload}{kind}: {'; '.join(texts)}"
        click.echo(line, err=True)

    try:
        Control(suite, workers).run(trials, listen)
    except (KeyboardInterrupt, RunError) as reason:
        return answers, reason
    return answers, None


def _summary(suite: Any, answers: Sequence[Any]) -> dict[str, Any]:
    from harness.execute.tally import tally

    measure = suite.measure
    return {
        "kernel": str(suite.baseline),
        "workloads": [str(workload) for workload in suite.workloads()],
        "margin": measure.margin,
        "alpha": measure.alpha,
        "launches": measure.launches,
        "budget_s": measure.budget_s,
        "summary": [dataclasses.asdict(line) for line in tally(answers)],
        "trials": [dataclasses.asdict(answer) for answer in answers],
    }

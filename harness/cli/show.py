"""attnbench show: a variant, a suite or a run, whole."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from harness.cli.console import Console
from harness.cli.listing import amounts, described_run, summary
from harness.cli.options import RESULTS, complete_run, find_runs, load_variants, print_json
from harness.errors import OptionError, suggest

BASE = {"heads": 8, "q_len": 256, "head_dim": 64}
ASKED: tuple[tuple[str, dict[str, Any]], ...] = (
    *((f"pass {name}", {"pass": name}) for name in ("forward", "backward", "forward+backward")),
    ("pass decode", {"pass": "decode", "q_len": 1, "kv_len": 256}),
    *((f"mask {name}", {"mask": name}) for name in ("none", "causal", "window(64)")),
    *((f"mask {name}", {"mask": name, "batch": 2}) for name in ("padding(0.5)", "packed(4)")),
    ("mask causal, kv_len > q_len", {"mask": "causal", "kv_len": 512}),
    *((f"bias {name}", {"bias": name}) for name in ("alibi", "random")),
    *((f"dtype {name}", {"dtype": name}) for name in ("float32", "bfloat16", "float16", "float64")),
    ("kv_heads < heads", {"kv_heads": 2}),
    ("shared qk", {"shared": "qk"}),
    ("v_head_dim != head_dim", {"v_head_dim": 32}),
)


@click.command("show")
@click.argument("name", metavar="VARIANT|SUITE|RUN", shell_complete=complete_run)
@click.option("--variant", "files", multiple=True, metavar="FILE", help="Register a file first.")
@click.option("--json", "as_json", is_flag=True, help="Print for a program.")
def show_command(name: str, files: tuple[str, ...], as_json: bool) -> None:
    """Show a variant, a suite or a run: parameters, source, what it supports here and why not."""
    load_variants(files)
    found = _find(name)
    if as_json:
        print_json(found)
        return
    for kind, content in found.items():
        {"variant": _print_variant, "suite": _print_suite, "run": _print_run}[kind](content)


def _find(name: str) -> dict[str, dict[str, Any]]:
    """Everything that has this name; a variant and a suite may share one."""
    from harness import variant
    from harness.records import holds_run
    from harness.suite import shipped

    found: dict[str, dict[str, Any]] = {}
    if holds_run(Path(name)):
        found["run"] = _run(Path(name))
    elif name.split("(")[0] in variant.registered():
        found["variant"] = _variant(name)
    if name in shipped() or name.endswith((".yaml", ".yml")):
        found["suite"] = _suite(name)
    if not found:
        runs = [str(run) for run in find_runs(RESULTS)]
        known = [*variant.registered(), *shipped(), *runs]
        raise OptionError(f"no variant, suite or run is named {name!r}; {suggest(name, known)}")
    return found


def _variant(text: str) -> dict[str, Any]:
    from harness import variant

    spec = variant.parse_spec(text)
    op, cls = variant.build(spec), variant.get(spec.name)
    return {
        "name": str(spec),
        "family": variant.family_of(op),
        "approximates": op.approximates or None,
        "summary": summary(cls),
        "about": inspect.getdoc(cls),
        "source": variant.source_file(cls),
        "parameters": {
            key: {"type": found.type_text, "default": None if found.required else found.default}
            for key, found in variant.parameters(cls).items()
        },
        "level": "op" if issubclass(cls, variant.AttentionOp) else "layer",
        "grouped": getattr(cls, "grouped", False),
        "checked_against": "itself" if variant.definition_key(op)[1] else "definition",
        "supports": {device: _supports(op, device) for device in ("cpu", "cuda")},
    }


def _supports(op: Any, device: str) -> dict[str, str | None]:
    """For each kind of workload, why the variant cannot run it here; None when it can."""
    from harness import variant
    from harness.device import device_named
    from harness.workload import Workload

    reason = device_named(device).unavailable()
    if reason is not None:
        return {"everything": reason}
    answers = {}
    for label, fields in ASKED:
        workload = Workload.model_validate({**BASE, **fields, "device": device})
        answers[label] = variant.hindrance(op, workload)
    return answers


def _suite(name: str) -> dict[str, Any]:
    from harness.execute.estimate import estimate_s
    from harness.suite import load_suite

    suite = load_suite(name)
    blocks, cases = suite.counts()
    return {
        "name": suite.name,
        "description": suite.description,
        "path": str(suite.path),
        "blocks": blocks,
        "cases": cases,
        "schedules": [str(case) for case in suite.schedules],
        "about_s": estimate_s(suite),
        "variants": [str(spec) for spec in suite.variants],
        "baseline": None if suite.baseline is None else str(suite.baseline),
        "measure": suite.as_dict()["measure"],
        "workloads": [str(workload) for workload in suite.workloads()],
        "claims": [f"{claim.claim} ({claim.source})" for claim in suite.claims],
    }


def _run(folder: Path) -> dict[str, Any]:
    from harness.records import read_manifest

    return {**described_run(folder), "manifest": read_manifest(folder)}


def _print_variant(content: dict[str, Any]) -> None:
    click.echo(f"{content['name']} (family {content['family']})\n{content['about']}\n")
    click.echo(f"source: {content['source']}")
    if content["approximates"]:
        what = content["approximates"]
        click.echo(f"approximates: {what} (deviation: from it; error: from its own definition)")
    click.echo(f"checked against: {content['checked_against']}")
    for key, found in content["parameters"].items():
        click.echo(f"parameter {key}: {found['type']} = {found['default']}")
    for device, answers in content["supports"].items():
        table = Table(f"on {device}", "", box=None, pad_edge=False)
        for label, reason in answers.items():
            table.add_row(label, "yes" if reason is None else f"no: {reason}")
        Console().print(table)


def _print_suite(content: dict[str, Any]) -> None:
    click.echo(f"{content['name']}: {content['description']}")
    click.echo(f"file: {content['path']}")
    amount = amounts(content["blocks"], content["cases"], len(content["schedules"]))
    click.echo(f"{amount}, about {content['about_s']:.0f} s")
    if content["variants"]:
        click.echo(f"variants: {', '.join(content['variants'])}; baseline {content['baseline']}")
        click.echo("measure: " + ", ".join(f"{k}={v}" for k, v in content["measure"].items()))
    for line in [*content["workloads"], *content["schedules"]]:
        click.echo(f"  {line}")
    for line in content["claims"]:
        click.echo(f"claim: {line}")


def _print_run(content: dict[str, Any]) -> None:
    from harness.cli.tables import Told

    manifest = content["manifest"]
    click.echo(
        f"{manifest['run']}: suite {manifest['suite']['name']} on {manifest['machine_name']}"
    )
    click.echo(f"started {manifest['started_utc']}, ended {manifest.get('ended_utc', 'not yet')}")
    Told.of(Path(content["folder"])).print()

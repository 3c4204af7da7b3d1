"""Loading: a name or a file becomes a suite, with what the command line changed."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from harness.errors import OptionError, SuiteError, suggest
from harness.suite.claim import Claim
from harness.suite.claims import read_claims
from harness.suite.document import Document, read_document, show
from harness.suite.fields import complaint, fields_of
from harness.suite.lineup import read_baseline, read_variants
from harness.suite.model import Measure, Overrides, Suite
from harness.suite.schedules import ScheduleCase, read_schedules
from harness.suite.settings import Settings, parse_settings
from harness.suite.sweep import Sweep, check_sweeps, expand, read_sweeps
from harness.suite.where import Filter, parse_where
from harness.workload import VariantSpec

TIMED = ("variants", "baseline", "workloads")
"""What a suite has together, or not at all where it simulates schedules."""
KEYS = ("name", "description", *TIMED, "schedules", "measure", "claims")
REQUIRED = ("name", *TIMED)
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}"
Device = Literal["auto", "cpu", "cuda"]


def shipped() -> dict[str, Path]:
    """The suites that ship with attnbench, by name: `quick`, `gpu/quick-gpu`."""
    folder = Path(str(importlib.resources.files("suites")))
    files = sorted(folder.rglob("*.yaml"))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def load_suite(
    name_or_path: str,
    *,
    variants: Sequence[VariantSpec] = (),
    where: Sequence[str] = (),
    overrides: Sequence[str] = (),
    device: Device = "auto",
    cuda: bool = False,
) -> Suite:
    """Load a shipped suite by name, or a file by path.

    variants: added at the end, each once. where: conditions that must all hold. overrides:
    `field=values`, replacing that field in every entry, or `measure.field=value`. device: for
    every workload, unless `auto`; `cuda` says what `auto` in the file stands for. Raises
    SuiteError for the file and OptionError for where and overrides.
    """
    document = read_document(find_suite(name_or_path))
    settings, condition = parse_settings(overrides), parse_where(where)
    top = _top(document)
    if "workloads" not in top:
        _check_untimed(name_or_path, variants, settings)
    measure = _measure(document, top.get("measure", {}), settings)
    timed = "workloads" in top
    _check_fields(condition, timed=timed, simulated="schedules" in top)
    listed = read_variants(document, top["variants"]) if timed else ()
    baseline = read_baseline(document, top["baseline"], listed) if timed else None
    entrants = tuple(dict.fromkeys((*listed, *variants)))
    kept = condition.keep_variants(entrants, baseline)
    written = read_sweeps(document, top["workloads"]) if timed else ()
    schedules = read_schedules(document, top["schedules"]) if "schedules" in top else ()
    sweeps = tuple(_on_device(settings.apply(sweep), device, cuda) for sweep in written)
    check_sweeps(
        document,
        sweeps,
        len(kept),
        f" (with --set {' '.join(overrides)})" if overrides else "",
        loose=_loose(written, settings, device),
    )
    _check_left(sweeps, condition)
    if schedules and not any(map(condition.keeps, schedules)):
        raise condition.nothing_left(schedules)
    claims = _claims(document, top.get("claims", []), listed, written, cuda)
    added = tuple(str(variant) for variant in entrants[len(listed) :])
    return Suite(
        name=top["name"],
        description=top.get("description", ""),
        text=document.text,
        path=document.path,
        variants=kept,
        baseline=baseline,
        measure=measure,
        overrides=Overrides(tuple(where), tuple(overrides), added, device),
        sweeps=sweeps,
        where=condition,
        claims=claims,
        schedules=tuple(case for case in schedules if condition.keeps(case)),
    )


def find_suite(name_or_path: str) -> Path:
    """The file of a shipped suite's name or of a path; raises SuiteError with near names."""
    known = shipped()
    if name_or_path in known:
        return known[name_or_path]
    path = Path(name_or_path)
    try:
        there = bool(name_or_path) and path.exists()
    except (OSError, ValueError):
        there = False
    if not there:
        what = "file" if path.suffix in (".yaml", ".yml") else "suite"
        raise SuiteError(
            f"{name_or_path[:200]!r}: there is no such {what}; {suggest(path.stem, known)}"
        )
    return path


def _top(document: Document) -> dict[str, Any]:
    top = document.value
    if not isinstance(top, dict):
        raise document.error(
            (), f"must be a mapping, found {show(top)}; write {', '.join(REQUIRED)} as its keys"
        )
    for key in top:
        if key not in KEYS:
            raise document.error((key,), f"unknown key; {suggest(key, KEYS)}")
    untimed = "schedules" in top and not any(key in top for key in (*TIMED, "claims"))
    for key in ("name",) if untimed else REQUIRED:
        if key not in top:
            raise document.error((), f"{key} is missing, found {_keys(top)}; write {key}: ...")
    if not isinstance(top["name"], str) or not re.fullmatch(NAME_PATTERN, top["name"]):
        raise document.error(
            ("name",),
            "must be letters, digits, _, . and -, 80 at most, "
            f"found {show(top['name'])}; write name: {document.path.stem}",
        )
    if not isinstance(top.get("description", ""), str):
        raise document.error(
            ("description",),
            f"must be text, found {show(top['description'])}; write it in quotes",
        )
    return top


def _keys(top: dict[str, Any]) -> str:
    return ", ".join(top) or "no key"


def _measure(document: Document, given: Any, settings: Settings) -> Measure:
    if not isinstance(given, dict):
        raise document.error(
            ("measure",), f"must be a mapping, found {show(given)}; write measure: {{budget_s: 10}}"
        )
    known = fields_of(Measure)
    for name, value in given.items():
        if name not in known:
            raise document.error(("measure", name), f"unknown key; {suggest(name, known)}")
        problem = complaint(Measure, name, value)
        if problem:
            raise document.error(("measure", name), problem)
    return Measure.model_validate({**given, **dict(settings.measure)})


def _on_device(sweep: Sweep, device: Device, cuda: bool) -> Sweep:
    auto = "cuda" if cuda else "cpu"
    named = (device,) if device != "auto" else sweep.values("device") or ("auto",)
    resolved = (auto if name == "auto" else name for name in named)
    return sweep.with_values("device", tuple(dict.fromkeys(resolved)))


def _claims(
    document: Document,
    entries: Any,
    listed: Sequence[VariantSpec],
    written: Sequence[Sweep],
    cuda: bool,
) -> tuple[Claim, ...]:
    """The claims, held against the file's own workloads: what they name stands there."""
    if entries == []:
        return ()
    sweeps = tuple(_on_device(sweep, "auto", cuda) for sweep in written)
    check_sweeps(document, sweeps, len(listed), "", loose=True)
    workloads = list(dict.fromkeys(workload for _, workload in expand(sweeps)))
    return read_claims(document, entries, listed, workloads)


def _loose(written: Sequence[Sweep], settings: Settings, device: Device) -> bool:
    # `auto` may meet the device beside it, and a set field may have been all that differed.
    auto = any("auto" in sweep.values("device") for sweep in written)
    return bool(settings.workload) or device != "auto" or auto


def _check_left(sweeps: Sequence[Sweep], condition: Filter) -> None:
    if sweeps and not any(condition.keeps(workload) for _, workload in expand(sweeps)):
        raise condition.nothing_left(workload for _, workload in expand(sweeps))


def _check_fields(condition: Filter, *, timed: bool, simulated: bool) -> None:
    """Refuse a condition on what the suite has none of: it would keep everything."""
    for clause in condition.clauses:
        of_schedules = clause.field in fields_of(ScheduleCase)
        if not (simulated if of_schedules else timed):
            lacking = "schedules" if of_schedules else "workloads"
            raise OptionError(f'--where "{clause.text}": the suite has no {lacking}; leave it out')


def _check_untimed(name: str, variants: Sequence[VariantSpec], settings: Settings) -> None:
    """Refuse what changes workloads and variants of a suite that has neither."""
    if variants:
        raise OptionError(f"--variant {variants[0]}: {name} simulates schedules; leave it out")
    if settings.workload:
        field = settings.workload[0][0]
        raise OptionError(f"--set {field}: {name} has no workloads; leave it out")

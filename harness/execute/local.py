"""The local executor: a suite on this machine, block after block, into a run's folder."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import variant
from harness.errors import RunError
from harness.execute.block import BlockRun, Record, described, failure_of, utc_now
from harness.execute.schedules import simulated
from harness.execute.workers import Workers, allocator
from harness.machine import describe_machine, hazards, machine_slug
from harness.records import SCHEMA, Store, controls, holds_run, read_manifest
from harness.records.manifest import differences
from harness.records.store import RECORDS
from harness.suite import Block, ScheduleCase, Suite
from harness.workload import Case

OnBlock = Callable[[int, Block, Sequence[Record], float], None]


@dataclass(frozen=True)
class Request:
    """What is to be run and where its records go."""

    suite: Suite
    folder: Path
    files: tuple[str, ...] = ()
    budget_s: float | None = None
    resume: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listeners:
    """Told of each block before and after it runs, with its number from 1 and its seconds.

    simulated: told of how many schedules were, and in how many seconds.
    """

    starts: Callable[[int, Block], None]
    ended: OnBlock
    simulated: Callable[[int, float], None] = lambda *_: None


def default_folder(suite: Suite, device: str) -> Path:
    """`results/local/<suite>-<utc>-<machine>`, below the working directory."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return Path("results", "local", f"{suite.name}-{stamp}-{machine_slug(device)}")


def run_suite(request: Request, listeners: Listeners) -> None:
    """Run what the folder does not hold yet; each block is on disk before the next starts.

    Raises RunError when the folder is locked, cannot be written, or holds another run. On
    KeyboardInterrupt the running block is dropped, what was measured is kept.
    """
    if sys.platform == "win32":
        raise RunError("attnbench run needs POSIX processes, which Windows lacks; use WSL")
    if request.resume and not holds_run(request.folder):
        raise RunError(f"{request.folder}: holds no run to resume; leave --resume out")
    begin = time.monotonic()
    deadline = math.inf if request.budget_s is None else begin + request.budget_s
    with Store(request.folder) as store:
        manifest = _open(store, request)
        blocks = list(request.suite.blocks())
        schedules = request.suite.schedules
        done = store.keep_whole_blocks(
            {block.id: frozenset(case.id for case in block.cases) for block in blocks}
            | {case.id: frozenset([case.id]) for case in schedules}
        )
        _simulate(store, [case for case in schedules if case.id not in done], listeners)
        with Workers() as workers:
            remaining = [(n, b) for n, b in enumerate(blocks, 1) if b.id not in done]
            cases = [case for _, block in remaining for case in block.cases]
            timeout = request.suite.measure.timeout_s
            surveyed = survey_cases(workers, cases, request.files, timeout)
            _run_blocks(store, workers, request, remaining, surveyed, listeners, deadline)
        ended = {"control": control_share(request.folder), "ended_utc": utc_now()}
        store.write_manifest({**manifest, **ended})


def control_share(folder: Path) -> dict[str, int]:
    """How many blocks called two copies of their baseline same, undecided, different."""
    verdicts = list(controls(folder)["verdict"])
    same, undecided = verdicts.count("same"), verdicts.count("undecided")
    return {
        "blocks": len(verdicts),
        "same": same,
        "undecided": undecided,
        "different": len(verdicts) - same - undecided,
    }


def _simulate(store: Store, cases: Sequence[ScheduleCase], listeners: Listeners) -> None:
    begin = time.monotonic()
    for case in cases:
        store.append([simulated(case)])
    if cases:
        listeners.simulated(len(cases), time.monotonic() - begin)


def _run_blocks(
    store: Store,
    workers: Workers,
    request: Request,
    remaining: Sequence[tuple[int, Block]],
    surveyed: Mapping[str, dict[str, Any]],
    listeners: Listeners,
    deadline: float,
) -> None:
    measure = request.suite.measure
    for left, (number, block) in zip(range(len(remaining), 0, -1), remaining, strict=True):
        listeners.starts(number, block)
        begin = time.monotonic()
        found = [surveyed[case.id] for case in block.cases]
        run = BlockRun(block, found, measure, workers, request.files)
        records = run.run(measure.budget_s, (deadline - begin) / left)
        store.append(records)
        listeners.ended(number, block, records, time.monotonic() - begin)


def survey_cases(
    workers: Workers, cases: Sequence[Case], files: Sequence[str], timeout: float
) -> dict[str, dict[str, Any]]:
    """What each case's variant says of it; one process for all, one a case if that dies."""
    asked = [{"variant": described(case), "workload": case.workload.as_dict()} for case in cases]
    if not asked:
        return {}
    files = list(files)
    whole = workers.run("survey", {"files": files, "cases": asked}, timeout)
    if whole.answered:
        return {case.id: found for case, found in zip(cases, whole.result, strict=True)}
    answers = {}
    for case, one in zip(cases, asked, strict=True):
        outcome = workers.run("survey", {"files": files, "cases": [one]}, timeout)
        if outcome.answered:
            answers[case.id] = outcome.result[0]
        else:
            reason = f"unsupported(): {outcome.reason(timeout)}"
            died = {"status": outcome.status(), "failure": failure_of("survey", outcome)}
            answers[case.id] = {**died, "reason": reason}
    return answers


def _open(store: Store, request: Request) -> dict[str, Any]:
    """The manifest of the run, written for a new one, checked for one that is resumed."""
    fresh = _manifest(request)
    if not holds_run(store.folder):
        if (store.folder / RECORDS).exists():
            raise RunError(f"{store.folder}: holds records without a manifest; name another --out")
        store.write_manifest(fresh)
        return fresh
    found = read_manifest(store.folder)
    if found["suite"]["hash"] != fresh["suite"]["hash"]:
        raise RunError(
            f"{store.folder}: holds another run (suite {found['suite']['name']}, other cases or "
            "settings); name another --out"
        )
    if not request.resume:
        raise RunError(
            f"{store.folder}: already holds this run; add --resume to finish it, or name "
            "another --out"
        )
    _same(store.folder, found, fresh)
    return found


def _same(folder: Path, found: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise RunError where what the run was begun with is not what there is now."""
    changed = differences(found, now, "resume")
    if changed:
        raise RunError(
            f"{folder}: cannot resume, it was not begun with what there is now: "
            f"{'; '.join(map(str, changed))}; start a new run"
        )


def _manifest(request: Request) -> dict[str, Any]:
    suite = request.suite
    machine = describe_machine()
    devices = {block.workload.device for block in suite.blocks()}
    names = {spec.name for spec in suite.variants}
    return {
        "schema": SCHEMA,
        "run": request.folder.name,
        "suite": {**suite.as_dict(), "hash": suite.hash, "text": suite.text},
        "command": [
            Path(word).name if at == 0 else word for at, word in enumerate(request.command)
        ],
        "files": [os.path.relpath(file) for file in request.files],
        "started_utc": utc_now(),
        "machine_name": machine_slug("cuda" if "cuda" in devices else "cpu"),
        "machine": machine,
        "hazards": [str(hazard) for hazard in hazards(machine)],
        "allocator": allocator(),
        "versions": machine["packages"],
        "sources": {name: variant.source_hash(variant.get(name)) for name in sorted(names)},
        "git": git_state(Path.cwd()),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the checkout a run was started in and whether it was changed; None outside one."""
    try:
        head = _git(folder, "rev-parse", "--verify", "HEAD")
        status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    whole = len(head) == 40 and set(head) <= set("0123456789abcdef")
    return {"commit": head, "changed": bool(status)} if whole else None


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()

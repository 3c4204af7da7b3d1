"""From records to a pandas frame: one row a case, every statistic computed on reading."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness import roofline, statistics
from harness.records.schema import CaseRecord, ControlRecord, Launch, ScheduleRecord
from harness.records.store import read_manifest, read_records

Row = dict[str, Any]

COLUMNS = """
    run machine suite case_id block_id variant variant_name family approximates level pass batch
    heads kv_heads q_len kv_len head_dim v_head_dim height width channels footprint mask bias shared
    dtype device threads compile inputs seed scale status reason latency_s latency_low_s
    latency_high_s ratio ratio_low ratio_high verdict rounds_needed is_baseline rounds launches
    peak_bytes output_bytes rss_peak_bytes memory_ratio memory_verdict error error_bound
    gradient_error gradient_error_bound checked_against deviation output_rms first_call_s prepare_s
    flops flops_per_s kernels executed_flops projection_flops parameters compulsory_bytes
    bytes_per_s bound_by attainable_s attainable_fraction claimed_time_growth claimed_memory_growth
    gate_definition mutants_killed mutants_survived vacuous semantics_held semantics_not_probed
    throttled_rounds energy_joules energy_resolution_joules workers sent_bytes cycles vectors
""".split()

SCHEDULE_COLUMNS = """
    run suite schedule scheme vectors elements status reason cycles bound ring_cycles saving
    utilisation operations registers vector_words score_words
""".split()


def load(paths: Iterable[Path | str] | Path | str) -> pd.DataFrame:
    """Read runs into a frame with the columns COLUMNS, one row a case.

    Seconds, bytes and FLOPs by the unit in the name; ratio is latency over the latency of the
    block's baseline. What was not measured is missing, never 0. Raises RunError for a folder
    that is no run.
    """
    rows: list[Row] = []
    for run, (folder, manifest) in named_runs(paths).items():
        named = {
            "run": run,
            "machine": manifest["machine_name"],
            "suite": manifest["suite"]["name"],
        }
        records = [r for r in read_records(folder) if isinstance(r, CaseRecord)]
        for block in _by_block(records).values():
            rows += [row | named for row in block_rows(block, manifest["suite"]["measure"])]
    return pd.DataFrame(rows, columns=COLUMNS)


def block_rows(records: Sequence[CaseRecord], measure: Mapping[str, Any]) -> list[Row]:
    """The rows of one block's records: latencies, ratios and verdicts under these settings."""
    baseline = next((r for r in records if r.is_baseline and r.status == "ok"), None)
    rules = _rules(measure, sum(not r.is_baseline for r in records))
    return [_row(record, baseline, rules) for record in records]


def controls(paths: Iterable[Path | str] | Path | str) -> pd.DataFrame:
    """One row a block: what the race says of two copies of the baseline."""
    rows: list[Row] = []
    for run, (folder, manifest) in named_runs(paths).items():
        records = list(read_records(folder))
        baselines = {
            r.block_id: r.launches for r in records if isinstance(r, CaseRecord) and r.is_baseline
        }
        for record in records:
            if isinstance(record, ControlRecord) and record.block_id in baselines:
                found = paired_ratio(
                    record.launches,
                    baselines[record.block_id],
                    _rules(manifest["suite"]["measure"], 1),
                )
                rows.append({"run": run, "block_id": record.block_id, **found})
    return pd.DataFrame(
        rows, columns=["run", "block_id", "verdict", "ratio", "ratio_low", "ratio_high", "rounds"]
    )


def schedules(paths: Iterable[Path | str] | Path | str) -> pd.DataFrame:
    """One row a simulated schedule, with the columns SCHEDULE_COLUMNS.

    saving = 1 - cycles / ring_cycles; utilisation = operations / (elements cycles).
    """
    rows: list[Row] = []
    for run, (folder, manifest) in named_runs(paths).items():
        named = {"run": run, "suite": manifest["suite"]["name"]}
        rows += [
            named | _schedule_row(record)
            for record in read_records(folder)
            if isinstance(record, ScheduleRecord)
        ]
    return pd.DataFrame(rows, columns=SCHEDULE_COLUMNS)


def samples(paths: Iterable[Path | str] | Path | str) -> pd.DataFrame:
    """Every sample, one row each: run, case_id, variant, launch, phase, index, seconds.

    phase is `warmup` or `round`; the copy of the baseline has the variant `control`.
    """
    rows: list[Row] = []
    for run, (folder, _) in named_runs(paths).items():
        for record in read_records(folder):
            if isinstance(record, ScheduleRecord):
                continue
            named = {
                "run": run,
                "block_id": record.block_id,
                "case_id": record.case_id if isinstance(record, CaseRecord) else None,
                "variant": record.variant.text if isinstance(record, CaseRecord) else "control",
            }
            for number, launch in enumerate(record.launches):
                for phase, times in (("warmup", launch.warmup_s), ("round", launch.rounds_s)):
                    rows += [
                        {**named, "launch": number, "phase": phase, "index": i, "seconds": s}
                        for i, s in enumerate(times)
                    ]
    columns = ["run", "block_id", "case_id", "variant", "launch", "phase", "index", "seconds"]
    return pd.DataFrame(rows, columns=columns)


def named_runs(
    paths: Iterable[Path | str] | Path | str,
) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Folder and manifest of each run by a name of its own, a folder named twice read once.

    Runs of one name, as two machines make them with one --out, become `name`, `name-2`, ...:
    their blocks have the same ids and must not be taken for one.
    """
    given = [paths] if isinstance(paths, (str, Path)) else paths
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    for folder in {Path(path).resolve(): Path(path) for path in given}.values():
        manifest = read_manifest(folder)
        name = str(manifest["run"])
        taken = itertools.takewhile(found.__contains__, (f"{name}-{n}" for n in itertools.count(2)))
        found[f"{name}-{len(list(taken)) + 2}" if name in found else name] = folder, manifest
    return found


def _schedule_row(record: ScheduleRecord) -> Row:
    row = record.model_dump(include={"schedule", "vectors", "elements", "status", "reason"})
    found = record.figures
    if found is None:
        return row
    return row | {
        **found.model_dump(),
        "saving": 1 - found.cycles / found.ring_cycles,
        "utilisation": found.operations / (record.elements * found.cycles),
    }


def _rules(measure: Mapping[str, Any], compared: int) -> Row:
    share = max(1, compared) if measure["familywise"] else 1
    return {"margin": measure["margin"], "alpha": measure["alpha"] / measure["launches"] / share}


def _by_block(records: Sequence[CaseRecord]) -> dict[str, list[CaseRecord]]:
    blocks: dict[str, list[CaseRecord]] = {}
    for record in records:
        blocks.setdefault(record.block_id, []).append(record)
    return blocks


def _row(record: CaseRecord, baseline: CaseRecord | None, rules: Row) -> Row:
    row: Row = {
        "case_id": record.case_id,
        "block_id": record.block_id,
        "variant": record.variant.text,
        "variant_name": record.variant.name,
        "family": record.variant.family,
        "approximates": record.variant.approximates or None,
        "shared": "none",  # which records leave out
        **record.workload,
        "status": record.status,
        "reason": record.reason,
        "is_baseline": record.is_baseline,
        "flops": record.flops,
    }
    if record.probe is not None:
        row |= record.probe.model_dump(exclude={"kernels"})
        row["kernels"] = "; ".join(record.probe.kernels)
    if record.numerics is not None:
        row |= record.numerics.model_dump()
    row |= _checks(record)
    timed = record.launches if record.status == "ok" else ()  # impossible keeps its samples
    if timed:
        row |= _latency(timed, rules["alpha"])
        if record.flops is not None:
            row["flops_per_s"] = record.flops / row["latency_s"]
        row |= _limits(record, row["latency_s"])
    if baseline is not None and record is not baseline and timed:
        row |= paired_ratio(record.launches, baseline.launches, rules) | _memory(
            record, baseline, rules
        )
    elif record is baseline:
        row |= {"ratio": 1.0}
    return {name: row.get(name) for name in COLUMNS}


def _checks(record: CaseRecord) -> Row:
    """What the gate was tested with, what the case was probed for, and what it claims."""
    row: Row = {}
    if record.gate is not None:
        row |= {
            "gate_definition": record.gate.definition,
            "mutants_killed": _joined(record.gate.killed),
            "mutants_survived": _joined(record.gate.survived),
            "vacuous": record.gate.vacuous,
        }
    if record.semantics is not None:
        row["semantics_held"] = _joined(record.semantics.held)
        row["semantics_not_probed"] = _joined(record.semantics.not_probed)
    if record.cost is not None:
        row |= {
            "executed_flops": record.cost.executed_flops,
            "compulsory_bytes": record.cost.compulsory_bytes,
            "projection_flops": record.cost.projection_flops,
            "parameters": record.cost.parameters,
            "workers": record.cost.workers,
            "cycles": record.cost.cycles,
            "vectors": record.cost.vectors,
            "claimed_time_growth": record.cost.time_growth,
            "claimed_memory_growth": record.cost.memory_growth,
        }
    if record.energy is not None:
        row["energy_joules"] = record.energy.joules
        row["energy_resolution_joules"] = record.energy.resolution_joules
    return row


def _joined(names: Iterable[str]) -> str | None:
    # A file of values separated by commas has no empty text, only an empty cell.
    return "; ".join(names) or None


def _limits(record: CaseRecord, latency_s: float) -> Row:
    """How close to the ceilings that were measured beside the race; absent where none were."""
    row: Row = {"throttled_rounds": sum(len(launch.throttled) for launch in record.launches)}
    ceilings = roofline.best((*(launch.ceilings for launch in record.launches), record.limits))
    if ceilings is None or record.cost is None:
        return row
    cost = record.cost
    bounds = roofline.roofline(cost.executed_flops, cost.compulsory_bytes, ceilings)
    return row | {
        "bytes_per_s": cost.compulsory_bytes / latency_s,
        "bound_by": bounds.bound_by,
        "attainable_s": bounds.attainable_s,
        "attainable_fraction": bounds.attainable_s / latency_s,
    }


def _latency(launches: Sequence[Launch], alpha: float) -> Row:
    found = [statistics.location(launch.rounds_s, alpha) for launch in launches]
    lows = [low for _, low, _ in found if low is not None]
    highs = [high for _, _, high in found if high is not None]
    whole = len(lows) == len(found)
    return {
        "latency_s": float(np.median([middle for middle, _, _ in found])),
        "latency_low_s": min(lows) if whole else None,
        "latency_high_s": max(highs) if whole else None,
        "rounds": sum(len(launch.rounds_s) for launch in launches),
        "launches": len(launches),
    }


def paired_ratio(launches: Sequence[Launch], baselines: Sequence[Launch], rules: Row) -> Row:
    """The ratio of paired rounds with its interval; without one while there are too few.

    rules: the `margin`, and the `alpha` of each launch.
    """
    pairs = [
        statistics.log_ratios(a.rounds_s, b.rounds_s)
        for a, b in zip(launches, baselines, strict=False)
    ]
    looks = [statistics.last_look(values, rules["alpha"]) for values in pairs]
    taken = [seen for seen in looks if seen is not None]
    rounds = sum(len(values) for values in pairs)
    combined = statistics.combine(taken, rules["margin"]) if len(taken) == len(pairs) else None
    if combined is None:
        middle = float(np.median([float(np.median(values)) for values in pairs]))
        return {"ratio": math.exp(middle), "verdict": "undecided", "rounds": rounds}
    found = {
        "ratio": math.exp(combined.estimate),
        "ratio_low": math.exp(combined.low),
        "ratio_high": math.exp(combined.high),
        "verdict": combined.verdict,
        "rounds": rounds,
    }
    # Launches that lie apart are no nearer to each other after more rounds.
    meet = max(seen.low for seen in taken) <= min(seen.high for seen in taken)
    if combined.verdict == "undecided" and meet:
        needed = [statistics.rounds_to_decide(seen, rules["margin"]) for seen in taken]
        found["rounds_needed"] = sum(needed)
    return found


def _memory(record: CaseRecord, baseline: CaseRecord, rules: Row) -> Row:
    if record.probe is None or baseline.probe is None or not baseline.probe.peak_bytes:
        return {}
    ratio = record.probe.peak_bytes / baseline.probe.peak_bytes
    edge = 1 + rules["margin"]
    verdict = "smaller" if ratio < 1 / edge else "larger" if ratio > edge else "same"
    return {"memory_ratio": ratio, "memory_verdict": verdict}

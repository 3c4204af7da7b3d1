"""A frame as a run leaves it, made up: known ratios, known failures."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.records import COLUMNS
from harness.workload import content_hash

BASELINE = "softmax"
FAST = "sdpa(backend=flash)"
# variant -> (exponent of time, latency at 256, exponent of memory, bytes at 256, error)
SHAPES: dict[str, tuple[float, float, float, float, float]] = {
    BASELINE: (2.0, 4e-4, 2.0, 2**21, 3e-7),
    FAST: (1.9, 1.5e-4, 1.0, 2**18, 2.5e-7),
    "sdpa(backend=math)": (2.0, 5e-4, 2.0, 2**21.5, 0.0),
    "flex": (1.9, 9e-4, 1.0, 2**18.2, 2.6e-7),
    "polynomial": (2.0, 3.5e-4, 2.0, 2**20.8, 9e-8),
    "polynomial(degree=1)": (2.0, 3.9e-4, 2.0, 2**20.8, 8e-8),
    "chunked": (1.95, 4.05e-4, 1.3, 2**19, 4e-7),
}
MUTANTS = ("zeros", "mean_of_v", "one_key_dropped")
WORKLOAD: dict[str, Any] = {
    "level": "op",
    "batch": 1,
    "heads": 4,
    "kv_heads": 4,
    "head_dim": 64,
    "v_head_dim": 64,
    "bias": "none",
    "dtype": "float32",
    "device": "cpu",
    "threads": 2,
    "compile": False,
    "inputs": "normal(2)",
    "seed": 0,
    "scale": 0.125,
}


def row(variant: str, length: int = 1024, **given: Any) -> dict[str, Any]:
    """One case that came out ok, unless told otherwise; the workload's fields are given by name."""
    kind, mask = given.get("pass", "forward"), given.get("mask", "none")
    made: dict[str, Any] = {
        **WORKLOAD,
        "run": "quick-a",
        "machine": "m1",
        "suite": "quick",
        "pass": kind,
        "mask": mask,
        "q_len": 1 if kind == "decode" else length,
        "kv_len": length,
        "variant": variant,
        "variant_name": variant.split("(")[0],
        "family": "softmax",
        "status": "ok",
        "is_baseline": variant == BASELINE,
        **given,
    }
    workload = [made[name] for name in (*WORKLOAD, "pass", "mask", "q_len", "kv_len")]
    made.setdefault("block_id", content_hash(workload))
    made.setdefault("case_id", f"{made['block_id']}-{variant}")
    return made if made["status"] != "ok" else {**measured(variant, length, kind, mask), **made}


def measured(variant: str, length: int, kind: str, mask: str) -> dict[str, Any]:
    """What an ok case carries; a ratio of 1 / 4 means four times as fast as the baseline."""
    slope, start, memory_slope, memory, error = SHAPES.get(variant, SHAPES[BASELINE])
    grown = length / 256
    work = (0.8 if mask == "causal" else 1.0) * {"forward": 1.0, "decode": 0.01}.get(kind, 3.2)
    latency = start * grown**slope * work
    ratio = latency / (SHAPES[BASELINE][1] * grown**2 * work)
    compared = {
        "ratio": ratio,
        "ratio_low": ratio * 0.985,
        "ratio_high": ratio * 1.02,
        "verdict": "faster" if ratio < 0.96 else "slower" if ratio > 1.04 else "same",
        "memory_ratio": memory / SHAPES[BASELINE][3],
        "memory_verdict": "smaller",
    }
    return {
        "latency_s": latency,
        "latency_low_s": latency * 0.95,
        "latency_high_s": latency * 1.08,
        "rounds": 64,
        "launches": 2,
        "peak_bytes": int(memory * grown**memory_slope),
        "output_bytes": 4 * length * 64 * 4,
        "rss_peak_bytes": int(2 * memory * grown**memory_slope),
        "error": error * grown**0.1,
        "error_bound": 1e-6,
        "checked_against": "definition",
        "deviation": 0.4 if variant.startswith("poly") else 1e-7,
        "first_call_s": 0.02,
        "prepare_s": 0.001,
        "flops": 4 * 4 * 64 * length**2,
        "flops_per_s": 4 * 4 * 64 * length**2 / latency,
        "kernels": "aten::bmm; aten::_softmax",
        **limits(length, latency),
        "claimed_time_growth": 2.0,
        "claimed_memory_growth": memory_slope if memory_slope != 1.3 else 1.0,
        "mutants_killed": "; ".join(MUTANTS),
        "vacuous": False,
        "semantics_held": "causality; determinism; scale",
        "semantics_not_probed": "grouped_heads",
        "throttled_rounds": 0,
        **({} if variant == BASELINE else compared),
    }


def limits(length: int, latency: float) -> dict[str, Any]:
    """How close to a machine of 100 GFLOP/s and 10 GB/s; every pair is executed."""
    flops, moved = 4 * 4 * 64 * length**2, 4 * 4 * length * 64 * 4
    attainable = max(flops / 1e11, moved / 1e10)
    return {
        "executed_flops": flops,
        "compulsory_bytes": moved,
        "bytes_per_s": moved / latency,
        "bound_by": "compute" if attainable == flops / 1e11 else "memory",
        "attainable_s": attainable,
        "attainable_fraction": attainable / latency,
    }


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as the frame that records are loaded into: every column, absent values as None."""
    return pd.DataFrame(rows, columns=COLUMNS)


def run_rows(run: str = "quick-a") -> list[dict[str, Any]]:
    """A small run: two passes, two masks, seven variants, and failures of several kinds."""
    rows = [
        row(variant, length, run=run, mask=mask, **{"pass": kind})
        for kind in ("forward", "forward+backward")
        for mask in ("none", "causal")
        for length in (256, 512, 1024, 2048, 4096)
        if kind == "forward" or length <= 2048
        for variant in SHAPES
    ]
    return [_failed(one) for one in rows]


def _failed(one: dict[str, Any]) -> dict[str, Any]:
    failure: tuple[str, str] | None = None
    if one["variant"] == "flex" and one["pass"] == "forward+backward":
        failure = "unsupported", "FlexAttention has no backward on CPU"
    if one["variant"] == "sdpa(backend=math)" and one["q_len"] == 4096:
        failure = "oom", "the allocator asked for 6.0 GiB; 4.1 GiB were free"
    if one["variant"] == "chunked" and one["mask"] == "causal" and one["q_len"] == 512:
        failure = "incorrect", "error 0.3 > bound 1e-06; first at batch 0, head 1, row 17"
    if failure is None:
        return one
    kept = ("run", "block_id", "case_id", "variant_name", "machine", "suite", "pass", "mask")
    given = {name: one[name] for name in kept}
    length = one["q_len"]
    return row(one["variant"], length, status=failure[0], reason=failure[1], **given)


def run_frame(run: str = "quick-a") -> pd.DataFrame:
    """The frame of `run_rows`."""
    return frame_of(run_rows(run))


def manifest(**given: Any) -> dict[str, Any]:
    """A manifest as `read_manifest` gives it."""
    measure = {
        "margin": 0.02,
        "alpha": 0.05,
        "budget_s": 10.0,
        "launches": 2,
        "timeout_s": 60.0,
        "familywise": False,
    }
    return {
        "schema": 1,
        "run": "quick-a",
        "suite": {
            "name": "quick",
            "description": "A first look: which attention is fastest here?",
            "text": "name: quick\nvariants: [softmax, {sdpa: {backend: flash}}]\n",
            "hash": "0123456789ab",
            "measure": measure,
        },
        "command": "attnbench run quick",
        "started_utc": "2026-01-02T03:04:05Z",
        "ended_utc": "2026-01-02T03:06:00Z",
        "machine": {"name": "m1", "cpu": "Example CPU 3000", "cores": 2, "memory_bytes": 2**33},
        "versions": {"attnbench": "0.1.0", "torch": "2.13.0", "python": "3.11.9"},
        "sources": {"softmax": "f" * 64},
        **given,
    }


def control_frame(different: int = 1, blocks: int = 18) -> pd.DataFrame:
    """Controls of which `different` were called different."""
    return pd.DataFrame(
        {
            "run": "quick-a",
            "block_id": [f"b{at}" for at in range(blocks)],
            "verdict": ["slower" if at < different else "same" for at in range(blocks)],
            "ratio": 1.001,
            "ratio_low": 0.99,
            "ratio_high": 1.01,
            "rounds": 64,
        }
    )

"""A launch: the survivors of a block raced in one process, their timed outputs checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.device import Device
from harness.execute.setting import build, load_variants, start_device
from harness.execute.slowed import slow_down
from harness.execute.worker import Running
from harness.inputs import make_inputs, make_output_gradient
from harness.measure.calls import Buffers, Produced, make_buffers, once, prepare
from harness.measure.faults import reason_of, status_of
from harness.measure.kernels import allow_compilations
from harness.measure.latency import Entrant, Race, Rules
from harness.measure.numerics import row_fault, row_limit, shape_fault
from harness.measure.truth import Asked, OwnError, run_definition
from harness.variant import AttentionOp, definition_key
from harness.workload import Workload

CHECKED_ROWS = 8
MOST_DRAWS = 8
POOL_BYTES = 64 << 20
SLACK = 2.0
"""A timed output is held to twice the bound of the probe: its values are new, its rows few."""


def race(payload: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Race `{"entrants", "workload", "rules", "seed"}`; the samples or the fault of each.

    entrants: `{"name", "variant", "own"}` in order, the baseline first when `has_baseline`, own
    the error of its definition in the case's dtype; an entrant with `slowed` is made slower by
    that share.
    """
    running = Running(folder)
    load_variants(payload["files"])
    workload = Workload.model_validate(payload["workload"])
    device = start_device(workload)
    allow_compilations(len(payload["entrants"]))
    pool = _Pool(workload)
    entrants = _prepared(payload, workload, device, pool, running)
    Race(
        entrants=entrants,
        device=device,
        rules=Rules(**payload["rules"]),
        refill=pool.refill,
        check=_Checker(pool, payload["entrants"]),
        running=running,
        has_baseline=payload["has_baseline"],
        controls=frozenset(payload["controls"]),
        draws=pool.draws,
        seed=payload["seed"],
    ).run()
    return [_answer(entrant) for entrant in entrants]


def _prepared(
    payload: dict[str, Any], workload: Workload, device: Device, pool: _Pool, running: Running
) -> list[Entrant]:
    mask = workload.build_mask()
    entrants = []
    for index, described in enumerate(payload["entrants"]):
        running(index)
        op = build(described["variant"])
        entrant = Entrant(described["name"], None)  # type: ignore[arg-type]
        try:
            entrant.call = prepare(op, workload, mask, pool.buffers)
            if "slowed" in described:
                slow_down(entrant.call, described["slowed"], device)
            once(entrant.call, device)
        except Exception as error:  # a variant that raises costs only itself
            entrant.fault = (status_of(error), reason_of(error))
        entrants.append(entrant)
    running(-1)
    return entrants


class _Pool:
    """Draws of the inputs, none of them the probe's, and the buffers they are copied into."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.draws = max(2, min(MOST_DRAWS, POOL_BYTES // max(1, workload.input_bytes())))
        self.inputs = [make_inputs(workload, draw + 1) for draw in range(self.draws)]
        everywhere = torch.arange(workload.q_len)
        self.upstream = [
            make_output_gradient(workload, everywhere, draw + 1) if workload.has_gradients else None
            for draw in range(self.draws)
        ]
        self.buffers: Buffers = make_buffers(workload, self.inputs[0], self.upstream[0])

    def refill(self, draw: int) -> None:
        self.buffers.write(self.inputs[draw], self.upstream[draw])


@dataclass(frozen=True)
class _Expected:
    rows: Tensor
    judged: Tensor
    output: Tensor
    q_gradient: Tensor | None


class _Checker:
    """Compares a few rows of a timed output with the definition on the same draw."""

    def __init__(self, pool: _Pool, described: list[dict[str, Any]]) -> None:
        self._pool = pool
        self._own = {entry["name"]: OwnError(**entry["own"]) for entry in described}
        self._known: dict[tuple[str, int], _Expected] = {}

    def __call__(self, entrant: Entrant, produced: Produced, draw: int) -> str | None:
        workload, own = self._pool.workload, self._own[entrant.name]
        fault = shape_fault(produced, workload)
        if fault is not None or produced.output is None:
            return fault
        expected = self._expected(entrant.call.op, draw)
        found = produced.output.detach()[:, :, expected.rows]
        limit = SLACK * row_limit(expected.output, own, workload)
        fault = row_fault(found, expected.output, expected.judged, limit)
        if fault is None and expected.q_gradient is not None:
            found = produced.gradients[0].detach()[:, :, expected.rows]
            # Rows are held to the largest of them: a row may see one key and have no gradient.
            largest = expected.q_gradient.square().sum(-1).sqrt().amax(-1, keepdim=True)
            share = SLACK * (8 * own.gradient + 32 * torch.finfo(workload.torch_dtype).eps)
            limit = (share * largest).expand(found.shape[:3])
            fault = row_fault(found, expected.q_gradient, expected.judged, limit)
            fault = None if fault is None else f"gradient of q: {fault}"
        return fault

    def _expected(self, op: AttentionOp, draw: int) -> _Expected:
        key = definition_key(op)[0], draw
        if key not in self._known:
            self._known[key] = self._computed(op, draw)
        return self._known[key]

    def _computed(self, op: AttentionOp, draw: int) -> _Expected:
        workload = self._pool.workload
        rows = torch.arange(workload.q_len)
        if op.rowwise:
            seeded = torch.Generator().manual_seed(draw)
            rows = torch.randperm(workload.q_len, generator=seeded)[:CHECKED_ROWS].sort().values
        mask = workload.build_mask().take(rows)
        upstream = self._pool.upstream[draw]
        part = None if upstream is None else upstream[:, :, rows.to(upstream.device)]
        asked = Asked(workload, mask, self._pool.inputs[draw], part, op.rowwise)
        output, gradients = run_definition(op.definition, asked, torch.float64)
        judged = mask.judged[:, None, :, None]
        return _Expected(rows, judged, output, gradients[0] if gradients else None)


def _answer(entrant: Entrant) -> dict[str, Any]:
    if entrant.fault is not None:
        status, reason = entrant.fault
        return {"name": entrant.name, "status": status, "reason": reason[:2000]}
    return {
        "name": entrant.name,
        "rounds_s": [round(seconds, 9) for seconds in entrant.rounds],
        "warmup_s": [round(seconds, 9) for seconds in entrant.warmup],
        "host_s": [round(seconds, 9) for seconds in entrant.host],
    }

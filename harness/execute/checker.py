"""The values of a race: draws that variants have not seen, and the definition's answer to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.inputs import make_inputs, make_output_gradient
from harness.mask import Mask
from harness.measure.calls import Buffers, Produced, make_buffers
from harness.measure.latency import Entrant
from harness.measure.norms import gradient_error
from harness.measure.numerics import gradient_bound, row_fault, row_limit, shape_fault
from harness.measure.truth import Asked, OwnError, in_own_dtype, run_definition
from harness.variant import AttentionOp, definition_key
from harness.workload import Workload

CHECKED_ROWS = 8
ALL_ROWS_SCORES = 1 << 18
"""Scores up to which all rows are checked, which takes some 10 ms a draw; beyond it a few are."""
APART_DRAWS = 2
"""Draws whose output gradient is zero but at the checked rows: there few rows give dK and dV whole.

Two, so that gradients kept from one are found on the other. Never timed: a GPU multiplies zeros at
a higher clock than numbers."""
LEAST_DRAWS, MOST_DRAWS = 3, 8
"""Three at least: what is kept and given again in turn would be right where two alternate."""
POOL_BYTES = 64 << 20
SLACK = 2.0
"""A timed output is held to twice the bound of the probe: its values are new, its rows few."""


class Pool:
    """Draws of the inputs, none of them the probe's, and the buffers they are copied into.

    Of the draws, `draws` are timed; those of `apart` come after them and have the inputs of the
    first ones. The buffers hold the last timed draw first, so that what a first call keeps is
    stale in the next.
    """

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.all_rows = workload.all_pairs <= ALL_ROWS_SCORES
        self.draws = max(LEAST_DRAWS, min(MOST_DRAWS, POOL_BYTES // max(1, workload.input_bytes())))
        few = workload.has_gradients and not self.all_rows
        self.apart = tuple(range(self.draws, self.draws + APART_DRAWS)) if few else ()
        self.inputs = [make_inputs(workload, draw + 1) for draw in range(self.draws)]
        self.inputs += self.inputs[: len(self.apart)]
        mask, draws = workload.build_mask("cpu"), range(len(self.inputs))
        self.rows = [_checked_rows(mask, draw) for draw in draws]
        self.upstream = [self._upstream(draw) for draw in draws]
        last = self.draws - 1
        self.buffers: Buffers = make_buffers(workload, self.inputs[last], self.upstream[last])

    def _upstream(self, draw: int) -> Tensor | None:
        if not self.workload.has_gradients:
            return None
        rows = self.rows[draw] if draw in self.apart else torch.arange(self.workload.q_len)
        return make_output_gradient(self.workload, rows, draw + 1)

    def refill(self, draw: int) -> None:
        """Copy a draw into the buffers."""
        self.buffers.write(self.inputs[draw], self.upstream[draw])

    def held(self) -> tuple[Tensor, ...]:
        """The buffers themselves."""
        b = self.buffers
        return tuple(t for t in (b.q, b.k, b.v, b.output_gradient) if t is not None)

    def written(self, draw: int) -> str | None:
        """Which of the buffers no longer hold this draw."""
        names = ("q", "k", "v", "the gradient of the output")
        values = [t for t in (*self.inputs[draw], self.upstream[draw]) if t is not None]
        changed = [
            name
            for name, buffer, value in zip(names, self.held(), values, strict=False)
            if not torch.equal(buffer, value)
        ]
        return ", ".join(changed) or None


def _checked_rows(mask: Mask, draw: int) -> Tensor:
    """Some rows that mean something: not padded, and with a key to see where any has one."""
    judged = mask.judged.any(0)
    seeing = ((mask.stop > mask.start) & mask.judged).any(0)
    candidates = (seeing if bool(seeing.any()) else judged).nonzero()[:, 0]
    order = torch.randperm(len(candidates), generator=torch.Generator().manual_seed(draw))
    rows: Tensor = candidates[order[:CHECKED_ROWS]].sort().values
    return rows


@dataclass(frozen=True)
class _Expected:
    rows: Tensor
    judged: Tensor
    output: Tensor
    gradients: tuple[Tensor, ...] = ()
    sizes: tuple[Tensor, ...] = ()
    """Of the terms that the gradients are summed from: where those vanish, rounding does not."""
    own_gradient: float = 0.0
    """What the definition errs by itself in the case's dtype."""


class Checker:
    """Compares some rows of an output with the definition on the same draw: all, if few.

    Of gradients, the same rows of q's; k's and v's where all rows are compared, or the draw's
    output gradient is zero but at those that are.
    """

    def __init__(self, pool: Pool, described: Sequence[dict[str, Any]]) -> None:
        self._pool = pool
        self._own = {entry["name"]: OwnError(**entry["own"]) for entry in described}
        self._known: dict[tuple[str, int], _Expected] = {}

    def __call__(self, entrant: Entrant, produced: Produced, draw: int) -> str | None:
        """Why what an entrant produced is not the answer to this draw."""
        workload, own = self._pool.workload, self._own[entrant.name]
        fault = shape_fault(produced, workload)
        if fault is not None or produced.output is None:
            return fault
        expected = self._expected(entrant.call.op, draw)
        found = produced.output.detach()[:, :, expected.rows]
        limit = SLACK * row_limit(expected.output, own, workload)
        fault = row_fault(found, expected.output, expected.judged, limit)
        if fault is None and expected.gradients:
            fault = self._q_fault(produced, expected, own)
        if fault is None and len(expected.gradients) > 1:
            fault = self._kv_fault(produced, expected, own)
        return fault

    def _q_fault(self, produced: Produced, expected: _Expected, own: OwnError) -> str | None:
        found, right = produced.gradients[0].detach()[:, :, expected.rows], expected.gradients[0]
        # Rows are held to the largest of them: a row may see one key and have no gradient.
        largest = right.square().sum(-1).sqrt().amax(-1, keepdim=True)
        largest = torch.maximum(largest, expected.sizes[0][..., None])
        own_error = max(own.gradient, expected.own_gradient)
        # A row may err by more than the rows together.
        share = SLACK * (6 * own_error + gradient_bound(own_error, self._pool.workload))
        limit = (share * largest).expand(found.shape[:3])
        fault = row_fault(found, right, expected.judged, limit)
        return None if fault is None else f"gradient of q: {fault}"

    def _kv_fault(self, produced: Produced, expected: _Expected, own: OwnError) -> str | None:
        own_error = max(own.gradient, expected.own_gradient)
        bound = SLACK * gradient_bound(own_error, self._pool.workload)
        known = expected.gradients[1:], expected.sizes[1:]
        for name, found, right, size in zip("kv", produced.gradients[1:], *known, strict=True):
            error = gradient_error((found.detach(),), (right,), (size,))
            if not error <= bound:
                return f"gradient of {name}: error {error:.2g} above the bound {bound:.2g}"
        return None

    def _expected(self, op: AttentionOp, draw: int) -> _Expected:
        key = definition_key(op)[0], draw
        if key not in self._known:
            self._known[key] = self._computed(op, draw)
        return self._known[key]

    def _computed(self, op: AttentionOp, draw: int) -> _Expected:
        workload, whole = self._pool.workload, self._pool.all_rows or not op.rowwise
        rows = torch.arange(workload.q_len) if whole else self._pool.rows[draw]
        mask = workload.build_mask().take(rows)
        upstream = self._pool.upstream[draw]
        part = None if upstream is None else upstream[:, :, rows.to(upstream.device)]
        asked = Asked(workload, mask, self._pool.inputs[draw], part, op.rowwise)
        output, gradients = run_definition(op.definition, asked, torch.float64)
        judged = mask.judged[:, None, :, None]
        if not gradients:
            return _Expected(rows, judged, output)
        sizes = asked.gradient_sizes(output)
        if not whole and draw not in self._pool.apart:
            return _Expected(rows, judged, output, gradients[:1], sizes[:1])
        _, own = in_own_dtype(op.definition, asked, (output, gradients))
        error = gradient_error(own, gradients, sizes)
        own_gradient = error if error < float("inf") else 0.0
        return _Expected(rows, judged, output, gradients, sizes, own_gradient)

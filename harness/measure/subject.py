"""A definition on a workload with its truth: what mutants are made from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from harness.mask import Mask
from harness.measure.calls import Produced
from harness.measure.norms import row_distances, row_norms
from harness.measure.truth import Asked, Definition, Truth
from harness.workload import Workload

SCORES = 1 << 17
"""Scores that one mutant may cost: with more, only some rows are mutated, and the rest is exact."""
LEAST_ROWS = 8
ROUNDING = 1e-9
"""Relative difference of a row up to which two float64 results are the same."""


@dataclass(frozen=True)
class Subject:
    """A definition, what it was asked, and its truth; `index` counts judged rows throughout."""

    definition: Definition
    asked: Asked
    truth: Truth

    @property
    def workload(self) -> Workload:
        """The workload that was asked."""
        return self.asked.workload

    @property
    def coarse(self) -> bool:
        """True in 16 bit, where a kernel cannot resolve what a smaller mutant changes."""
        return self.workload.torch_dtype.itemsize == 2

    @cached_property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """q (B, H, R, D), k and v (B, H, Lkv, .) of all heads, in float64."""
        return self.widened(self.asked.inputs)

    def widened(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs as the definition takes them: judged rows, heads repeated, float64."""
        times = self.workload.groups
        q, k, v = inputs
        k, v = (t.double().repeat_interleave(times, 1) if times > 1 else t.double() for t in (k, v))
        return q[:, :, self.truth.rows].double(), k, v

    @cached_property
    def exact(self) -> Produced:
        """The truth, rounded to the case's dtype, as a call would have given it."""
        gradients = self.truth.gradients
        if gradients:
            gradients = (self._whole(gradients[0]), *(self._rounded(g) for g in gradients[1:]))
        return Produced(self._whole(self.truth.output), gradients)

    def _rounded(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.workload.torch_dtype)

    def _whole(self, rows: Tensor) -> Tensor:
        """(B, H, Lq, .) in the case's dtype: these values at the judged rows, 0 elsewhere."""
        if rows.shape[2] == self.workload.q_len:
            return self._rounded(rows)
        whole = rows.new_zeros(
            (*rows.shape[:2], self.workload.q_len, rows.shape[3]), dtype=self.workload.torch_dtype
        )
        whole[:, :, self.truth.rows] = self._rounded(rows)
        return whole

    def run(
        self,
        index: Tensor,
        *,
        inputs: tuple[Tensor, Tensor, Tensor] | None = None,
        mask: Mask | None = None,
        scale: float | None = None,
        definition: Definition | None = None,
    ) -> Tensor:
        """(B, H, R, Dv) of the definition at some judged rows, with whatever is given changed."""
        q, k, v = inputs or self.inputs
        mask = mask or self.asked.mask
        given: dict[str, Any] = {"scale": self.workload.scale if scale is None else scale}
        define = definition or self.definition
        if not self.by_rows:
            return define(q, k, v, mask=mask, **given)[:, :, index]
        part = mask.take(self.truth.rows[index])
        return define(q[:, :, index], k, v, mask=part, **given)

    @cached_property
    def by_rows(self) -> bool:
        """True when the definition gives on some rows what it gives there on all of them."""
        if not self.asked.rowwise:
            return False
        index = self._some(self.all_rows)
        if len(index) == len(self.all_rows):
            return True
        q, k, v = self.inputs
        part = self.asked.mask.take(self.truth.rows[index])
        try:
            found = self.definition(q[:, :, index], k, v, mask=part, scale=self.workload.scale)
        except Exception:  # a definition that was written for all rows may fail on some
            return False
        return found.shape[2] == len(index) and self.is_right(index, found)

    @property
    def all_rows(self) -> Tensor:
        """Indices of all judged rows."""
        return torch.arange(len(self.truth.rows))

    def spread(self, index: Tensor) -> Tensor:
        """As many of these rows as a mutant may cost, from the first to the last of them."""
        return self._some(index) if self.by_rows else index

    def _some(self, index: Tensor) -> Tensor:
        w = self.workload
        most = max(LEAST_ROWS, SCORES // (w.batch * w.heads * w.kv_len))
        if len(index) <= most:
            return index
        seeded = torch.Generator().manual_seed(w.seed)
        # One row of each stretch, at random: a fixed stride could keep to one place in the tiles.
        edges = torch.linspace(0, len(index), most)[:-1]
        inside = edges + torch.rand(most - 1, generator=seeded) * len(index) / (most - 1)
        chosen = torch.cat([inside.long().clamp(max=len(index) - 2), torch.tensor([-1])])
        return index[chosen]

    def is_right(self, index: Tensor, values: Tensor) -> bool:
        """True when the values are the truth at these rows, to float64 rounding."""
        expected = self.truth.output[:, :, index]
        norms = row_norms(expected)
        # A row that is nearly 0 beside the others is only known to the rounding of theirs.
        allowed = ROUNDING * norms.clamp(min=1e-6 * float(norms.max()))
        judged = self.truth.judged[:, :, index, 0]
        return bool(((row_distances(values, expected) <= allowed) | ~judged).all())

    def answer(self, index: Tensor, values: Tensor) -> Produced:
        """These values at some judged rows, the exact answer elsewhere."""
        assert self.exact.output is not None
        output = self.exact.output.clone()
        output[:, :, self.truth.rows[index]] = self._rounded(values)
        return Produced(output, self.exact.gradients)

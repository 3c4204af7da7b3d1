"""Two calls on the same values: the same output, no global random numbers, memory of its own."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.measure.calls import Buffers
from harness.measure.numerics import row_limit
from harness.measure.truth import Truth
from harness.workload import Workload

LOUDER = 2.0
"""Values that replace others are this much larger: what leaks is seen, and nothing overflows."""

UNMEASURED = 256 * torch.finfo(torch.float64).eps
"""The least that a definition is taken to err by itself: in float64 it is the truth."""


class RandomStates:
    """The states of the global random generators, to begin two calls alike or unlike."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._torch = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state() if device == "cuda" else None
        self._numpy, self._python = np.random.get_state(), random.getstate()

    def restore(self) -> None:
        """Put the states back."""
        torch.set_rng_state(self._torch)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda)
        np.random.set_state(self._numpy)
        random.setstate(self._python)

    def reseed(self, seed: int) -> None:
        """Seed every generator anew."""
        torch.default_generator.manual_seed(seed)
        if self._device == "cuda":
            torch.cuda.manual_seed_all(seed)
        np.random.seed(seed)
        random.seed(seed)


@dataclass(frozen=True)
class Moved:
    """A row that is not where it was: its sequence, its head, and what is said of it."""

    batch: int
    head: int
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class FirstOutput:
    """The first call's output as it was returned, and a copy of its judged rows.

    limit (B, H, R): how far the row of another call may lie off: what the gate allows this one,
    and LOUDER times that for the other, since rounding grows with the values. drew: what is said
    of the call if it drew from a global random generator.
    """

    returned: Tensor
    kept: Tensor
    limit: Tensor
    rows: Tensor
    judged: Tensor
    drew: str | None

    @classmethod
    def keep(
        cls, output: Tensor, truth: Truth, workload: Workload, drew: str | None
    ) -> FirstOutput:
        """Keep an output that the gate let pass."""
        own = dataclasses.replace(truth.own, row=max(truth.own.row, UNMEASURED))
        returned = output.detach()
        return cls(
            returned=returned,
            kept=returned[:, :, truth.rows].clone(),
            limit=(1 + LOUDER) * row_limit(truth.output, own, workload),
            rows=truth.rows,
            judged=truth.judged[..., 0].expand(truth.output.shape[:3]),
            drew=drew,
        )

    def moved(self, found: Tensor, must_stay: Tensor) -> Moved | None:
        """Which of these rows lies furthest off what it was, and by how much; None within limits.

        found (B, H, R, Dv): the judged rows of another call.
        """
        wide = torch.promote_types(found.dtype, torch.float32)
        distance = (found.to(wide) - self.kept.to(wide)).square().sum(-1).sqrt()
        broken = ~(distance <= self.limit) & must_stay
        if not bool(broken.any()):
            return None
        worst = torch.where(broken, distance.nan_to_num(torch.inf), -1.0)
        at = torch.unravel_index(worst.argmax(), worst.shape)
        b, h, r = (int(index) for index in at)
        off, allowed = float(distance[b, h, r]), float(self.limit[b, h, r])
        place = f"row {int(self.rows[r])} of head {h}" + (f", batch {b}," if len(worst) > 1 else "")
        return Moved(b, h, f"{place} changes by {off:.2g} (allowed {allowed:.2g})")


def own_memory(first: FirstOutput, second: Tensor, buffers: Buffers) -> str | None:
    """What an output shares memory with; None when each output has memory of its own."""
    for name, other in (("q", buffers.q), ("k", buffers.k), ("v", buffers.v)):
        if _overlap(first.returned, other):
            return f"its output lies in the memory of {name}"
    if _overlap(first.returned, second):
        return "it returns the same memory at every call"
    now = first.returned[:, :, first.rows]
    if not bool(((now == first.kept) | (now.isnan() & first.kept.isnan())).all()):
        return "a later call wrote into an output already returned"
    return None


def _overlap(a: Tensor, b: Tensor) -> bool:
    (low, size), (other, other_size) = (
        (tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes())
        for tensor in (a, b)
    )
    return low < other + other_size and other < low + size

"""The variants that run a schedule on processes, their costs and what they refuse."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from harness import Attention, Cost, Link, Mask, TeamOp, Workload, register
from harness.schedule import GENERATORS, Schedule, simulate
from variants.polynomial.family import PolynomialFamily, overflow, row_norms
from variants.scheduled import plan
from variants.scheduled.attend import Attend
from variants.scheduled.pairs import Backward, Forward
from variants.scheduled.power import PowerBackward, PowerForward
from variants.scheduled.rows import UNSEEN, Layout
from variants.scheduled.softmax import SoftmaxBackward, SoftmaxForward
from variants.softmax import SoftmaxFamily

Name = Literal["ring", "contiguous", "striped", "zigzag", "half_fused", "causal_half"]
_PARTS = {"zigzag": 2, "striped": 4, "half_fused": 2, "causal_half": 2}


@dataclass(frozen=True)
class OnRing(TeamOp):
    """Attention of blocks of rows by a schedule of `harness.schedule`; abstract.

    Where the schedule computes a score of two vectors, a worker computes the pair of blocks and
    weighs it at once, in memory O(L / workers); values go along with keys, and the sums of a block
    that works away from home follow it. schedule: `ring`, any mask; of causal masks, future pairs
    are left out: `contiguous`, `striped`, `zigzag` and `causal_half`; of shared q and k:
    `half_fused`, each pair of blocks scored once. parts: blocks of each worker, None for 2 of
    `zigzag` and of halves, 4 of `striped`, else 1.
    """

    schedule: Name = "ring"
    parts: int | None = None

    def __post_init__(self) -> None:
        TeamOp.__post_init__(self)
        least = 2 if self.schedule == "zigzag" else 1
        if self.parts is not None and (self.parts < least or self.parts % least):
            raise ValueError(
                f"{self.schedule} gives each worker a multiple of {least} blocks: "
                f"parts={self.parts}; write {2 * least} or leave parts out"
            )

    def made(self) -> Schedule:
        """The schedule, a vector of which is a block."""
        return _made(*self._sizes)

    def rows(self, workload: Workload) -> tuple[Tensor, ...]:
        """The rows of the blocks that a worker owns."""
        made = self.made()
        layout = Layout(made.vectors, workload.build_mask("cpu"))
        return tuple(layout.positions(made.owned(worker)) for worker in range(self.workers))

    def unsupported(self, workload: Workload) -> str | None:
        """Masks and lengths that the schedule is not made for."""
        reason = super().unsupported(workload)
        if reason is not None:
            return reason
        made = self.made()
        if made.scheme == "causal" and not workload.mask_spec.causal:
            return (
                f"schedule={self.schedule} leaves future keys out: mask={workload.mask}; "
                "write mask: causal, or schedule=ring"
            )
        if made.scheme == "symmetric" and workload.shared == "none":
            return (
                f"schedule={self.schedule} takes q for k; write shared: qk in the workload, or "
                "schedule=ring"
            )
        if workload.q_len < made.vectors:
            return (
                f"it has {made.vectors} blocks: q_len={workload.q_len}; write {made.vectors} or "
                "more, or fewer workers"
            )
        return None

    def part(self, workload: Workload, mask: Mask, link: Link) -> Attention:
        """Steps, room and masks of one worker."""
        made = self.made()
        layout = Layout(made.vectors, mask)
        forward, backward = self.work(workload, mask, layout)
        there, back = self.steps()
        return Attend(
            link=link,
            blocks=made.owned(link.rank),
            layout=layout,
            forward_steps=there[link.rank],
            backward_steps=back[link.rank],
            forward_work=forward,
            backward_work=backward,
            dtype=workload.sum_dtype,
        )

    def steps(self) -> tuple[list[list[plan.Step]], list[list[plan.Step]]]:
        """What every worker does, forward and backward."""
        return _steps(*self._sizes, sums=self._queries_travel), _steps(*self._sizes, sums=True)

    def work(self, workload: Workload, mask: Mask, layout: Layout) -> tuple[Forward, Backward]:
        """What is computed on pairs of blocks, forward and backward."""
        raise NotImplementedError

    def cost(self, workload: Workload) -> Cost:
        """The products of the busiest worker, of tiles in which some key is seen."""
        layout = Layout(self.made().vectors, workload.build_mask("cpu"))
        there, _ = self.steps()
        busiest = max(sum(self._flops(workload, layout, step) for step in own) for own in there)
        shared = workload.compulsory_bytes() // self.workers
        return Cost(
            busiest,
            bytes=shared,
            cycles=_cycles(*self._sizes),
            vectors=self.made().vectors,
            time_growth=2.0,
            memory_growth=1.0,
        )

    def sent_bytes(self, workload: Workload) -> int:
        """Bytes that the workers send each other in a pass, by the schedule."""
        layout = Layout(self.made().vectors, workload.build_mask("cpu"))
        works = self.work(workload, layout.mask, layout)
        passes = {"forward": works[:1], "forward+backward": works, "backward": works[1:]}
        return sum(
            sum(tensor.nbytes for block in step.given for tensor in work.room(block))
            + sum(t.nbytes for block in step.sums_given for t in work.zeros(block)[: work.of_sums])
            for work, all_steps in zip(works, self.steps(), strict=True)
            if work in passes[workload.pass_]
            for own in all_steps
            for step in own
        )

    @property
    def _sizes(self) -> tuple[Name, int, int]:
        parts = self.parts or _PARTS.get(self.schedule, 1)
        return self.schedule, self.workers * parts, self.workers

    @property
    def _symmetric(self) -> bool:
        return self.made().scheme == "symmetric"

    @property
    def _queries_travel(self) -> bool:
        return self.schedule in ("half_fused", "causal_half")

    def _common(self, workload: Workload, layout: Layout) -> dict[str, Any]:
        return {
            "layout": layout,
            "scale": workload.scale,
            "symmetric": self._symmetric,
            "batch_heads": (workload.batch, workload.heads),
            "head_dim": workload.head_dim,
            "v_head_dim": workload.v_head_dim,
            "dtype": workload.sum_dtype,
        }

    def _travel(self, of_query: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """How many tensors of a block and of its sums travel, forward and backward."""
        if not self._queries_travel:
            return {"of_blocks": 2, "of_sums": 0}, {"of_blocks": 2, "of_sums": 2}
        with_q = 0 if self._symmetric else 1
        forward = {"of_blocks": 2 + with_q, "of_sums": 3}
        return forward, {"of_blocks": 2 + of_query + with_q, "of_sums": 3}

    def _flops(self, workload: Workload, layout: Layout, step: plan.Step) -> int:
        if step.pair is None:
            return 0
        (i, j), both = step.pair, self._symmetric
        d, dv = workload.head_dim, workload.v_head_dim
        found = 0
        for rows, keys in layout.tiles(i, j):
            ways = [layout.hidden(i, rows, j, keys)]
            ways += [layout.hidden(j, keys, i, rows)] if both and i != j else []
            seen = sum(way is not UNSEEN for way in ways)
            area = len(layout.rows(i)[rows]) * len(layout.rows(j)[keys])
            there, back = d + seen * dv, d + seen * (2 * dv + 2 * d)
            taken = {"forward": there, "backward": back, "forward+backward": there + back}
            found += 2 * area * taken[workload.pass_] if seen else 0
        return found * workload.batch * workload.heads


@functools.cache
def _made(name: Name, n: int, m: int) -> Schedule:
    return GENERATORS[name](n, m)


@functools.cache
def _cycles(name: Name, n: int, m: int) -> int:
    return simulate(_made(name, n, m)).cycles


@functools.cache
def _steps(name: Name, n: int, m: int, *, sums: bool) -> list[list[plan.Step]]:
    return plan.steps(_made(name, n, m), sums=sums)


@register("scheduled")
@dataclass(frozen=True)
class Scheduled(SoftmaxFamily, OnRing):
    """Softmax attention by a schedule on `workers` processes, merged by log-sum-exp.

    `ring` is Ring Attention (Liu et al. 2023, arXiv:2310.01889), `striped` Striped Attention
    (Brandon et al. 2023, arXiv:2311.09431); halves are a reconstruction of Yu and Fujita 2020
    (arXiv:2012.01114), whose text could not be read.
    """

    biased: ClassVar[bool] = False

    def work(self, workload: Workload, mask: Mask, layout: Layout) -> tuple[Forward, Backward]:
        """Sums of exponentials."""
        common = self._common(workload, layout)
        there, back = self._travel(SoftmaxBackward.of_query)
        return SoftmaxForward(**common, **there), SoftmaxBackward(**common, **back)


@register("scheduled_polynomial")
@dataclass(frozen=True)
class ScheduledPolynomial(PolynomialFamily, OnRing):
    """Polynomial attention by a schedule on `workers` processes, merged by adding.

    Saratchandran et al. 2024 (arXiv:2410.18613) on the schedules of `scheduled`.
    """

    def __post_init__(self) -> None:
        PolynomialFamily.__post_init__(self)
        OnRing.__post_init__(self)

    def unsupported(self, workload: Workload) -> str | None:
        """What the schedule cannot do, and what the dtype cannot hold."""
        inner = workload.scale if self.inner_scale else 1.0
        return super().unsupported(workload) or overflow(workload, self.degree, inner)

    def work(self, workload: Workload, mask: Mask, layout: Layout) -> tuple[Forward, Backward]:
        """Sums of powers, and the factor of each row."""
        common = self._common(workload, layout)
        if not self.inner_scale:
            common["scale"] = 1.0
        norm = row_norms(mask, self.norm, self.divisor, workload.sum_dtype)
        # In the dtype of the sums: float32 would round it.
        factor = torch.as_tensor(norm, dtype=workload.sum_dtype)
        factor = factor.reshape(1, 1, 1, 1) if factor.dim() == 0 else factor
        there, back = self._travel(PowerBackward.of_query)
        forward = PowerForward(**common, **there, degree=self.degree, factor=factor)
        return forward, PowerBackward(**common, **back, degree=self.degree)

"""The truth of a block: a definition in float64, and the error it makes in the case's dtype.

Computed once a block for each definition, on all query rows up to 4096 and on one row of each
64-row tile and the last beyond: rows do not depend on each other, and an output gradient that is
zero elsewhere makes dK and dV exact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from harness.inputs import make_inputs, make_output_gradient
from harness.mask import Mask
from harness.measure.norms import (
    gradient_error,
    gradient_sizes,
    relative_error,
    row_errors,
    row_scales,
)
from harness.reference import softmax_attention
from harness.variant import repeated
from harness.workload import Workload

ALL_ROWS = 4096
TILE = 64
CHUNK_SCORES = 1 << 24
"""Scores that a definition holds at once (128 MiB in float64): longer inputs go by row chunks."""
CACHED_SCORES = 1 << 20
"""Scores that stay near a CPU's caches: chunks of so many halve the time of a long truth."""

Definition = Callable[..., Tensor]


@dataclass(frozen=True)
class OwnError:
    """What the definition itself errs by in the case's dtype, and the scale of the values.

    Over the tensor, at the worst row, at the worst (batch, head) slice of a gradient. mean_v:
    the size of an element of the mean of all values, rms(v) / sqrt(kv_len).
    """

    tensor: float
    row: float
    gradient: float
    largest_v: float
    mean_v: float = 0.0


@dataclass(frozen=True)
class Truth:
    """The definition in float64 on the judged rows, and its own error in the case's dtype.

    output (B, H, R, Dv); gradients of q (B, H, R, D), k and v (B, Hkv, Lkv, .); softmax: output
    of softmax attention, for the deviation; judged (B', 1, R, 1): False at padded rows.
    gradient_sizes (B, H) and twice (B, Hkv): sizes of the terms that gradients are summed from.
    """

    rows: Tensor
    judged: Tensor
    output: Tensor
    gradients: tuple[Tensor, ...]
    softmax: Tensor
    own: OwnError
    gradient_sizes: tuple[Tensor, ...] = ()


def judged_rows(workload: Workload, rowwise: bool) -> Tensor:
    """Positions of the query rows that are judged."""
    if workload.q_len <= ALL_ROWS or not rowwise:
        return torch.arange(workload.q_len)
    spread = torch.Generator().manual_seed(workload.seed)
    tiles = torch.arange(0, workload.q_len, TILE)
    inside = torch.randint(0, TILE, tiles.shape, generator=spread)
    rows = torch.minimum(tiles + inside, torch.tensor(workload.q_len - 1))
    last = torch.tensor([workload.q_len - 1])
    positions: Tensor = torch.unique(torch.cat([rows, last]))
    return positions


def softmax_rows(workload: Workload, rowwise: bool = True, draw: int = 0) -> Tensor:
    """Softmax attention in float64 on the judged rows: what the deviation is measured from."""
    return softmax_of(ask(workload, rowwise=rowwise, draw=draw))


def softmax_of(asked: Asked) -> Tensor:
    """Softmax attention in float64 on what a definition is asked."""
    asked = dataclasses.replace(asked, upstream=None, rowwise=True)
    return run_definition(softmax_attention, asked, torch.float64)[0]


def truth_of(
    definition: Definition, workload: Workload, softmax: Tensor, *, rowwise: bool, draw: int = 0
) -> Truth:
    """Run a definition in float64 and in the case's dtype on the seeded inputs of a workload."""
    return find_truth(definition, ask(workload, rowwise=rowwise, draw=draw), softmax)


def find_truth(definition: Definition, asked: Asked, softmax: Tensor) -> Truth:
    """Run a definition in float64 and in the case's dtype on what it is asked."""
    exact, gradients = run_definition(definition, asked, torch.float64)
    own, own_gradients = in_own_dtype(definition, asked, (exact, gradients))
    judged = asked.mask.judged[:, None, :, None]
    sizes = asked.gradient_sizes(exact)
    v = asked.inputs[2].double()
    mean_v = float((v.square().mean() / asked.workload.kv_len).sqrt())
    scales = row_scales(exact, mean_v)
    return Truth(
        rows=asked.mask.rows.cpu(),
        judged=judged,
        output=exact,
        gradients=gradients,
        softmax=softmax,
        own=OwnError(
            tensor=relative_error(own, exact, judged),
            row=float(row_errors(own, exact, judged, scales).max()),
            gradient=gradient_error(own_gradients, gradients, sizes),
            largest_v=float(v.abs().max()),
            mean_v=mean_v,
        ),
        gradient_sizes=sizes,
    )


def in_own_dtype(
    definition: Definition, asked: Asked, exact: tuple[Tensor, tuple[Tensor, ...]]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What a definition gives in the case's dtype, beside the `exact` output and gradients.

    In float64 it is the truth, and would seem to make no error: there it is taken to err as in
    float32, eps for eps. What a formula loses by cancelling is lost in both.
    """
    dtype = asked.workload.torch_dtype
    if dtype != torch.float64:
        return run_definition(definition, asked, dtype)
    single, gradients = run_definition(definition, asked, torch.float32)
    share = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps

    def shrunk(right: Tensor, wrong: Tensor) -> Tensor:
        return right + share * (wrong.double() - right)

    return shrunk(exact[0], single), tuple(map(shrunk, exact[1], gradients))


def save(truth: Truth, path: Path) -> None:
    """Write a truth to disk, for the probes of its block."""
    torch.save({**vars(truth), "own": dataclasses.asdict(truth.own)}, path)


def load(path: Path) -> Truth:
    """Read a truth that `save` wrote."""
    content = torch.load(path, weights_only=True)
    return Truth(**{**content, "own": OwnError(**content["own"])})


@dataclass(frozen=True)
class Asked:
    """What a definition is run on: query rows, inputs, and the output's gradient at those rows."""

    workload: Workload
    mask: Mask
    inputs: tuple[Tensor, ...]
    upstream: Tensor | None
    rowwise: bool
    sources: int = 3
    """How many of q, k and v the definition reads."""

    def gradient_sizes(self, output: Tensor) -> tuple[Tensor, ...]:
        """Sizes of the terms that the gradients are summed from; () where there are none."""
        if self.upstream is None:
            return ()
        q, k, v = self.inputs
        q = q[:, :, self.mask.rows]
        return gradient_sizes((q, k, v), self.upstream, output, self.workload.scale)

    def scores(self) -> int:
        """How many scores there are at the judged rows."""
        return len(self.mask.rows) * self.workload.batch * self.workload.heads * self.mask.kv_len

    def chunk(self) -> int:
        """Rows that are run at once."""
        per_row = self.workload.batch * self.workload.heads * self.workload.kv_len
        if not self.rowwise:
            return len(self.mask.rows)
        # Below a tile's rows, adding up the gradients of k and v would cost more than is gained.
        return max(1, min(CHUNK_SCORES // per_row, max(TILE, CACHED_SCORES // per_row)))


def ask(workload: Workload, *, rowwise: bool, sources: int = 3, draw: int = 0) -> Asked:
    """The seeded inputs of a workload and the rows it is judged on, for a definition to answer."""
    rows = judged_rows(workload, rowwise)
    mask = workload.build_mask()
    if workload.bias == "random":
        _ = mask.bias  # drawn whole, once for all chunks of rows
    upstream = None
    if workload.has_gradients:
        upstream = make_output_gradient(workload, rows, draw)[:, :, rows.to(workload.device)]
    inputs = make_inputs(workload, draw)
    return Asked(workload, mask.take(rows), inputs, upstream, rowwise, sources)


def run_definition(
    definition: Definition, asked: Asked, dtype: torch.dtype
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Output (B, H, R, Dv) of a definition in a dtype, and its gradients of q, k and v."""
    q, k, v = (tensor.to(dtype) for tensor in asked.inputs)
    rows, step = asked.mask.rows, asked.chunk()
    outputs: list[Tensor] = []
    sums: list[Tensor] = []
    for at in range(0, len(rows), step):
        part = rows[at : at + step]
        leaves = [tensor.detach().requires_grad_() for tensor in (q[:, :, part], k, v)]
        with torch.set_grad_enabled(asked.upstream is not None):
            output = _defined(definition, leaves, asked.mask.take(part), asked.workload)
        outputs.append(output.detach())
        if asked.upstream is not None:
            upstream = asked.upstream[:, :, at : at + step].to(dtype)
            grads = torch.autograd.grad(
                output, leaves, upstream, allow_unused=True, materialize_grads=True
            )
            sums = _accumulate(sums, grads)
    return torch.cat(outputs, 2), tuple(sums)


def _defined(
    definition: Definition, leaves: list[Tensor], mask: Mask, workload: Workload
) -> Tensor:
    q, k, v = leaves
    k, v = repeated(k, v, workload.groups)
    return definition(q, k, v, mask=mask, scale=workload.scale)


def _accumulate(sums: list[Tensor], grads: tuple[Tensor, ...]) -> list[Tensor]:
    wide = torch.promote_types(grads[0].dtype, torch.float32)
    dq, dk, dv = (grad.to(wide) for grad in grads)
    if not sums:
        return [dq, dk, dv]
    return [torch.cat([sums[0], dq], 2), sums[1] + dk, sums[2] + dv]

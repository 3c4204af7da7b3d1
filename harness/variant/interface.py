"""The interface of a variant: what every one has, and what an op has beside it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from harness.mask import Mask
from harness.workload import VariantSpec, Workload

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Cost:
    """What a variant says of its own work; None where it claims nothing.

    flops: executed FLOPs of the pass, products only, where they are not the algorithmic ones
    (`Workload.flops_of` counts them from pairs); a case that seems to compute faster than the
    machine can is `impossible`, so one that executes less must say so. bytes: what a call reads
    and writes at least, where that is less than all inputs and results. state_bytes: kept between
    decode steps. time_growth, memory_growth: claimed exponents in the length. Of a layer,
    projection_flops: what of its FLOPs its projections take; parameters: how many it has. Of an
    op of several workers, flops and bytes are those of the busiest; cycles: what its schedule takes
    in simulation (`harness.schedule`), whose `vectors` are blocks of its rows.
    """

    flops: int | None = None
    bytes: int | None = None
    state_bytes: int | None = None
    projection_flops: int | None = None
    parameters: int | None = None
    cycles: int | None = None
    vectors: int | None = None
    time_growth: float | None = None
    memory_growth: float | None = None


@dataclass(frozen=True)
class Recurrence:
    """Decoding from a state that is not the keys and values themselves.

    prefill(k, v) -> state: of all keys but the last; not timed. step(q, k, v, state) -> output:
    one query with the newest key and value; timed. It leaves the state as it was, for it is called
    again on the same one.
    """

    prefill: Callable[[Tensor, Tensor], Any]
    step: Callable[[Tensor, Tensor, Tensor, Any], Tensor]


class Variant:
    """What a variant of either level has: names, claims, reasons, costs; abstract.

    It is a frozen dataclass whose fields are its parameters. `approximates` names the mechanism
    that it stands in for, as `softmax`; its error is still against its own definition.

    What it claims, and every case is probed for: `rowwise`, a row of the output depends on no
    other query (so that the definition may be run on some rows only); `headwise`, heads do not
    mix; `scaled`, q, k and `scale` enter as scale * q k^T alone; `permutation_equivariant`, with
    neither mask nor bias, where a key or a query stands does not matter; `deterministic`, the same
    values give the same output, to rounding. `adaptive`: which kernel runs hangs on the values, so
    that all values of a race are tried before it. That the mask is honoured and that the sequences
    of a batch do not mix holds for every variant, and is claimed by nobody.
    """

    name: ClassVar[str] = ""
    family: ClassVar[str] = ""
    approximates: ClassVar[str] = ""
    biased: ClassVar[bool] = False
    rowwise: ClassVar[bool] = True
    headwise: ClassVar[bool] = True
    scaled: ClassVar[bool] = True
    permutation_equivariant: ClassVar[bool] = True
    deterministic: ClassVar[bool] = True
    adaptive: ClassVar[bool] = False

    def unsupported(self, workload: Workload) -> str | None:
        """Why this workload cannot be run, as the user reads it; None when it can."""
        return None

    def expected_kernels(self, workload: Workload) -> tuple[str, ...]:
        """Parts of kernel names of which one must run; () when any will do.

        When none of them ran, the case is `fallback`: what ran is not what was asked. On the CPU,
        where kernels are torch's operators, a variant tells its own paths apart by
        `torch.profiler.record_function` under names that begin with `attnbench::`.
        """
        return ()

    def cost(self, workload: Workload) -> Cost:
        """What the variant claims of its own work."""
        return Cost()

    @property
    def spec(self) -> VariantSpec:
        """Name and non-default parameters, in field order."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        pairs = [(field.name, getattr(self, field.name)) for field in fields]
        defaults = {field.name: field.default for field in fields}
        return VariantSpec(
            self.name, tuple((name, value) for name, value in pairs if value != defaults[name])
        )


class AttentionOp(Variant):
    """One attention mechanism on q (B, H, Lq, D), k (B, Hkv, Lkv, D), v (B, Hkv, Lkv, Dv).

    `forward` is all that is required. What it takes: `grouped`, Hkv < H (otherwise the harness
    repeats k and v inside what is timed); `biased`, `mask.bias`. `sources`: how many of q, k and v
    it reads, in that order; of the others there are no gradients.
    """

    grouped: ClassVar[bool] = False
    sources: ClassVar[int] = 3

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """The attention itself -> (B, H, Lq, Dv); differentiable where backward is claimed."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward and no definition")

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """The formula, plainly; run in float64 as the truth, on the query rows of `mask`.

        Sees H heads of keys. May read only the fields of the class that defines it. Left out,
        `forward` itself is run in float64, and the record says that the check was against it.
        """
        return self.forward(q, k, v, mask=mask, scale=scale)

    def defined_as(self) -> AttentionOp:
        """The variant whose definition this one has, where a parameter chooses; else itself."""
        return self

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Do what does not depend on values (block masks, compiling); its time is its own."""
        return functools.partial(self.forward, mask=mask, scale=workload.scale)

    def recurrence(self, workload: Workload, mask: Mask) -> Recurrence | None:
        """How it decodes from a state of its own; None where it reads the keys, as all can."""
        return None

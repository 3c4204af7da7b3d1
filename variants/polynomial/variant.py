"""The variant `polynomial`: which kernel runs, where, and at what cost."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, cast

import torch
from torch import Tensor

from harness import Attention, Cost, Mask, Recurrence, Workload, register
from variants.polynomial import linear
from variants.polynomial.family import PolynomialFamily, overflow, row_norms


class Kernel(Protocol):
    """What a kernel's module offers.

    factor (B' or 1, R or 1), float64: the weights of a row are factor (q k^T)^degree.
    """

    def unsupported(self, workload: Workload, degree: int) -> str | None:
        """Why it cannot run the workload."""

    def prepare(self, workload: Workload, mask: Mask, *, degree: int, factor: Tensor) -> Attention:
        """Plan what does not depend on values."""

    def cost(self, workload: Workload, degree: int) -> Cost:
        """What it executes."""


@register("polynomial")
@dataclass(frozen=True)
class Polynomial(PolynomialFamily):
    """x^degree / sqrt(N) in place of softmax (Saratchandran et al. 2024, arXiv:2410.18613).

    kernel: `naive`, the formula as it stands; `blocked`, in memory O(L), its backward computes
    the scores again, wholly masked blocks are skipped; `linear`, exact in time O(L) through
    features of the keys, degree 1 and 2; `triton`, for NVIDIA GPUs.
    """

    grouped: ClassVar[bool] = True
    kernel: Literal["naive", "blocked", "linear", "triton"] = "naive"

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """The formula as it stands, all scores in memory at once."""
        groups = q.shape[1] // k.shape[1]
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        scores = q @ k.mT * (scale if self.inner_scale else 1.0)
        norm = row_norms(mask, self.norm, self.divisor, q.dtype)
        return mask.zero(scores**self.degree * norm) @ v

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """What the kernel plans from the mask: blocks, chunks, the factor of each row."""
        if self.kernel == "naive":
            return super().prepare(workload, mask)
        return _kernel(self.kernel).prepare(
            workload, mask, degree=self.degree, factor=self._factor(workload, mask)
        )

    def recurrence(self, workload: Workload, mask: Mask) -> Recurrence | None:
        """`linear` decodes from the state of its features where every key is seen."""
        if self.kernel != "linear" or not mask.is_full:
            return None
        return linear.recurrence(workload, degree=self.degree, factor=self._factor(workload, mask))

    def unsupported(self, workload: Workload) -> str | None:
        """What the kernel cannot do, and what the dtype cannot hold."""
        kernel = None if self.kernel == "naive" else _kernel(self.kernel)
        reason = None if kernel is None else kernel.unsupported(workload, self.degree)
        inner = workload.scale if self.inner_scale else 1.0
        return reason or overflow(workload, self.degree, inner)

    def expected_kernels(self, workload: Workload) -> tuple[str, ...]:
        """The Triton kernels by their name; what the other kernels call is torch's."""
        if self.kernel != "triton":
            return ()
        from variants.polynomial import triton

        return triton.expected_kernels(workload)

    def cost(self, workload: Workload) -> Cost:
        """The products that the kernel executes, and how it claims to grow with the length."""
        if self.kernel != "naive":
            return _kernel(self.kernel).cost(workload, self.degree)
        # Every pair, masked or not.
        flops = workload.flops_of(workload.all_pairs, backward=2.0)
        return Cost(flops=flops, time_growth=2.0, memory_growth=2.0)

    def _factor(self, workload: Workload, mask: Mask) -> Tensor:
        inner = workload.scale**self.degree if self.inner_scale else 1.0
        norm = row_norms(mask, self.norm, self.divisor, torch.float64)
        if isinstance(norm, float):
            return torch.full((1, 1), norm * inner, dtype=torch.float64, device=mask.device)
        return norm[:, 0, :, 0] * inner


def _kernel(name: str) -> Kernel:
    """The module of a kernel, loaded when it is asked for: not all run everywhere."""
    return cast(Kernel, importlib.import_module(f"variants.polynomial.{name}"))

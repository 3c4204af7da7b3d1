"""The variant `symmetric`: which mechanism, which kernel, where, and at what cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from harness import Attention, AttentionOp, Cost, Mask, Workload, register
from variants.polynomial import Polynomial
from variants.softmax import Softmax
from variants.symmetric import triangle


@register("symmetric")
@dataclass(frozen=True)
class Symmetric(AttentionOp):
    """Softmax or polynomial attention of a sequence on itself, q = k: scores are symmetric.

    kernel: `naive`, the formula as it stands; `triangle`, in blocks of `block` rows and keys, where
    the block of scores (I, J) serves rows I with keys J and rows J with keys I. Its gradients are
    of q, k and v apart, as everywhere. The idea is that of scheduled hardware (Yu and Fujita 2020,
    arXiv:2012.01114), of which abstracts alone could be read: the kernel is a reconstruction.

    For softmax the weights exp(s_ij), in places shifted to exp(s_ij - (s_ii + s_jj)/2), are
    symmetric as well. Where s_ii is spread too far for both (`weights.Range`), each side needs
    maxima and weights of its own. That is right, but saves next to nothing: it is marked as
    another kernel, and the case is `fallback`.
    """

    mechanism: Literal["softmax", "polynomial"] = "softmax"
    degree: int = 3
    kernel: Literal["naive", "triangle"] = "naive"
    block: int = 320

    family: ClassVar[str] = "softmax"
    adaptive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.mechanism == "softmax" and self.degree != Symmetric.degree:
            raise ValueError(
                f"degree is read under mechanism=polynomial alone: degree={self.degree}; "
                "write mechanism=polynomial or leave degree out"
            )
        if self.block < 1:
            raise ValueError(f"block must be at least 1: block={self.block}; write 256 or more")
        object.__setattr__(self, "family", self.defined_as().family)

    def defined_as(self) -> AttentionOp:
        """The plain form of the mechanism."""
        return Softmax() if self.mechanism == "softmax" else Polynomial(degree=self.degree)

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """The mechanism's own."""
        return self.defined_as().definition(q, k, v, mask=mask, scale=scale)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """The mechanism's own, all scores in memory at once."""
        return self.defined_as().forward(q, k, v, mask=mask, scale=scale)

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Which blocks of scores there are."""
        if self.kernel == "naive":
            return super().prepare(workload, mask)
        degree = None if self.mechanism == "softmax" else self.degree
        return triangle.bound(workload, degree, self.block)

    def unsupported(self, workload: Workload) -> str | None:
        """All but q = k, and what the kernel cannot do."""
        if workload.shared == "none":
            fault = workload.unshareable("qk")
            if fault is not None:
                return f"symmetric needs q = k: {fault}"
            return "symmetric needs q = k, and this workload has shared=none; write shared: qk"
        reason = triangle.unsupported(workload) if self.kernel == "triangle" else None
        return reason or self.defined_as().unsupported(workload)

    def expected_kernels(self, workload: Workload) -> tuple[str, ...]:
        """The mark of the triangle, which the two-sided form does not set."""
        return (triangle.MARK,) if self.kernel == "triangle" else ()

    def cost(self, workload: Workload) -> Cost:
        """The triangle's products, fewer than there are pairs of scores; it does not read k."""
        if self.kernel == "naive":
            return self.defined_as().cost(workload)
        sums = self.mechanism == "softmax"
        return Cost(
            flops=triangle.flops(workload, self.block, sums=sums),
            bytes=triangle.least_bytes(workload),
            time_growth=2.0,
            memory_growth=1.0,
        )

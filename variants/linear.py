"""Linear attention: a feature map in place of the exponential (arXiv:2006.16236)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from harness import Attention, AttentionOp, Cost, Mask, Recurrence, Workload, register
from variants import prefix


@register("linear")
@dataclass(frozen=True)
class Linear(AttentionOp):
    """phi(q) phi(k)^T v over its row sums, phi = elu + 1 (Katharopoulos et al. 2020, eq. 5 and 7).

    A mechanism of its own and no approximation: nothing in it comes closer to softmax as it is
    given more (the paper offers it in place of softmax, arXiv:2006.16236 section 3.2). Its feature
    map has no scale, so that `scale` changes nothing.
    """

    family: ClassVar[str] = "linear"
    grouped: ClassVar[bool] = True
    scaled: ClassVar[bool] = False

    chunk: int = 128

    def __post_init__(self) -> None:
        prefix.check(self.chunk)

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """w v / (sum of w), w = phi(q) phi(k)^T over the attended keys."""
        # A float16 sum over some thousand keys overflows: 16 bit is summed in float32 here as well.
        weights = mask.zero(_features(q) @ _features(k).mT)
        total = weights.sum(-1, keepdim=True)
        return (weights / total.masked_fill(total == 0, 1.0) @ v.to(weights.dtype)).to(q.dtype)

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Cut the mask into chunks."""
        plan = prefix.Plan.of(mask, self.chunk)

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out = prefix.normalised(_features(q), _features(k), v.to(prefix.wide(v)), plan)
            return out.to(q.dtype)

        return call

    def recurrence(self, workload: Workload, mask: Mask) -> Recurrence | None:
        """The state of section 3.4: sums of phi(k) v^T and of phi(k)."""
        return prefix.recurrence(_features, _features, mask)

    def cost(self, workload: Workload) -> Cost:
        """The products of states and of tiles."""
        return prefix.cost(workload, self.chunk, workload.head_dim)


def _features(x: Tensor) -> Tensor:
    return functional.elu(x.to(prefix.wide(x))) + 1

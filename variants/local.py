"""Softmax attention over a window of pixels: what vector attention is weighed against."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness import AttentionLayer, Cost, Mask, Workload, register
from variants.san.layers import FOOTPRINT, not_of_images
from variants.san.tiles import windows


class LocalHeads(nn.Module):
    """y_i = W_o concat_h(sum over j in R(i) of softmax_j(q_i k_j / sqrt(D)) v_j)."""

    def __init__(self, workload: Workload, footprint: int) -> None:
        super().__init__()
        assert workload.height is not None
        assert workload.width is not None
        self.sizes, self.footprint = (workload.height, workload.width), footprint
        self.heads, width = workload.heads, workload.model_dim
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """All heads and pixels at once."""
        q = self._heads(self.q(x).mT[:, :, None])
        k, v = (self._heads(self._around(part(x))) for part in (self.k, self.v))
        weights = ((q * k).sum(2) * q.shape[2] ** -0.5).softmax(2)
        y: Tensor = self.out((weights[:, :, None] * v).sum(3).flatten(1, 2).mT)
        return y

    def defined(self, x: Tensor) -> Tensor:
        """A head at a time."""
        q, k, v = self.q(x), self._around(self.k(x)), self._around(self.v(x))
        size, found = x.shape[-1] // self.heads, []
        for head in range(self.heads):
            own = slice(head * size, (head + 1) * size)
            scores = torch.einsum("bnd,bdkn->bkn", q[..., own], k[:, own]) * size**-0.5
            found.append(torch.einsum("bkn,bdkn->bnd", scores.softmax(1), v[:, own]))
        y: Tensor = self.out(torch.cat(found, -1))
        return y

    def _around(self, pixels: Tensor) -> Tensor:
        """(B, H W, C) -> (B, C, K^2, H W)."""
        return windows(torch.unflatten(pixels.mT, 2, self.sizes), self.footprint)

    def _heads(self, channels: Tensor) -> Tensor:
        return torch.unflatten(channels, 1, (self.heads, -1))


@register("local")
@dataclass(frozen=True)
class Local(AttentionLayer):
    """Multi-head softmax attention over the footprint (Ramachandran et al. 2019, 1906.05909).

    Without the relative positions of that paper.
    """

    def build(self, workload: Workload, mask: Mask) -> LocalHeads:
        """Four projections."""
        return LocalHeads(workload, workload.footprint or FOOTPRINT)

    def definition(self, module: nn.Module, x: Tensor, context: Tensor, *, mask: Mask) -> Tensor:
        """A head at a time."""
        assert isinstance(module, LocalHeads)
        return module.defined(x)

    def unsupported(self, workload: Workload) -> str | None:
        """No image, or one that is smaller than the window."""
        return not_of_images(self.name, workload)

    def cost(self, workload: Workload) -> Cost:
        """Two FLOPs a multiply-add, of scores and sums over the window, and of projections."""
        c, area = workload.model_dim, (workload.footprint or FOOTPRINT) ** 2
        each = workload.of_pass(2 * workload.batch * workload.q_len)
        return Cost(
            flops=each * (2 * area * c + 4 * c * c),
            projection_flops=each * 4 * c * c,
            parameters=4 * c * (c + 1),
            time_growth=1.0,
            memory_growth=1.0,
        )

"""A convolution of as many parameters as pairwise attention: what attention is weighed against."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from harness import AttentionLayer, Cost, Mask, Workload, register
from variants.san.layers import FOOTPRINT, LEAST_CHANNELS, SanPairwise, SanPatchwise, not_of_images
from variants.san.tiles import windows


class Bottleneck(nn.Module):
    """x (B, H W, C) -> 1 x 1 to m channels, ReLU, K x K, ReLU, 1 x 1 back to C; edges reflected."""

    def __init__(self, sizes: tuple[int, int], channels: int, inner: int, footprint: int) -> None:
        super().__init__()
        self.sizes, self.footprint = sizes, footprint
        self.enter = nn.Conv2d(channels, inner, 1)
        self.middle = nn.Conv2d(inner, inner, footprint)
        self.leave = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """By PyTorch's convolutions."""
        inside = self.enter(torch.unflatten(x.mT, 2, self.sizes)).relu()
        inside = self.middle(pad(inside, [self.footprint // 2] * 4, mode="reflect")).relu()
        y: Tensor = self.leave(inside).flatten(2).mT
        return y

    def defined(self, x: Tensor) -> Tensor:
        """By products of matrices, with every window written out."""
        inside = torch.unflatten(_at_pixels(self.enter, x.mT).relu(), 2, self.sizes)
        around = windows(inside, self.footprint)
        weight, bias = self.middle.weight.flatten(2), self.middle.bias
        assert bias is not None
        inside = (torch.einsum("ock,bckn->bon", weight, around) + bias[:, None]).relu()
        return _at_pixels(self.leave, inside).mT


def _at_pixels(layer: nn.Conv2d, pixels: Tensor) -> Tensor:
    assert layer.bias is not None
    return layer.weight[:, :, 0, 0] @ pixels + layer.bias[:, None]


@register("conv")
@dataclass(frozen=True)
class Conv(AttentionLayer):
    """The bottleneck of a ResNet (He et al. 2016), as wide as it has the parameters of `like`."""

    like: Literal["san_pairwise", "san_patchwise"] = "san_pairwise"

    def build(self, workload: Workload, mask: Mask) -> Bottleneck:
        """Three convolutions; without norms, which would mix the images of a batch."""
        assert workload.height is not None
        assert workload.width is not None
        sizes, inner = (workload.height, workload.width), self.inner(workload)
        return Bottleneck(sizes, workload.model_dim, inner, workload.footprint or FOOTPRINT)

    def definition(self, module: nn.Module, x: Tensor, context: Tensor, *, mask: Mask) -> Tensor:
        """Every window written out."""
        assert isinstance(module, Bottleneck)
        return module.defined(x)

    def inner(self, workload: Workload) -> int:
        """Inner channels m of as many parameters, K^2 m^2 + 2 (C + 1) m + C, as the other has."""
        other = SanPairwise() if self.like == "san_pairwise" else SanPatchwise()
        wanted = other.cost(workload).parameters
        assert wanted is not None
        c, area = workload.model_dim, (workload.footprint or FOOTPRINT) ** 2
        root = math.sqrt((c + 1) ** 2 + area * (wanted - c)) - (c + 1)
        return max(1, round(root / area))

    def unsupported(self, workload: Workload) -> str | None:
        """As the attention that it is to equal."""
        return not_of_images(self.name, workload, multiple=LEAST_CHANNELS)

    def cost(self, workload: Workload) -> Cost:
        """Two FLOPs a multiply-add; the 1 x 1 convolutions are its projections."""
        c, m = workload.model_dim, self.inner(workload)
        area = (workload.footprint or FOOTPRINT) ** 2
        each = workload.of_pass(2 * workload.batch * workload.q_len)
        return Cost(
            flops=each * (area * m * m + 2 * c * m),
            projection_flops=each * 2 * c * m,
            parameters=area * m * m + 2 * c * m + 2 * m + c,
            time_growth=1.0,
            memory_growth=1.0,
        )

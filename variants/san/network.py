"""SAN10, SAN15 and SAN19: whole networks, as the released code has them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from torch import Tensor, nn

from variants.san.attention import Kernel, Pairwise, Patchwise, Sizes

SAN_DEPTHS: Mapping[int, tuple[int, ...]] = MappingProxyType(
    {10: (2, 1, 2, 4, 1), 15: (3, 2, 3, 5, 2), 19: (3, 3, 4, 6, 3)}
)
"""Blocks of the five stages."""
WIDTHS = (64, 256, 512, 1024, 2048)
FOOTPRINTS = (3, 7, 7, 7, 7)


class Block(nn.Module):
    """x + conv(ReLU(BN(attention(ReLU(BN(x))))))."""

    def __init__(self, channels: int, footprint: int, kind: str, kernel: str) -> None:
        super().__init__()
        value = Sizes(channels).value
        self.norm = nn.BatchNorm2d(channels)
        self.attention: Pairwise | Patchwise
        if kind == "pairwise":
            self.attention = Pairwise(channels, footprint, "subtraction", kernel)
        else:
            self.attention = Patchwise(channels, footprint, "concatenation", kernel)
        self.norm_out = nn.BatchNorm2d(value)
        self.out = nn.Conv2d(value, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Of a batch of images."""
        found = self.attention(self.norm(x).relu())
        y: Tensor = x + self.out(self.norm_out(found).relu())
        return y


class San(nn.Module):
    """Images (B, 3, H, W) -> logits (B, classes), of depth 10, 15 or 19.

    A 1 x 1 convolution to 64 channels; five stages, each halving the image, widening by a 1 x 1
    convolution and running its blocks; mean over pixels and a linear layer. No convolution sees
    more than one pixel. Zhao, Jia and Koltun 2020, arXiv:2004.13621, section 4.
    """

    def __init__(
        self,
        depth: Literal[10, 15, 19] = 10,
        kind: Literal["pairwise", "patchwise"] = "pairwise",
        *,
        classes: int = 1000,
        kernel: Kernel = "unfold",
    ) -> None:
        super().__init__()
        self.enter = _widening(3, WIDTHS[0])
        stages, before = [], WIDTHS[0]
        for width, footprint, blocks in zip(WIDTHS, FOOTPRINTS, SAN_DEPTHS[depth], strict=True):
            stages.append(
                nn.Sequential(
                    nn.MaxPool2d(2, 2),
                    nn.Conv2d(before, width, 1, bias=False),
                    *(Block(width, footprint, kind, kernel) for _ in range(blocks)),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                )
            )
            before = width
        self.stages = nn.Sequential(*stages)
        self.classify = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        features = self.stages(self.enter(x))
        logits: Tensor = self.classify(features.mean((-2, -1)))
        return logits


def _widening(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())

"""Attention between all patches of an image, as in a vision transformer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness import AttentionLayer, Cost, Mask, Workload, register


class PatchHeads(nn.Module):
    """Patches of p x p pixels -> tokens (B, N, C), multi-head softmax attention, and back."""

    def __init__(self, workload: Workload, patch: int) -> None:
        super().__init__()
        assert workload.height is not None
        assert workload.width is not None
        self.sizes, self.patch = (workload.height, workload.width), patch
        self.heads, width = workload.heads, workload.model_dim
        self.embed = nn.Linear(patch * patch * width, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, patch * patch * width)

    def forward(self, x: Tensor) -> Tensor:
        """By PyTorch's attention kernel."""
        q, k, v = self._split(self.qkv(self.embed(self._cut(x))))
        found = nn.functional.scaled_dot_product_attention(q, k, v)
        return self._paste(self.out(found.transpose(1, 2).flatten(2)))

    def defined(self, x: Tensor) -> Tensor:
        """The softmax written out."""
        q, k, v = self._split(self.qkv(self.embed(self._cut(x))))
        found = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
        return self._paste(self.out(found.transpose(1, 2).flatten(2)))

    def _split(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = torch.unflatten(qkv, 2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]

    def _cut(self, x: Tensor) -> Tensor:
        """(B, H W, C) -> (B, N, p p C)."""
        (height, width), p = self.sizes, self.patch
        grid = x.view(len(x), height // p, p, width // p, p, x.shape[-1])
        return grid.transpose(2, 3).flatten(3).flatten(1, 2)

    def _paste(self, tokens: Tensor) -> Tensor:
        """The way back."""
        (height, width), p = self.sizes, self.patch
        grid = tokens.view(len(tokens), height // p, width // p, p, p, -1)
        return (
            grid.transpose(2, 3).flatten(3, 4).flatten(1, 3).view(len(tokens), height * width, -1)
        )


@register("patch_attention")
@dataclass(frozen=True)
class PatchAttention(AttentionLayer):
    """Global attention over patches (Dosovitskiy et al. 2021, arXiv:2010.11929, equations 1, 2)."""

    patch: int = 4

    def build(self, workload: Workload, mask: Mask) -> PatchHeads:
        """An embedding of patches, four projections, the last to the patch's pixels."""
        return PatchHeads(workload, self.patch)

    def definition(self, module: nn.Module, x: Tensor, context: Tensor, *, mask: Mask) -> Tensor:
        """The softmax written out."""
        assert isinstance(module, PatchHeads)
        return module.defined(x)

    def unsupported(self, workload: Workload) -> str | None:
        """No image, or one that is no whole number of patches."""
        w = workload
        if w.height is None or w.width is None:
            return f"{self.name} is of images; write height, width and channels"
        if w.mask != "none":
            return f"{self.name} attends to all patches of an image; write mask: none"
        if self.patch < 1 or w.height % self.patch or w.width % self.patch:
            return (
                f"height and width must be multiples of the patch: height={w.height}, "
                f"width={w.width}, patch={self.patch}"
            )
        return None

    def cost(self, workload: Workload) -> Cost:
        """Two FLOPs a multiply-add."""
        c, area = workload.model_dim, self.patch**2
        tokens = workload.q_len // area
        each = workload.of_pass(2 * workload.batch * tokens)
        projected = 2 * area * c * c + 3 * c * c
        return Cost(
            flops=each * (projected + 2 * tokens * c),
            projection_flops=each * projected,
            parameters=projected + c + 3 * c + area * c,
            time_growth=2.0,
            memory_growth=1.0,
        )

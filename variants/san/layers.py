"""Image self-attention as layers, C channels in and out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness import AttentionLayer, Cost, Mask, Workload, register
from variants.san import triton
from variants.san.attention import SHARED, ImageAttention, Kernel, Pairwise, Patchwise, Sizes
from variants.san.relations import Pairwise as PairwiseRelation
from variants.san.relations import Patchwise as PatchwiseRelation
from variants.triton_runs import triton_hindrance

FOOTPRINT = 7
"""Where the workload names none, that of all stages of SAN but the first."""
LEAST_CHANNELS = 4 * SHARED


class OnImages(nn.Module):
    """x (B, H W, C) -> y (B, H W, C): the attention on the image, and a projection back to C."""

    def __init__(self, attention: ImageAttention, workload: Workload) -> None:
        super().__init__()
        assert workload.height is not None
        assert workload.width is not None
        self.sizes = (workload.height, workload.width)
        self.attention = attention
        self.out = nn.Linear(Sizes(workload.model_dim).value, workload.model_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels in row-major order are an image whose channels come last in memory."""
        image = torch.unflatten(x.mT, 2, self.sizes)
        y: Tensor = self.out(self.attention(image).flatten(2).mT)
        return y


class ImageLayer(AttentionLayer):
    """What pairwise and patchwise share; abstract.

    kernel: `unfold`, all windows written out; `fused`, some rows of pixels at a time, backward
    computed again; `triton`, for NVIDIA GPUs, no window of the values is made.
    """

    kernel: Kernel

    def attention(self, channels: int, footprint: int, kernel: str) -> ImageAttention:
        """The module."""
        raise NotImplementedError

    def build(self, workload: Workload, mask: Mask) -> nn.Module:
        """In evaluation mode: batch normalisation would mix the images of a batch."""
        footprint = workload.footprint or FOOTPRINT
        attention = self.attention(workload.model_dim, footprint, self.kernel)
        return OnImages(attention, workload).eval()

    def unsupported(self, workload: Workload) -> str | None:
        """No image, too few channels, a window that reaches past the image, or no GPU."""
        reason = not_of_images(self.name, workload, multiple=LEAST_CHANNELS)
        return reason or (triton_hindrance(workload) if self.kernel == "triton" else None)

    def expected_kernels(self, workload: Workload) -> tuple[str, ...]:
        """The Triton kernels by their name; what the other kernels call is torch's."""
        return triton.expected_kernels(workload) if self.kernel == "triton" else ()

    def cost(self, workload: Workload) -> Cost:
        """Multiply-adds of convolutions, of products within windows and of the weighted sum.

        Two FLOPs each. `fused` computes its weights once more for their gradients.
        """
        footprint = workload.footprint or FOOTPRINT
        with torch.device("meta"):
            module = self.attention(workload.model_dim, footprint, self.kernel)
        sizes, pixels = Sizes(workload.model_dim), workload.batch * workload.q_len
        projected = workload.model_dim * (2 * sizes.relation + 2 * sizes.value)
        applied = 1 if module.positions_weighted(footprint) > 1 else footprint**2
        weighted = module.first.weight.numel() + module.second.weight.numel()
        related = footprint**4 * sizes.relation if module.relates_windows else 0
        weights, summed = applied * weighted + related, footprint**2 * sizes.value
        again = weights if self.kernel == "fused" and workload.has_gradients else 0
        each = workload.of_pass(2 * pixels)
        learnt = sum(parameter.numel() for parameter in module.parameters())
        return Cost(
            flops=each * (projected + weights + summed) + 2 * pixels * again,
            projection_flops=each * projected,
            parameters=learnt + workload.model_dim * (sizes.value + 1),
            time_growth=1.0,
            memory_growth=1.0,
        )


@register("san_pairwise")
@dataclass(frozen=True)
class SanPairwise(ImageLayer):
    """y_i = sum_j softmax_j(gamma(delta(x_i, x_j))) (.) beta(x_j), over a window of pixels.

    Zhao, Jia and Koltun 2020, arXiv:2004.13621, equation 2; as in the released code: C/16 relation
    channels, C/4 values, 8 of which share a weight, positions encoded, reflected edges.
    """

    family = "san_pairwise"
    relation: PairwiseRelation = "subtraction"
    kernel: Kernel = "unfold"

    def attention(self, channels: int, footprint: int, kernel: str) -> Pairwise:
        """The module."""
        return Pairwise(channels, footprint, self.relation, kernel)

    def definition(self, module: nn.Module, x: Tensor, context: Tensor, *, mask: Mask) -> Tensor:
        """All windows written out."""
        return plainly(module, x)


@register("san_patchwise")
@dataclass(frozen=True)
class SanPatchwise(ImageLayer):
    """y_i = sum_j gamma(delta(x_R(i)))_j (.) beta(x_j): the weights of a window from all of it.

    Zhao, Jia and Koltun 2020, arXiv:2004.13621, equation 4; neither positions nor softmax.
    """

    family = "san_patchwise"
    relation: PatchwiseRelation = "concatenation"
    kernel: Kernel = "unfold"

    def attention(self, channels: int, footprint: int, kernel: str) -> Patchwise:
        """The module."""
        return Patchwise(channels, footprint, self.relation, kernel)

    def definition(self, module: nn.Module, x: Tensor, context: Tensor, *, mask: Mask) -> Tensor:
        """All windows written out."""
        return plainly(module, x)


def plainly(module: nn.Module, x: Tensor) -> Tensor:
    """What a module gives with the plain kernel, whatever its own."""
    assert isinstance(module, OnImages)
    own, module.attention.kernel = module.attention.kernel, "unfold"
    try:
        y: Tensor = module(x)
    finally:
        module.attention.kernel = own
    return y


def not_of_images(name: str, workload: Workload, *, multiple: int = 1) -> str | None:
    """Why a layer with a window cannot read a workload: no image, or one that is too small."""
    w = workload
    if w.height is None or w.width is None:
        return f"{name} is of images; write height, width and channels"
    if w.model_dim % multiple:
        return f"channels must be a multiple of {multiple}: channels={w.model_dim}"
    if w.mask != "none":
        return f"{name} has its own window, the footprint; write mask: none"
    reach = (w.footprint or FOOTPRINT) // 2
    if reach >= min(w.height, w.width):
        return f"its footprint reaches {reach} pixels past the edge, the image has not so many"
    return None

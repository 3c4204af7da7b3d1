"""Transformer blocks around any layer: what tasks stack, and what differs is the layer alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from harness.variant.carrier import hindrance, layer_of
from harness.variant.interface import Variant
from harness.workload import Workload

Norm = Literal["pre", "post"]


@dataclass(frozen=True)
class Shape:
    """How blocks are stacked.

    norm: `pre` normalises what enters a layer (GPT-2), `post` what left it (BERT). causal: GPT's,
    each position sees those before it; else BERT's, each sees all. mlp: width of the hidden layer
    over the model's.
    """

    norm: Norm = "pre"
    causal: bool = False
    mlp: int = 4
    blocks: int = 1


BERT, GPT = Shape("post"), Shape("pre", causal=True)


class Block(nn.Module):
    """pre: x + f(LN(x)) for f the layer, then the MLP; post: LN(x + f(x)), likewise.

    MLP: W_2 GELU(W_1 x). Vaswani et al. 2017, arXiv:1706.03762, section 3.1 (post); Xiong et al.
    2020, arXiv:2002.04745 (pre). x (B, L, W) -> (B, L, W). With a context layer, a decoder's block:
    it attends to the context (B, Lc, W) between the two.
    """

    def __init__(
        self, layer: nn.Module, width: int, shape: Shape, across: nn.Module | None = None
    ) -> None:
        super().__init__()
        hidden = shape.mlp * width
        self.pre = shape.norm == "pre"
        self.layer, self.across = layer, across
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        count = 2 if across is None else 3
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(count))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Through the layer, the context if there is one, and the MLP."""
        x = self._around(0, self.layer, x)
        if self.across is not None:
            if context is None:
                raise ValueError("a decoder's block attends to a context: pass context")
            x = self._around(1, self.across, x, context)
        return self._around(len(self.norms) - 1, self.mlp, x)

    def _around(self, at: int, part: nn.Module, x: Tensor, *context: Tensor) -> Tensor:
        norm = self.norms[at]
        found: Tensor
        found = x + part(norm(x), *context) if self.pre else norm(x + part(x, *context))
        return found


class Stack(nn.Module):
    """Blocks one after another; under `pre` a last norm, as GPT-2 has."""

    def __init__(self, blocks: list[Block], width: int, shape: Shape) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width) if shape.norm == "pre" else nn.Identity()

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (B, L, W) -> (B, L, W)."""
        for block in self.blocks:
            x = block(x, context)
        found: Tensor = self.norm(x)
        return found


def stacked(variant: Variant, workload: Workload, shape: Shape) -> Stack:
    """An encoder (BERT) or a decoder without a context (GPT) of a variant, op or layer.

    Parameters follow from the workload's seed. Raises ValueError where the workload's mask is not
    the shape's, causal where `shape.causal`, and where the variant does not run the workload.
    """
    return _stack(variant, workload, shape, None)


def translating(variant: Variant, workload: Workload, shape: Shape, context_len: int) -> Stack:
    """A decoder whose blocks attend to a context of so many positions as well (section 3.1).

    Raises ValueError as `stacked` does.
    """
    return _stack(variant, workload, shape, context_len)


def _stack(variant: Variant, workload: Workload, shape: Shape, context_len: int | None) -> Stack:
    if workload.mask_spec.causal != shape.causal:
        wanted = "causal" if shape.causal else "none"
        raise ValueError(f"the shape is causal={shape.causal}: mask={workload.mask}; use {wanted}")
    asked = workload.model_copy(update={"level": "layer"})
    width, layer = asked.model_dim, layer_of(variant)

    def built(own: Workload) -> nn.Module:
        reason = hindrance(variant, own)
        if reason is not None:
            raise ValueError(f"{variant.spec}: {reason}")
        return layer.build(own, own.carried.build_mask())

    def block() -> Block:
        first = built(asked)
        if context_len is None:
            return Block(first, width, shape)
        across = asked.model_copy(update={"mask": "none", "kv_len": context_len})
        return Block(first, width, shape, built(across))

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(asked.seed)
        return Stack([block() for _ in range(shape.blocks)], width, shape)

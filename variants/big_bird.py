"""BigBird: softmax attention to a window, some global and some random blocks (arXiv:2007.14062)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness import Attention, AttentionOp, Cost, Mask, Workload, register
from variants.folding import fold, unfold
from variants.gathered import Gathered, attend


@register("big_bird")
@dataclass(frozen=True)
class BigBird(AttentionOp):
    """softmax over the keys that pattern and mask both show (Zaheer et al. 2020, arXiv:2007.14062).

    The paper's ITC pattern (section 2) in blocks of `block` positions: a query sees
    the `window` blocks about its own, the first `global_blocks`, and `random_blocks` others drawn
    from `seed` (under a causal mask, of those before it). The queries of the first
    `global_blocks`, if any, and those ahead of the first key see everything. A query stands where
    masks place it, at i + Lkv - Lq.
    """

    family: ClassVar[str] = "big_bird"
    approximates: ClassVar[str] = "softmax"
    grouped: ClassVar[bool] = True
    permutation_equivariant: ClassVar[bool] = False

    block: int = 64
    window: int = 3
    global_blocks: int = 2
    random_blocks: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"block": 1, "window": 1, "global_blocks": 0, "random_blocks": 0}
        for name, smallest in least.items():
            found = getattr(self, name)
            if found < smallest:
                raise ValueError(
                    f"{name} must be at least {smallest}: {name}={found}; write {smallest} or more"
                )
        if self.window % 2 == 0:
            raise ValueError(
                "window counts a block and as many before it as after: "
                f"window={self.window}; write {self.window - 1} or {self.window + 1}"
            )

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """softmax(scale q k^T) v over the keys that pattern and mask both show."""
        shift = mask.kv_len - mask.q_len
        own = (mask.rows + shift).div(self.block, rounding_mode="floor") - shift // self.block
        keys = torch.arange(mask.kv_len, device=q.device) // self.block
        hidden = ~(pattern(self, mask)[own][:, keys] & mask.dense())
        weights = (q @ k.mT * scale).masked_fill(hidden, -torch.inf).softmax(-1)
        # A row that sees no key is 0 / 0 until here.
        return weights.masked_fill(hidden, 0.0) @ v

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """List the blocks of keys that each block of queries sees."""
        first, span = self._global_rows(mask)
        hidden = ~mask.dense_block(slice(0, first), span)[:, :, None]
        others = self._others(mask, first)

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, parts = q * workload.scale, []
            if first:
                rows = fold(q[:, :, :first], k.shape[1], first)
                out = attend(rows, k[:, :, None, span], v[:, :, None, span], hidden)
                parts.append(unfold(out, first, first))
            if others is not None:
                parts.append(others.attend(q[:, :, first:], k, v))
            return torch.cat(parts, 2)

        return call

    def cost(self, workload: Workload) -> Cost:
        """The pairs of the blocks that are gathered, and of the queries that see everything."""
        w, mask = workload, workload.build_mask("cpu")
        first, span = self._global_rows(mask)
        others = self._others(mask, first)
        pairs, unread = first * (span.stop - span.start), 0
        if others is not None:
            pairs += others.pairs
            unread = 0 if first else w.kv_len - others.keys_read(w.kv_len)
        size = w.batch * w.kv_heads * (w.head_dim + w.v_head_dim) * w.torch_dtype.itemsize
        times = 2 if w.pass_ == "forward+backward" else 1
        return Cost(
            flops=w.flops_of(w.batch * w.heads * pairs, backward=2.0),
            bytes=max(0, w.compulsory_bytes() - times * unread * size) if unread else None,
            time_growth=1.0,
            memory_growth=1.0,
        )

    def _global_rows(self, mask: Mask) -> tuple[int, slice]:
        """How many queries see everything, and the keys that the mask shows them."""
        shift = mask.kv_len - mask.q_len
        rows = min(max(0, self.global_blocks * self.block - shift), mask.q_len)
        if not rows or not self.global_blocks:
            return 0, slice(0, 0)
        start, stop = int(mask.start[:, :rows].min()), int(mask.stop[:, :rows].max())
        return rows, slice(start, max(start, stop))

    def _others(self, mask: Mask, first: int) -> Gathered | None:
        if first == mask.q_len:
            return None
        return Gathered.of(pattern(self, mask), mask, self.block, first)


def pattern(op: BigBird, mask: Mask) -> Tensor:
    """(blocks of queries, blocks of keys) True = attend, whatever the mask hides there.

    The first block of queries is the one in which position Lkv - Lq lies.
    """
    first, last = (mask.kv_len - mask.q_len) // op.block, (mask.kv_len - 1) // op.block
    keys = torch.arange(last + 1)
    own = torch.arange(first, last + 1)[:, None]
    shown = (keys - own).abs() <= op.window // 2
    if op.global_blocks:
        shown |= (keys < op.global_blocks) | (own < op.global_blocks)
    rest = ~shown & (keys < own) if mask.spec.causal else ~shown
    generator = torch.Generator().manual_seed(op.seed)
    order = torch.rand(shown.shape, generator=generator).masked_fill(~rest, -1.0)
    drawn, at = order.topk(min(op.random_blocks, last + 1), -1)
    found: Tensor = shown.scatter(1, at, shown.gather(1, at) | (drawn >= 0))
    return found.to(mask.device)

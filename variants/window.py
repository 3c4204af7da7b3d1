"""Sliding-window softmax attention: each query sees the keys near it (arXiv:2004.05150)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from harness import Attention, AttentionOp, Cost, Mask, Workload, register, softmax_attention


@dataclass(frozen=True)
class WindowFamily(AttentionOp):
    """Every kernel of softmax(scale q k^T + bias) v over keys with |i + Lkv - Lq - j| < width.

    Beltagy et al. 2020 (arXiv:2004.05150, section 3.1): width - 1 keys on either side, so that
    their w is 2 (width - 1); under a causal mask the own key and the width - 1 before it. What
    the mask of the workload hides stays hidden.
    """

    family: ClassVar[str] = "window"
    biased: ClassVar[bool] = True
    permutation_equivariant: ClassVar[bool] = False
    width: int = 128

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """softmax(scale q k^T + bias) v over the attended keys inside the window."""
        return softmax_attention(q, k, v, mask=_narrowed(mask, self.width), scale=scale)


@register("window")
@dataclass(frozen=True)
class Window(WindowFamily):
    """A sliding window (Beltagy et al. 2020, arXiv:2004.05150), in chunks of queries.

    Each chunk goes with the keys that its window reaches through torch's fused kernel, so that
    time and memory are those of L (2 width + q_chunk) pairs. Every mask composes with it.
    """

    grouped: ClassVar[bool] = True
    q_chunk: int = 128

    def __post_init__(self) -> None:
        for name, found in (("width", self.width), ("q_chunk", self.q_chunk)):
            if found < 1:
                raise ValueError(f"{name} must be at least 1: {name}={found}; write 128 or so")

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Find the keys of each chunk of queries, and the mask between them where it is not full.

        A bias is added in the call; zeroing rows without keys is timed as well.
        """
        narrowed = _narrowed(mask, self.width)
        tiles = [_tile(rows, narrowed) for rows in self._chunks(workload)]
        grouped = workload.heads != workload.kv_heads

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            sources = _Source(k, self.q_chunk), _Source(v, self.q_chunk)
            outputs = []
            for tile, part in zip(tiles, torch.split(q, self.q_chunk, dim=2), strict=True):
                keys, values = (source.take(tile.keys) for source in sources)
                out = scaled_dot_product_attention(
                    part,
                    keys,
                    values,
                    attn_mask=tile.mask(mask, q.dtype),
                    scale=workload.scale,
                    enable_gqa=grouped,
                )
                outputs.append(out if tile.empty is None else out.masked_fill(tile.empty, 0.0))
            return torch.cat(outputs, dim=2)

        return call

    def _chunks(self, workload: Workload) -> list[slice]:
        length, step = workload.q_len, self.q_chunk
        return [slice(at, min(at + step, length)) for at in range(0, length, step)]

    def cost(self, workload: Workload) -> Cost:
        """The pairs of each chunk with its keys, and the bytes of keys that some query sees.

        Time and memory grow with the length. Backward may compute the scores again or have kept
        the weights: 2 forwards is the least.
        """
        narrowed = _narrowed(workload.build_mask("cpu"), self.width)
        spans = [(rows, _reach(narrowed, rows)) for rows in self._chunks(workload)]
        pairs = sum((r.stop - r.start) * (keys.stop - keys.start) for r, keys in spans)
        spec = workload.mask_spec
        seen = replace(spec, window=min(self.width, spec.window or self.width))
        return Cost(
            flops=workload.flops_of(workload.batch * workload.heads * pairs, backward=2.0),
            bytes=workload.model_copy(update={"mask": str(seen)}).compulsory_bytes(),
            time_growth=1.0,
            memory_growth=1.0,
        )


@dataclass(frozen=True)
class _Tile:
    """A chunk of queries: its keys, which of them are seen, and rows (B', 1, R, 1) that see none.

    seen (B', 1, R, keys) is True everywhere in a row that sees none, and None where all is seen.
    """

    rows: slice
    keys: slice
    seen: Tensor | None
    empty: Tensor | None

    def mask(self, mask: Mask, dtype: torch.dtype) -> Tensor | None:
        """What is added to the scores or selects them; None where nothing does."""
        bias = mask.bias_block(self.rows, self.keys)
        if bias is None:
            return self.seen
        bias = bias.to(dtype)
        return bias if self.seen is None else torch.where(self.seen, bias, -torch.inf)


def _tile(rows: slice, narrowed: Mask) -> _Tile:
    keys = _reach(narrowed, rows)
    seen = narrowed.dense_block(rows, keys)
    if bool(seen.all()):
        return _Tile(rows, keys, None, None)
    empty = ~seen.any(-1, keepdim=True)
    if not bool(empty.any()):
        return _Tile(rows, keys, seen, None)
    # What a row of -inf alone gives is each kernel's own choice: it sees everything instead, and
    # its output is set to 0, which makes its gradient 0.
    return _Tile(rows, keys, seen | empty, empty)


@dataclass
class _Source:
    """Keys or values (B, H, Lkv, .), of which every chunk of queries takes a stretch.

    The gradient of a slice is as long as what it was taken from: one a chunk would make backward
    grow with the square of the length. So with gradients, parts are put together, each of which
    has a gradient of its own.
    """

    whole: Tensor
    step: int

    def __post_init__(self) -> None:
        split = torch.is_grad_enabled() and self.whole.requires_grad
        self.parts = torch.split(self.whole, self.step, dim=2) if split else None

    def take(self, keys: slice) -> Tensor:
        """(B, H, keys, .)"""
        if self.parts is None:
            return self.whole[:, :, keys]
        first, last = keys.start // self.step, -(-keys.stop // self.step)
        near = torch.cat(self.parts[first:last], dim=2)
        return near[:, :, keys.start - first * self.step : keys.stop - first * self.step]


def _narrowed(mask: Mask, width: int) -> Mask:
    """The mask with the window on top."""
    centre = mask.rows + mask.kv_len - mask.q_len
    start = torch.maximum(mask.start, centre - width + 1)
    stop = torch.minimum(mask.stop, centre + width)
    return mask.altered(start=start, stop=torch.maximum(start, stop))


def _reach(narrowed: Mask, rows: slice) -> slice:
    """The keys that some of these rows see; one key where they see none."""
    start, stop = narrowed.start[:, rows], narrowed.stop[:, rows]
    some = stop > start
    if not bool(some.any()):
        return slice(0, 1)
    return slice(int(start[some].min()), int(stop[some].max()))

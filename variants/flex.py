"""torch FlexAttention, compiled, with the blocks that are wholly masked skipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import pad

from harness import Attention, Cost, Mask, Workload, register
from variants.softmax import SoftmaxFamily

_BLOCK = 128  # create_block_mask's default, of queries and of keys


@register("flex")
@dataclass(frozen=True)
class Flex(SoftmaxFamily):
    """torch.nn.attention.flex_attention under torch.compile (Dong et al. 2024, arXiv:2412.05496).

    The mask is a block mask, the bias a score modification. Compilation happens in the first
    call; past torch's limit of recompilations it raises, and never runs eagerly instead.
    """

    grouped: ClassVar[bool] = True

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Build the block mask; the compiled function is made here, compiled at the first call."""
        compiled: Any = torch.compile(flex_attention, dynamic=False, fullgraph=True)
        options = {
            "block_mask": None if mask.is_full else _block_mask(mask),
            "score_mod": None if mask.bias is None else _score_mod(mask.bias),
            "scale": workload.scale,
            "enable_gqa": workload.heads != workload.kv_heads,
        }

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out: Tensor = compiled(q, k, v, **options)
            return out

        return call

    def unsupported(self, workload: Workload) -> str | None:
        """What FlexAttention lacks: on the CPU a backward and float64, on CUDA narrow heads."""
        if workload.device == "cpu" and workload.has_gradients:
            return "FlexAttention has no backward on the CPU; use pass forward or decode"
        if workload.device == "cpu" and workload.dtype == "float64":
            return "FlexAttention takes no float64 on the CPU; use float32, float16 or bfloat16"
        narrowest = min(workload.head_dim, workload.v_head_dim)
        if workload.device == "cuda" and narrowest < 16:
            return f"FlexAttention takes heads of 16 and more on CUDA, found {narrowest}"
        return None

    def expected_kernels(self, workload: Workload) -> tuple[str, ...]:
        """The compiled kernel's name on a GPU; on the CPU it is in no profile."""
        return ("flex_attention",) if workload.device == "cuda" else ()

    def cost(self, workload: Workload) -> Cost:
        """The pairs of the blocks that are not skipped.

        Time grows with the square of the length, memory with the length.
        """
        pairs = workload.heads * _visited_pairs(workload.build_mask("cpu"))
        return Cost(flops=workload.flops_of(pairs), time_growth=2.0, memory_growth=1.0)


def _visited_pairs(mask: Mask) -> int:
    """Pairs in the blocks of all sequences that some row of theirs attends to.

    Keys between the first and the last of a block of rows count as attended, as they are under
    every mask here.
    """
    some = mask.stop > mask.start
    short = -mask.q_len % _BLOCK
    first = pad(mask.start.masked_fill(~some, mask.kv_len), (0, short), value=mask.kv_len)
    last = pad(mask.stop.masked_fill(~some, 0), (0, short))
    low = first.view(len(first), -1, _BLOCK).amin(-1) // _BLOCK * _BLOCK
    high = last.view(len(last), -1, _BLOCK).amax(-1).add(_BLOCK - 1) // _BLOCK * _BLOCK
    keys = (high.clamp(max=mask.kv_len) - low).clamp(min=0)
    rows = torch.full((keys.shape[1],), _BLOCK)
    rows[-1] -= short
    return int((keys * rows).sum()) * (mask.batch // len(first))


def _block_mask(mask: Mask) -> BlockMask:
    offset, start, stop = mask.kv_len - mask.q_len, mask.start, mask.stop

    def causal(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return i + offset >= j

    def interval(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (j >= start[0, i]) & (j < stop[0, i])

    def interval_of_sequence(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (j >= start[b, i]) & (j < stop[b, i])

    batch = mask.batch if len(start) > 1 else None
    several = interval if batch is None else interval_of_sequence
    rule = causal if mask.is_causal else several
    return create_block_mask(rule, batch, None, mask.q_len, mask.kv_len, device=str(mask.device))


def _score_mod(bias: Tensor) -> Any:
    def add_bias(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return score + bias[0, h, i, j]

    return add_bias

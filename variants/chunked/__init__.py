"""Exact attention in chunks: self-attention does not need O(n^2) memory (arXiv:2112.05682)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from harness import Attention, Cost, Mask, Workload, register
from variants.chunked import blocked, naive
from variants.chunked.plan import by_mask, chunks, pairs
from variants.softmax import SoftmaxFamily

_KERNELS = {"naive": naive.bound, "blocked": blocked.bound}


@register("chunked")
@dataclass(frozen=True)
class Chunked(SoftmaxFamily):
    """Rabe and Staats 2021 (arXiv:2112.05682): chunks of queries, online softmax over key chunks.

    Each key chunk gives a maximum, a sum of weights and weighted values, which are merged over
    the chunks; backward computes the weights again. Chunks that are wholly masked are skipped.
    `naive` is the paper's algorithm, written out and checkpointed, but merges the chunks' summaries
    as they come, where the paper keeps them all; `blocked` computes the same
    in reused memory, with the backward of FlashAttention (arXiv:2205.14135, algorithm 4). The
    paper's chunks are 1024 and 4096, for an accelerator; smaller ones fit a CPU's caches.
    """

    grouped: ClassVar[bool] = True

    q_chunk: int = 512
    kv_chunk: int = 256
    kernel: Literal["naive", "blocked"] = "naive"

    def __post_init__(self) -> None:
        for name, found in (("q_chunk", self.q_chunk), ("kv_chunk", self.kv_chunk)):
            if found < 1:
                raise ValueError(f"{name} must be at least 1: {name}={found}; write 256 or more")

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """List the key chunks that each query chunk attends to."""
        return _KERNELS[self.kernel](workload, mask, self.q_chunk, self.kv_chunk)

    def unsupported(self, workload: Workload) -> str | None:
        """What `blocked` cannot do: be compiled."""
        if self.kernel == "blocked" and workload.compile:
            return (
                "kernel=blocked writes into memory that it reuses, which torch.compile cannot "
                "follow; use kernel=naive or compile: false"
            )
        return None

    def cost(self, workload: Workload) -> Cost:
        """The pairs of the chunks that are not skipped; backward's five products of them.

        Time grows with the square of the length, under a window with the length; the chunks
        bound the scores in memory.
        """
        mask, sizes = workload.build_mask("cpu"), (self.q_chunk, self.kv_chunk)
        if self.kernel == "blocked":
            visited = sum(pairs(chunks(one, *sizes)) * one.batch for _, one in by_mask(mask))
        else:
            visited = pairs(chunks(mask, *sizes)) * workload.batch
        d, dv = workload.head_dim, workload.v_head_dim
        backward = (3 * d + 2 * dv) / (d + dv)
        flops = workload.flops_of(workload.heads * visited, backward=backward)
        growth = 2.0 if workload.mask_spec.window is None else 1.0
        return Cost(flops=flops, time_growth=growth, memory_growth=1.0)

"""The plan of a chunked attention: which chunks of keys each chunk of queries attends to."""

from __future__ import annotations

from typing import NamedTuple

from harness import KvBlock, Mask


class Chunk(NamedTuple):
    """Rows of queries and the blocks of keys that some of them attend to."""

    rows: slice
    blocks: list[KvBlock]


def chunks(mask: Mask, q_chunk: int, kv_chunk: int) -> list[Chunk]:
    """Every chunk of queries, in order, without the key chunks that are wholly masked."""
    firsts = range(0, mask.q_len, q_chunk)
    return [
        Chunk(slice(at, min(at + q_chunk, mask.q_len)), blocks)
        for at, blocks in zip(firsts, mask.kv_blocks(q_chunk, kv_chunk), strict=True)
    ]


def pairs(plan: list[Chunk]) -> int:
    """(query, key) pairs that are computed, of one head of one sequence."""
    return sum(
        (rows.stop - rows.start) * (block.stop - block.start)
        for rows, blocks in plan
        for block in blocks
    )


def by_mask(mask: Mask) -> list[tuple[slice, Mask]]:
    """Sequences with the mask that they share: each its own under padding, else all of them."""
    if len(mask.start) == 1:
        return [(slice(0, mask.batch), mask)]
    each = [slice(at, at + 1) for at in range(mask.batch)]
    return [(at, mask.altered(batch=1, start=mask.start[at], stop=mask.stop[at])) for at in each]

"""Which tiles of queries meet which tiles of keys, and how large they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from harness import Mask, Workload


@dataclass(frozen=True)
class Tiles:
    """Queries and keys that one step of a kernel multiplies, and how that kernel is compiled."""

    block_q: int
    block_kv: int
    num_warps: int
    num_stages: int


def _of_kernels(forward: Tiles, backward_q: Tiles, backward_kv: Tiles) -> dict[str, Tiles]:
    return {"forward": forward, "backward_q": backward_q, "backward_kv": backward_kv}


# By bytes of a number and width of a head. Chosen by what compiles for compute capability 8.0 with
# at most a few bytes of spilled registers, in the 99 KiB of shared memory that every GPU since has.
# Not all were compiled for 9.0, and none was tuned on a GPU.
_TILES = {
    (2, 64): _of_kernels(Tiles(128, 64, 4, 3), Tiles(64, 64, 4, 2), Tiles(32, 64, 4, 2)),
    (2, 128): _of_kernels(Tiles(128, 64, 8, 2), Tiles(64, 64, 4, 2), Tiles(64, 64, 8, 2)),
    (2, 256): _of_kernels(Tiles(64, 32, 4, 2), Tiles(32, 32, 4, 2), Tiles(32, 32, 4, 1)),
    (4, 64): _of_kernels(Tiles(64, 32, 4, 2), Tiles(64, 32, 4, 2), Tiles(32, 32, 4, 1)),
    (4, 128): _of_kernels(Tiles(64, 32, 4, 2), Tiles(32, 32, 4, 1), Tiles(32, 32, 4, 1)),
    (4, 256): _of_kernels(Tiles(32, 16, 8, 1), Tiles(32, 16, 8, 1), Tiles(16, 16, 8, 1)),
}


def spans(mask: Mask, tiles: Tiles) -> tuple[Tensor, Tensor]:
    """Of each tile of queries the tiles of keys that it meets, and the other way round.

    (B', tiles, 4) int32: from the first tile that some row of it sees to the one after the last,
    and from the first tile that all of its rows see whole to the one after the last.
    """
    short = -len(mask.rows) % tiles.block_q
    start, stop = pad(mask.start, (0, short), value=mask.kv_len), pad(mask.stop, (0, short))
    some = stop > start
    shape = (len(start), -1, tiles.block_q)
    low = start.where(some, mask.kv_len).view(shape).amin(-1, keepdim=True)
    high = stop.where(some, 0).view(shape).amax(-1, keepdim=True)
    inner, outer = (b.view(shape) for b in (start, stop))
    at = torch.arange(0, mask.kv_len, tiles.block_kv, device=mask.device)
    end = at + tiles.block_kv
    met = (low < end) & (high > at)
    whole = (inner.amax(-1, keepdim=True) <= at) & (outer.amin(-1, keepdim=True) >= end)
    return _runs(met, whole), _runs(met.mT, whole.mT)


def _runs(met: Tensor, whole: Tensor) -> Tensor:
    begin, end = _first_and_last(met)
    inner, outer = _first_and_last(whole)
    # Whole tiles with a gap between them are all masked anew: no mask here has such rows.
    outer = outer.where(outer - inner == whole.sum(-1), inner)
    return torch.stack((begin, end, inner, outer), -1).int().contiguous()


def _first_and_last(flags: Tensor) -> tuple[Tensor, Tensor]:
    """The first that is set and the one after the last; 0 and 0 where none is."""
    found = flags.any(-1)
    first = flags.int().argmax(-1)
    last = flags.shape[-1] - flags.flip(-1).int().argmax(-1)
    return first, last.where(found, 0)


def visited_pairs(workload: Workload, tiles: Tiles) -> int:
    """(query, key) pairs in the tiles that are met, over all heads and sequences."""
    mask = workload.build_mask("cpu")
    begin, end = spans(mask, tiles)[0][..., :2].long().unbind(-1)
    keys = (end * tiles.block_kv).clamp(max=mask.kv_len) - begin * tiles.block_kv
    rows = torch.full((keys.shape[1],), tiles.block_q)
    rows[-1] -= -mask.q_len % tiles.block_q
    return int((keys * rows).sum()) * workload.heads * (workload.batch // len(keys))


def padded(width: int) -> int:
    """The power of two that holds a head; the least that tensor cores multiply is 16."""
    return max(16, 1 << (width - 1).bit_length())


def tiles_of(workload: Workload) -> dict[str, Tiles]:
    """Tiles by kernel, for the dtype and the wider head, no larger than the lengths ask for."""
    widest = max(padded(workload.head_dim), padded(workload.v_head_dim), 64)
    chosen = _TILES[workload.torch_dtype.itemsize, widest]
    return {
        name: replace(
            tiles,
            block_q=min(tiles.block_q, padded(workload.q_len)),
            block_kv=min(tiles.block_kv, padded(workload.kv_len)),
        )
        for name, tiles in chosen.items()
    }

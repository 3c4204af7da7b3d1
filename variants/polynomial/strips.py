"""A mask cut into strips of query rows, each with the tiles of keys that its rows see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from harness import Mask
from variants.polynomial.steps import width


class Tile(NamedTuple):
    """Some keys, and those parts of them that not every row of the strip sees."""

    keys: slice
    partial: tuple[slice, ...]


class Strip(NamedTuple):
    """Some query rows, and the keys that any of them sees, in tiles."""

    rows: slice
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, eq=False)
class Cut:
    """A mask of one sequence, or of all sequences where it is the same, in strips."""

    mask: Mask
    strips: tuple[Strip, ...]

    def hide(self, scores: Tensor, strip: Strip, tile: Tile) -> None:
        """Write 0 where a row does not see a key; scores (n, G * rows, keys), rows innermost."""
        by_row = scores.view(len(scores), -1, width(strip.rows), scores.shape[-1])
        for part in tile.partial:
            hidden = ~self.mask.dense_block(strip.rows, part)
            inside = slice(part.start - tile.keys.start, part.stop - tile.keys.start)
            by_row[..., inside].masked_fill_(hidden, 0.0)

    @property
    def pairs(self) -> int:
        """(query, key) pairs of the tiles, of one head of queries."""
        return sum(
            width(strip.rows) * width(tile.keys) for strip in self.strips for tile in strip.tiles
        )


def cuts(mask: Mask, q_block: int, kv_block: int) -> tuple[Cut, ...]:
    """One for each sequence under padding, else one for all of them."""
    each = (
        mask.altered(start=mask.start[at : at + 1], stop=mask.stop[at : at + 1])
        for at in range(len(mask.start))
    )
    return tuple(Cut(one, _strips(one, q_block, kv_block)) for one in each)


def _strips(mask: Mask, q_block: int, kv_block: int) -> tuple[Strip, ...]:
    """Wholly masked tiles are left out; the first and the last end where the rows' keys do."""
    start, stop = mask.start.cpu(), mask.stop.cpu()
    found = []
    for at, blocks in enumerate(mask.kv_blocks(q_block, kv_block)):
        rows = slice(at * q_block, min((at + 1) * q_block, mask.q_len))
        first, last = start[:, rows], stop[:, rows]
        some = last > first
        reach = (int(first[some].min()), int(last[some].max())) if blocks else (0, 0)
        common = int(first.max()), int(last.min())
        tiles = []
        for block in blocks:
            low, high = max(block.start, reach[0]), min(block.stop, reach[1])
            tiles.append(Tile(slice(low, high), () if block.full else _partial(low, high, common)))
        found.append(Strip(rows, tuple(tiles)))
    return tuple(found)


def _partial(low: int, high: int, common: tuple[int, int]) -> tuple[slice, ...]:
    """The keys of low..high outside of those that all rows see."""
    first, last = max(low, common[0]), min(high, common[1])
    if first >= last:
        return (slice(low, high),)
    parts = (low, first), (last, high)
    return tuple(slice(begin, end) for begin, end in parts if begin < end)

"""Work on pairs of blocks, forward and backward, tile by tile, whatever weighs the scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from variants.scheduled.rows import UNSEEN, Layout
from variants.scheduled.travel import Block


@dataclass
class Pairs:
    """What both directions know.

    Blocks begin with k and v; q is their last tensor, in a symmetric scheme k itself. symmetric: a
    tile of scores serves its transposed pair as well. of_blocks, of_sums: how many tensors of each
    travel.
    """

    layout: Layout
    scale: float
    symmetric: bool
    batch_heads: tuple[int, int]
    head_dim: int
    v_head_dim: int
    dtype: torch.dtype
    of_blocks: int
    of_sums: int

    def tensor(self, block: int, width: int) -> Tensor:
        """(B, H, rows of the block, width), uninitialised."""
        rows = len(self.layout.rows(block))
        return torch.empty((*self.batch_heads, rows, width), dtype=self.dtype)

    def query(self, block: Block) -> Tensor:
        """Q of a block."""
        return block[0] if self.symmetric else block[-1]

    def tiles(self, i: int, j: int, blocks: dict[int, Block]) -> Iterator[tuple[Tile, ...]]:
        """Tiles of the scores of block i with block j, each once or, of both directions, twice."""
        q, k = self.query(blocks[i]), blocks[j][0]
        for rows, keys in self.layout.tiles(i, j):
            there = Tile(i, j, rows, keys, self.layout.hidden(i, rows, j, keys))
            found = [there] if there.seen else []
            if self.symmetric and i != j:
                back = Tile(j, i, keys, rows, self.layout.hidden(j, keys, i, rows))
                found += [back] if back.seen else []
            if found:
                scores = q[:, :, rows] @ k[:, :, keys].mT
                scores *= self.scale
                for tile in found:
                    tile.scores = scores if tile is there else scores.mT
                yield tuple(found)


@dataclass
class Tile:
    """Scores of some rows of query block i with some keys of block j, and which are hidden."""

    i: int
    j: int
    rows: slice
    keys: slice
    hidden: Tensor | None
    scores: Tensor = None  # type: ignore[assignment]

    @property
    def seen(self) -> bool:
        """True where some key is seen."""
        return self.hidden is not UNSEEN


@dataclass
class Forward(Pairs):
    """Sums of the output, of what merges them; abstract."""

    def room(self, block: int) -> Block:
        """K and v, and q where it travels by itself."""
        widths = (self.head_dim, self.v_head_dim, self.head_dim)[: self.of_blocks]
        return tuple(self.tensor(block, width) for width in widths)

    def pair(self, i: int, j: int, blocks: dict[int, Block], sums: dict[int, Block]) -> None:
        """Add the values of block j, weighed, to the sums of block i; and the other way round."""
        for tiles in self.tiles(i, j, blocks):
            for tile in tiles:
                part = tuple(tensor[:, :, tile.rows] for tensor in sums[tile.i])
                self.add(part, tile.scores, tile.hidden, blocks[tile.j][1][:, :, tile.keys])

    def zeros(self, block: int) -> Block:
        """Sums of no term."""
        raise NotImplementedError

    def merge(self, sums: Block, others: Block) -> None:
        """Add sums made elsewhere."""
        raise NotImplementedError

    def add(self, sums: Block, scores: Tensor, hidden: Tensor | None, v: Tensor) -> None:
        """Add a tile's terms to the sums of its rows."""
        raise NotImplementedError

    def output(self, sums: Block, rows: Tensor) -> Tensor:
        """The output at these positions."""
        raise NotImplementedError

    def kept(self, sums: Block, rows: Tensor) -> Tensor:
        """What the backward needs of a row's weights."""
        raise NotImplementedError


@dataclass
class Backward(Pairs):
    """Sums (dk, dv, dq); abstract. of_query: tensors that a query brings beside itself, g first."""

    of_query: ClassVar[int]

    def room(self, block: int) -> Block:
        """K and v, and where the block is a query as well, what it brings."""
        widths = [self.head_dim, self.v_head_dim, self.v_head_dim, *[1] * (self.of_query - 1)]
        widths.append(self.head_dim)
        return tuple(self.tensor(block, width) for width in widths[: self.of_blocks])

    def zeros(self, block: int) -> Block:
        """No gradient yet."""
        widths = (self.head_dim, self.v_head_dim, self.head_dim)
        return tuple(self.tensor(block, width).zero_() for width in widths)

    def merge(self, sums: Block, others: Block) -> None:
        """By adding."""
        for mine, other in zip(sums, others, strict=False):
            mine.add_(other)

    def pair(self, i: int, j: int, blocks: dict[int, Block], sums: dict[int, Block]) -> None:
        """Gradients of q of block i and of k and v of block j; and the other way round."""
        for tiles in self.tiles(i, j, blocks):
            for tile in tiles:
                self._tile(tile, blocks, sums)

    def _tile(self, tile: Tile, blocks: dict[int, Block], sums: dict[int, Block]) -> None:
        q = self.query(blocks[tile.i])[:, :, tile.rows]
        query = tuple(t[:, :, tile.rows] for t in blocks[tile.i][2 : 2 + self.of_query])
        k, v = (tensor[:, :, tile.keys] for tensor in blocks[tile.j][:2])
        weights = self.weights(tile.scores, tile.hidden, query)
        ds = self.slope(tile.scores, weights, query[0] @ v.mT, query)
        if tile.hidden is not None:
            ds = ds.masked_fill(tile.hidden, 0.0)
        ds = ds * self.scale
        sums[tile.i][2][:, :, tile.rows] += ds @ k
        sums[tile.j][0][:, :, tile.keys] += ds.mT @ q
        sums[tile.j][1][:, :, tile.keys] += weights.mT @ query[0]

    def upstream(self, g: Tensor, out: Tensor, kept: Tensor) -> Block:
        """What queries bring beside themselves, of the output's gradient g."""
        raise NotImplementedError

    def weights(self, scores: Tensor, hidden: Tensor | None, query: Block) -> Tensor:
        """The weights of a tile, 0 where hidden."""
        raise NotImplementedError

    def slope(self, scores: Tensor, weights: Tensor, dw: Tensor, query: Block) -> Tensor:
        """The gradient of the scores, dw being that of the weights."""
        raise NotImplementedError

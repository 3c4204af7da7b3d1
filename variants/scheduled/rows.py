"""Rows of blocks: where a block's rows lie, and which keys of another block they see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness import Mask

UNSEEN = torch.ones((1, 1, 1, 1), dtype=torch.bool)
"""Hides every key of a tile from each of its rows."""
TILE = 512
"""Rows and keys whose scores are held at once."""


@dataclass
class Layout:
    """L rows in `count` blocks of nearly equal length, and what the mask says of pairs of them."""

    count: int
    mask: Mask
    _hidden: dict[tuple[int, int, int, int], Tensor | None] = field(default_factory=dict)

    def rows(self, block: int) -> range:
        """Positions of a block's rows."""
        length = self.mask.q_len
        return range(block * length // self.count, (block + 1) * length // self.count)

    def positions(self, blocks: Sequence[int]) -> Tensor:
        """Positions of the rows of these blocks, one after another."""
        found = [torch.arange(*_ends(self.rows(block))) for block in blocks]
        return torch.cat(found) if found else torch.arange(0)

    def tiles(self, i: int, j: int) -> Iterator[tuple[slice, slice]]:
        """Rows of block i by keys of block j, each counted from its block's first."""
        for r in range(0, len(self.rows(i)), TILE):
            for c in range(0, len(self.rows(j)), TILE):
                yield slice(r, r + TILE), slice(c, c + TILE)

    def hidden(self, i: int, rows: slice, j: int, keys: slice) -> Tensor | None:
        """Which keys are hidden, (B' or 1, 1, rows, keys); None where none is, UNSEEN where all."""
        at = (i, rows.start, j, keys.start)
        if at not in self._hidden:
            queries, columns = self.rows(i)[rows], self.rows(j)[keys]
            start = self.mask.start[:, queries.start : queries.stop, None]
            stop = self.mask.stop[:, queries.start : queries.stop, None]
            positions = torch.arange(*_ends(columns))
            hidden = (positions < start) | (positions >= stop)
            if self.mask.holes is not None:
                hidden = hidden | self.mask.holes[columns.start : columns.stop]
            some = hidden[:, None] if bool(hidden.any()) else None
            self._hidden[at] = UNSEEN if bool(hidden.all()) else some
        return self._hidden[at]


def _ends(rows: range) -> tuple[int, int]:
    return rows.start, rows.stop

"""Means over segments of a sequence, and masks for what summarises a whole sequence."""

from __future__ import annotations

import torch
from torch import Tensor

from harness import Mask, Workload


def means(x: Tensor, segments: int) -> Tensor:
    """(.., L, D) -> (.., segments, D) means over segments next to each other, 1 <= segments <= L.

    The first L % segments of them hold one row more than the others.
    """
    rows, longer = divmod(x.shape[-2], segments)
    if not longer:
        return torch.unflatten(x, -2, (segments, rows)).mean(-2)
    long, short = torch.split(x, [longer * (rows + 1), (segments - longer) * rows], -2)
    parts = (
        torch.unflatten(long, -2, (longer, rows + 1)),
        torch.unflatten(short, -2, (segments - longer, rows)),
    )
    return torch.cat([part.mean(-2) for part in parts], -2)


def averaging(segments: int, length: int) -> Tensor:
    """(segments, length) float64: the matrix that takes these means."""
    rows, longer = divmod(length, segments)
    sizes = torch.tensor([rows + 1] * longer + [rows] * (segments - longer))
    member = torch.arange(segments).repeat_interleave(sizes) == torch.arange(segments)[:, None]
    return member / sizes[:, None].double()


def seen_keys(mask: Mask) -> Tensor | None:
    """(B', 1, Lkv, 1) True at the keys that every row of a sequence sees, None where that is all.

    For masks that show all rows the same keys.
    """
    return None if mask.is_full else mask.dense_block(slice(0, 1), slice(None)).mT


def unequal_rows(workload: Workload, name: str, why: str) -> str | None:
    """The reason where rows of one sequence see different keys; None where all see the same."""
    mask = workload.build_mask("cpu")
    bounds = (mask.start, mask.stop)
    if all(bool((bound == bound[:, :1]).all()) for bound in bounds):
        return None
    return (
        f"{name} {why}, so that every query must see the same keys; mask={workload.mask} hides "
        "other keys from each: use none or padding(f)"
    )

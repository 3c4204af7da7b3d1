"""Where no symmetric weight is in range: each side of a block has maxima and weights of its own.

The scores are still computed once for both, but their exponentials twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from variants.chunked.scratch import Scratch
from variants.chunked.sums import RowSums
from variants.symmetric.pairs import Triangle

MARK = "attnbench::two_sided"


def forward(plan: Triangle, y: Tensor, v: Tensor, out: Tensor, norms: Tensor) -> None:
    """Write the output, and log2 of each row's sum of weights 2^(y_i y_j)."""
    scratch = Scratch(v)
    tokens, values = plan.cut(y), plan.cut(v)
    sums = [RowSums(Scratch(v), len(v), size, v.shape[2], moderate=False) for size in plan.sizes]
    for i, j in plan.pairs():
        scores, other = _scores(plan, scratch, tokens, i, j)
        if other is not None:
            sums[j].add(other, values[i])
        sums[i].add(scores, values[j])
    for part, block in zip(sums, _spans(plan), strict=True):
        part.write(out[:, None, block], norms[:, None, block])


def backward(plan: Triangle, y: Tensor, given: list[Tensor], slopes: list[Tensor]) -> None:
    """Write the gradients by y, of queries and of keys, and that by v, from the rows' norms."""
    v, above, inner, norms = given
    scratch = Scratch(v)
    tokens, values, up = plan.cut(y), plan.cut(v), plan.cut(above)
    inners, logs = plan.cut(inner), plan.cut(norms)
    dq, dk, dv = (plan.zeros(v, tensor.shape[2]) for tensor in (y, y, v))
    for i, j in plan.pairs():
        sides = zip(_scores(plan, scratch, tokens, i, j), ((i, j), (j, i)), strict=True)
        for weights, (row, key) in sides:
            if weights is None:
                continue
            weights.sub_(logs[row]).exp2_()
            dv[key].baddbmm_(weights.mT, up[row])
            slope = scratch.take("slope", *weights.shape)
            torch.bmm(up[row], values[key].mT, out=slope)
            slope.sub_(inners[row]).mul_(weights)
            dq[row].baddbmm_(slope, tokens[key])
            dk[key].baddbmm_(slope.mT, tokens[row])
    for parts, target in zip((dq, dk, dv), slopes, strict=True):
        torch.cat(parts, 1, out=target)


def _scores(
    plan: Triangle, scratch: Scratch, tokens: list[Tensor], i: int, j: int
) -> tuple[Tensor, Tensor | None]:
    """Scores of rows I with keys J; a copy for rows J with keys I, if those are another block."""
    n, rows, keys = len(tokens[i]), tokens[i].shape[1], tokens[j].shape[1]
    scores = scratch.take("scores", n, rows, keys)
    torch.bmm(tokens[i], tokens[j].mT, out=scores)
    plan.hide(scores, i, j, -torch.inf)
    if i == j or plan.causal:
        return scores, None
    return scores, scratch.take("other", n, keys, rows).copy_(scores.mT)


def _spans(plan: Triangle) -> list[slice]:
    return [slice(at, at + plan.block) for at in range(0, plan.length, plan.block)]

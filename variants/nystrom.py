"""Nystromformer: softmax attention through landmarks (arXiv:2102.03902)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from harness import Attention, AttentionOp, Cost, Mask, Workload, register
from variants import prefix, segments


@register("nystrom")
@dataclass(frozen=True)
class Nystrom(AttentionOp):
    """F Z B v of Xiong et al. 2021 (arXiv:2102.03902), without its convolution of v.

    F = softmax(scale q k'^T), A = softmax(scale q' k'^T), B = softmax(scale q' k^T); q' and k' are
    landmarks, means over segments, at most as many as there are rows. Z is the pseudo-inverse of A
    after `iterations` steps, begun at A^T / (|A|_1 |A|_inf) of each head (the authors' code may
    begin at one number for a whole batch). Hidden keys and padded queries count as 0 in the means;
    every query must see the same keys.
    """

    family: ClassVar[str] = "nystrom"
    approximates: ClassVar[str] = "softmax"
    grouped: ClassVar[bool] = True
    rowwise: ClassVar[bool] = False
    permutation_equivariant: ClassVar[bool] = False

    landmarks: int = 64
    iterations: int = 6

    def __post_init__(self) -> None:
        for name, found, usual in (
            ("landmarks", self.landmarks, 64),
            ("iterations", self.iterations, 6),
        ):
            if found < 1:
                raise ValueError(f"{name} must be at least 1: {name}={found}; write {usual}")

    def unsupported(self, workload: Workload) -> str | None:
        """Masks that hide other keys from each query."""
        return segments.unequal_rows(workload, self.name, "takes means over all keys")

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """F (Z (B v)), each factor written out."""
        given = q.dtype
        q, k, v = (x.to(prefix.wide(x)) for x in (q, k, v))
        seen, bias = segments.seen_keys(mask), k.new_zeros(())
        if seen is not None:
            k, v = k * seen, v * seen
            bias = torch.where(seen.mT, bias, torch.finfo(k.dtype).min)
        marks = [
            segments.averaging(min(self.landmarks, x.shape[-2]), x.shape[-2]).to(x) @ x
            for x in (q * mask.judged[:, None, :, None], k)
        ]
        f = (q @ marks[1].mT * scale).softmax(-1)
        a = (marks[0] @ marks[1].mT * scale).softmax(-1)
        b = (marks[0] @ k.mT * scale + bias).softmax(-1)
        return (f @ (pseudo_inverse(a, self.iterations) @ (b @ v))).to(given)

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Find the keys that are hidden and the rows that are padded."""
        wide = workload.sum_dtype
        groups, scale = workload.groups, workload.scale
        padded = None if bool(mask.judged.all()) else ~mask.judged[:, None, :, None]
        seen = segments.seen_keys(mask)
        hidden = None if seen is None else ~seen
        # Not -inf: where all keys are hidden, the weights are even, and the values 0.
        lowest = torch.finfo(wide).min
        bias = None if seen is None else seen.new_zeros((), dtype=wide).where(seen.mT, lowest)

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            given = q.dtype
            q, k, v = q.to(wide), _zeroed(k.to(wide), hidden), _zeroed(v.to(wide), hidden)
            queries, keys = self._means(_zeroed(q, padded)), self._means(k)
            # Heads that share keys are rows of one: B v is attention of the landmarks.
            folded = queries.reshape(*k.shape[:2], -1, k.shape[-1])
            values = scaled_dot_product_attention(folded, k, v, bias, scale=scale)
            values = values.reshape(*queries.shape[:3], -1)
            keys = keys.repeat_interleave(groups, 1)
            inverse = pseudo_inverse((queries @ keys.mT * scale).softmax(-1), self.iterations)
            return scaled_dot_product_attention(q, keys, inverse @ values, scale=scale).to(given)

        return call

    def _means(self, x: Tensor) -> Tensor:
        return segments.means(x, min(self.landmarks, x.shape[-2]))

    def cost(self, workload: Workload) -> Cost:
        """Attention of landmarks to all keys and of all queries to landmarks, and the inverse."""
        w = workload
        queries, keys = (min(self.landmarks, length) for length in (w.q_len, w.kv_len))
        pairs = w.batch * w.heads * (queries * w.kv_len + w.q_len * keys)
        fused = w.flops_of(pairs, backward=2.0)
        step = 2 * queries * queries * (2 * keys + 2 * queries)
        small = 2 * queries * keys * (w.head_dim + w.v_head_dim) + self.iterations * step
        flops = fused + w.of_pass(w.batch * w.heads * small)
        return Cost(flops, time_growth=1.0, memory_growth=1.0)


def pseudo_inverse(a: Tensor, iterations: int) -> Tensor:
    """(.., n, m) -> (.., m, n), by the iteration of Razavi et al. 2014 that the paper takes.

    Z <- Z (13 I - A Z (15 I - A Z (7 I - A Z))) / 4.
    """
    largest = a.sum(-1).amax(-1) * a.sum(-2).amax(-1)
    z = a.mT / largest[..., None, None]
    one = torch.eye(a.shape[-2], dtype=a.dtype, device=a.device)
    for _ in range(iterations):
        az = a @ z
        z = z @ (13 * one - az @ (15 * one - az @ (7 * one - az))) / 4
    return z


def _zeroed(x: Tensor, hidden: Tensor | None) -> Tensor:
    return x if hidden is None else x.masked_fill(hidden, 0.0)

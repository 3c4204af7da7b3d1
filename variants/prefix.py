"""Linear attention over intervals of keys, chunk by chunk, in time and memory O(L).

out_i = sum over start_i <= j < stop_i of (f_i . g_j) v_j, f and g features of queries and keys. A
chunk of keys that a whole chunk of queries sees enters by its state, sum_j g_j v_j^T (M x Dv), and
states are summed along the sequence; a chunk that only some of them see enters by its scores
(Katharopoulos et al. 2020, arXiv:2006.16236, section 3.3; in chunks as in Hua et al. 2022,
arXiv:2202.10447). Sums are only ever added to: a difference of two prefixes would lose
all digits of a short interval far along the sequence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from harness import Cost, Mask, Recurrence, Workload
from variants.folding import cut, fold, unfold

Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Tiles:
    """Chunks of queries against chunks of keys that not all of those queries see.

    queries, keys (P): their numbers, None where they are all chunks in order; seen (P, Cq, Ck).
    """

    queries: Tensor | None
    keys: Tensor | None
    seen: Tensor


@dataclass(frozen=True)
class Plan:
    """A mask in chunks: what does not depend on values.

    runs: for each chunk of queries, the first chunk of keys that all of it sees, and the one after
    the last. hidden (B, 1, Lkv, 1): padded keys, whose features become 0.
    """

    q_chunk: int
    kv_chunk: int
    runs: tuple[tuple[int, int], ...]
    tiles: Tiles | None
    hidden: Tensor | None

    @classmethod
    def of(cls, mask: Mask, chunk: int) -> Plan:
        """Cut a mask into chunks of so many rows and keys; one that hides nothing is one chunk.

        Of few rows or few keys, scores are less work than states, and more exact.
        """
        hidden = None
        if mask.lengths is not None:
            beyond = torch.arange(mask.kv_len, device=mask.device) >= mask.lengths[:, None]
            hidden = beyond[:, None, :, None]
        mask = _unpadded(mask)
        whole, short = mask.is_full, min(mask.q_len, mask.kv_len) <= chunk
        q_chunk = mask.q_len if whole else min(chunk, mask.q_len)
        kv_chunk = mask.kv_len if whole else min(chunk, mask.kv_len)
        runs: list[tuple[int, int]] = []
        parts: list[tuple[int, int]] = []
        for at, row in enumerate(mask.kv_blocks(q_chunk, kv_chunk)):
            summed = [b.start // kv_chunk for b in row if b.full and not (whole and short)]
            runs.append((summed[0], summed[-1] + 1) if summed else (0, 0))
            chunks = [b.start // kv_chunk for b in row]
            parts += [(at, number) for number in chunks if number not in summed]
        tiles = _tiles(mask, parts, q_chunk, kv_chunk) if parts else None
        return cls(q_chunk, kv_chunk, tuple(runs), tiles, hidden)

    @property
    def summed(self) -> int:
        """Chunks of keys whose states are made; 0 where no chunk of queries sees a whole one."""
        return max(stop for _, stop in self.runs)

    def flops(self, heads: int, kv_heads: int, width: int, v_width: int) -> int:
        """Products of one sequence's forward; width: of the features."""
        rows = heads * self.q_chunk * len(self.runs) if self.summed else 0
        states = (rows + kv_heads * self.kv_chunk * self.summed) * width * v_width
        scores = 0 if self.tiles is None else self.tiles.seen.numel()
        return 2 * (states + heads * scores * (width + v_width))


def attend(f: Tensor, g: Tensor, v: Tensor, plan: Plan) -> Tensor:
    """f (B, H, Lq, M), g (B, Hkv, Lkv, M), v (B, Hkv, Lkv, Dv) -> (B, H, Lq, Dv), not normalised.

    The heads that share keys are rows of one chunk: their state is made once.
    """
    if plan.hidden is not None:
        g = g.masked_fill(plan.hidden, 0.0)
    q = fold(f, g.shape[1], plan.q_chunk)
    keys, values = cut(g, plan.kv_chunk), cut(v, plan.kv_chunk)
    out = q @ _running(keys, values, plan) if plan.summed else None
    if plan.tiles is not None:
        out = _with_tiles(q, keys, values, plan.tiles, out)
    if out is None:
        # Nobody sees a key; tied to f, so that a gradient of zero reaches it.
        out = q.sum(-1, keepdim=True) * values.new_zeros(v.shape[-1])
    return unfold(out, plan.q_chunk, f.shape[2])


def normalised(f: Tensor, g: Tensor, v: Tensor, plan: Plan) -> Tensor:
    """`attend` over the sum of each row's weights; a row that sees no key is 0."""
    out = attend(f, g, _with_ones(v), plan)
    return _divided(out)


def recurrence(queries: Features, keys: Features, mask: Mask) -> Recurrence | None:
    """Decoding of a normalised sum from its state (B, Hkv, M, Dv + 1); None if a key is hidden."""
    if not mask.is_full:
        return None

    def prefill(k: Tensor, v: Tensor) -> Tensor:
        return keys(k).mT @ _with_ones(v.to(wide(v)))

    def step(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> Tensor:
        # Made anew, and not only read, as the next position would need it.
        state = state + keys(k).mT @ _with_ones(v.to(wide(v)))
        f = queries(q)
        out = torch.unflatten(f.squeeze(2), 1, (k.shape[1], -1)) @ state
        return _divided(out).reshape(*q.shape[:3], -1).to(q.dtype)

    return Recurrence(prefill, step)


def cost(workload: Workload, chunk: int, width: int, mapped: int = 0) -> Cost:
    """What a normalised sum over features of this width executes; time and memory are O(L).

    mapped: multiplications that make the features of one row, by a matrix that needs no gradient.
    Backward has two products for each other one of forward's.
    """
    mask, heads, kv_heads = workload.build_mask("cpu"), workload.heads, workload.kv_heads
    values = workload.v_head_dim + 1  # the row sums are one more column
    if workload.pass_ == "decode" and mask.is_full:
        flops = 2 * workload.batch * (heads + kv_heads) * (width * values + mapped)
        state = workload.batch * kv_heads * width * values
        state_bytes = max(4, workload.torch_dtype.itemsize) * state
        return Cost(flops, state_bytes=state_bytes, time_growth=0.0, memory_growth=0.0)
    flops = workload.of_pass(Plan.of(mask, chunk).flops(heads, kv_heads, width, values))
    maps = 2 if workload.pass_ == "forward+backward" else 1
    flops += maps * 2 * (heads * workload.q_len + kv_heads * workload.kv_len) * mapped
    return Cost(workload.batch * flops, time_growth=1.0, memory_growth=1.0)


def check(chunk: int) -> None:
    """Raises ValueError where a parameter `chunk` is no number of positions."""
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1: chunk={chunk}; write 64, 128 or more")


def wide(tensor: Tensor) -> torch.dtype:
    """The dtype to sum in: at least float32."""
    return torch.promote_types(tensor.dtype, torch.float32)


def _unpadded(mask: Mask) -> Mask:
    if mask.lengths is None:
        return mask
    spec = dataclasses.replace(mask.spec, padding=None)
    return Mask(spec, mask.q_len, mask.kv_len, seed=mask.seed, device=mask.device)


def _tiles(mask: Mask, parts: list[tuple[int, int]], q_chunk: int, kv_chunk: int) -> Tiles:
    q, k = torch.tensor(parts, device=mask.device).T
    start, stop = (cut(bound[0, :, None], q_chunk)[q] for bound in (mask.start, mask.stop))
    inside = torch.arange(kv_chunk, device=mask.device)
    positions = (k[:, None] * kv_chunk + inside)[:, None]
    seen = (positions >= start) & (positions < stop)
    return Tiles(
        None if torch.equal(q, torch.arange(-(-mask.q_len // q_chunk), device=q.device)) else q,
        None if torch.equal(k, torch.arange(-(-mask.kv_len // kv_chunk), device=k.device)) else k,
        seen,
    )


def _running(keys: Tensor, values: Tensor, plan: Plan) -> Tensor:
    """(B, Hkv, chunks of queries, M, Dv) sums of the states of each run."""
    states = keys[:, :, : plan.summed].mT @ values[:, :, : plan.summed]
    if len(plan.runs) == plan.summed == 1:
        return states
    each = states.unbind(2)  # its backward is one stack, where slices would each fill a whole
    nothing = torch.zeros_like(each[0])
    sums, total, first, at = [], nothing, 0, 0
    for begin, stop in plan.runs:
        if begin != first or stop < at:
            total, first, at = nothing, begin, begin
        for state in each[at:stop]:
            total = total + state
        at = max(at, stop)
        sums.append(total)
    return torch.stack(sums, 2)


def _with_tiles(
    q: Tensor, keys: Tensor, values: Tensor, tiles: Tiles, out: Tensor | None
) -> Tensor:
    rows = q if tiles.queries is None else q.index_select(2, tiles.queries)
    if tiles.keys is not None:
        keys, values = (tensor.index_select(2, tiles.keys) for tensor in (keys, values))
    scores = torch.unflatten(rows @ keys.mT, 3, (-1, tiles.seen.shape[1]))
    scores = scores.masked_fill(~tiles.seen[:, None], 0.0).flatten(3, 4)
    found = scores @ values
    if tiles.queries is None:
        return found if out is None else out + found
    if out is None:
        out = found.new_zeros((*q.shape[:4], values.shape[-1]))
    return out.index_add(2, tiles.queries, found)


def _with_ones(v: Tensor) -> Tensor:
    return torch.cat([v, v.new_ones((*v.shape[:-1], 1))], -1)


def _divided(out: Tensor) -> Tensor:
    total = out[..., -1:]
    return out[..., :-1] / total.masked_fill(total == 0, 1.0)

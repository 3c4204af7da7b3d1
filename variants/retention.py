"""Retention: scores that decay with the distance, and no softmax (RetNet, arXiv:2307.08621)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from harness import Attention, AttentionOp, Cost, Mask, Recurrence, Workload, register


class RetentionFamily(AttentionOp):
    """Every kernel of (scale q k^T * gamma_h^|i + Lkv - Lq - j|) v, element-wise.

    Sun et al. 2023 (arXiv:2307.08621, eq. 5) with their gamma_h = 1 - 2^(-5 - h), h = 0, 1, ...
    (eq. 8). Theirs is causal; where the mask lets a query see later keys, those decay alike, as
    in RMT (Fan et al. 2023, arXiv:2309.11523). Left out is what belongs to the layer: the rotation
    of q and k, and the normalisations of scores and state, which its GroupNorm undoes.
    """

    family: ClassVar[str] = "retention"
    permutation_equivariant: ClassVar[bool] = False

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """zero_masked(scale q k^T * gamma^distance) v."""
        decay = _decay(q.shape[1], _distance(mask)).to(q.dtype)
        return mask.zero(q @ k.mT * scale * decay) @ v


@register("retention")
@dataclass(frozen=True)
class Retention(RetentionFamily):
    """Retention (Sun et al. 2023, arXiv:2307.08621): a decay in place of softmax.

    parallel: the formula as it stands. chunkwise: the formula inside chunks, and between them a
    state (D, Dv) a head, for causal masks, with padding or without. Both decode from that state.
    """

    kernel: Literal["parallel", "chunkwise"] = "parallel"
    chunk: int = 128

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ValueError(f"chunk must be at least 1: chunk={self.chunk}; write 64 or more")

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Build the decays: of all pairs, masked ones 0, or of the pairs of a chunk."""
        if self.kernel == "chunkwise":
            return _chunkwise(workload, mask, self.chunk)
        decay = workload.scale * _decay(workload.heads, _distance(mask))[None]
        decay = mask.zero(decay).to(workload.torch_dtype)

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return (q @ k.mT * decay) @ v

        return call

    def recurrence(self, workload: Workload, mask: Mask) -> Recurrence | None:
        """S <- gamma S + k^T v, output scale q S (eq. 6); None where the mask hides a key."""
        if not mask.is_full:
            return None
        wide = workload.sum_dtype
        gamma = _decay(workload.heads, torch.ones(1, 1, device=mask.device)).to(wide)

        def step(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> Tensor:
            state = torch.addcmul(gamma * state, k.mT.to(wide), v.to(wide))
            return (q.to(wide) * workload.scale @ state).to(q.dtype)

        return Recurrence(_state, step)

    def unsupported(self, workload: Workload) -> str | None:
        """Where a state of all earlier keys is not what a query sees."""
        spec = workload.mask_spec
        if self.kernel == "parallel":
            return None
        if spec.window is not None or spec.packed is not None:
            return (
                "chunkwise carries all earlier keys in a state, which a window or packed "
                f"sequences cut: mask={workload.mask}; use kernel=parallel"
            )
        if not spec.causal and workload.q_len > 1:
            return f"chunkwise is causal: mask={workload.mask}; use kernel=parallel"
        return None

    def cost(self, workload: Workload) -> Cost:
        """parallel: every pair, masked or not. chunkwise: the pairs inside chunks and the states.

        Decoding from the state, one product with it; it is kept in float32 at least.
        """
        w = workload
        area = w.batch * w.heads * w.head_dim * w.v_head_dim
        if w.pass_ == "decode" and w.build_mask("cpu").is_full:
            width = w.sum_dtype.itemsize
            return Cost(flops=2 * area, state_bytes=area * width)
        if self.kernel == "parallel":
            flops = w.flops_of(w.all_pairs, backward=2.0)
            return Cost(flops=flops, time_growth=2.0, memory_growth=2.0)
        rows = min(w.q_len, w.kv_len)
        padded = -(-rows // self.chunk) * self.chunk
        inside = w.flops_of(w.batch * w.heads * padded * self.chunk, backward=2.0)
        forward = 2 * area * (2 * padded + w.kv_len - rows)
        return Cost(flops=inside + w.of_pass(forward), time_growth=1.0, memory_growth=1.0)


def _chunkwise(workload: Workload, mask: Mask, chunk: int) -> Attention:
    """The chunkwise form (eq. 7) on the rows that see keys: where Lq > Lkv, not the first ones."""
    heads, rows = workload.heads, min(workload.q_len, workload.kv_len)
    lead, tail = workload.kv_len - rows, -rows % chunk
    wide = workload.sum_dtype
    steps = torch.arange(chunk, device=mask.device)
    inner = _decay(heads, steps[:, None] - steps).tril()[:, None] * workload.scale
    inner = inner.to(workload.torch_dtype)
    cross = (_decay(heads, steps[:, None] + 1) * workload.scale)[:, None].to(wide)
    whole = _decay(heads, torch.tensor([[chunk]], device=mask.device)).to(wide)
    hidden = None
    if mask.lengths is not None:
        keys = torch.arange(mask.kv_len, device=mask.device)
        hidden = (keys >= mask.lengths[:, None])[:, None, :, None]

    def chunks(x: Tensor) -> Tensor:
        """(B, H, N, chunk, .), filled up with zeros at the end."""
        return pad(x, (0, 0, 0, tail)).reshape(*x.shape[:2], -1, chunk, x.shape[-1])

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if hidden is not None:
            v = v.masked_fill(hidden, 0.0)
        state = _state(k[:, :, :lead], v[:, :, :lead])
        q, k, v = (
            chunks(q[:, :, q.shape[2] - rows :]),
            chunks(k[:, :, lead:]),
            chunks(v[:, :, lead:]),
        )
        states = []
        for summary in _state(k, v).unbind(2):
            states.append(state)
            state = whole * state + summary
        out = (q @ k.mT * inner) @ v + (q.to(wide) * cross @ torch.stack(states, 2)).to(q.dtype)
        return pad(out.flatten(2, 3)[:, :, :rows], (0, 0, workload.q_len - rows, 0))

    return call


def _state(k: Tensor, v: Tensor) -> Tensor:
    """(B, H, .., D, Dv) sum of gamma^(L - 1 - j) k_j^T v_j over keys (B, H, .., L, D).

    In float32 at least: over a long past many small terms add up.
    """
    wide = torch.promote_types(k.dtype, torch.float32)
    ago = torch.arange(k.shape[-2] - 1, -1, -1, device=k.device)[:, None]
    decay = _decay(k.shape[1], ago).to(wide)
    decay = decay if k.ndim == 4 else decay[:, None]
    return (k.to(wide) * decay).mT @ v.to(wide)


def _decay(heads: int, distance: Tensor) -> Tensor:
    """(H, R, K) gamma_h^distance in float64, from distances (R, K)."""
    powers = torch.arange(heads, dtype=torch.float64, device=distance.device)
    log_gamma = torch.log1p(-(2.0 ** (-5 - powers)))
    return torch.exp(log_gamma[:, None, None] * distance)


def _distance(mask: Mask) -> Tensor:
    """(R, Lkv) |i + Lkv - Lq - j|: the last query stands at the last key."""
    keys = torch.arange(mask.kv_len, device=mask.device)
    return (mask.rows[:, None] + mask.kv_len - mask.q_len - keys).abs()

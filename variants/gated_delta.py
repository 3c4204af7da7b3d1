"""Gated delta rule, Yang, Kautz and Hatamizadeh 2024, arXiv:2412.06464: gates read x itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from harness import AttentionLayer, Cost, Mask, Workload, register

CHUNK = 64
Rule = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class GatedDeltaHeads(nn.Module):
    """S_t = a_t (I - b_t k_t k_t^T) S_(t-1) + b_t k_t v_t^T, o_t = S_t^T q_t, y = W_o concat(o).

    q, k of norm 1 and v from x; a_t = exp(-softplus(w_a x + c)) and b_t = sigmoid(w_b x), a head
    each; S (D, Dv). Equation 10 of the paper, without its short convolutions and output gate.
    """

    def __init__(self, workload: Workload, kernel: str) -> None:
        super().__init__()
        width = workload.model_dim
        self.heads, self.kernel = workload.heads, kernel
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.gates = nn.Linear(width, 2 * workload.heads)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """By steps or by chunks of steps."""
        run = recurrent if self.kernel == "recurrent" else chunked
        return self.through(x, run)

    def through(self, x: Tensor, run: Rule) -> Tensor:
        """y by this way of running the rule."""
        q, k, v = torch.unflatten(self.qkv(x), 2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        decay, write = torch.unflatten(self.gates(x), 2, (2, self.heads)).permute(2, 0, 3, 1)
        # Sums of logarithms and triangular systems need more than 16 bit.
        wide = torch.promote_types(x.dtype, torch.float32)
        q, k = (nn.functional.normalize(t.to(wide), dim=-1) for t in (q, k))
        log_decay = -nn.functional.softplus(decay.to(wide))
        found = run(q, k, v.to(wide), log_decay, write.to(wide).sigmoid())
        y: Tensor = self.out(found.to(x.dtype).transpose(1, 2).flatten(2))
        return y


def recurrent(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, write: Tensor) -> Tensor:
    """A step at a time: q, k, v (B, H, L, D), gates (B, H, L)."""
    state = q.new_zeros(*q.shape[:2], q.shape[-1], v.shape[-1])
    decay, outputs = log_decay.exp(), []
    for t in range(q.shape[2]):
        kept = decay[:, :, t, None, None] * state
        seen = (k[:, :, t, None] @ kept)[:, :, 0]
        new = write[:, :, t, None] * (v[:, :, t] - seen)
        state = kept + k[:, :, t, :, None] * new[:, :, None]
        outputs.append((q[:, :, t, None] @ state)[:, :, 0])
    return torch.stack(outputs, 2)


def chunked(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, write: Tensor) -> Tensor:
    """CHUNK steps at a time, by one triangular system each (section 3.3 of the paper).

    With g_t the decay since the chunk began and S the state then, what step t writes is
    u_t = b_t (v_t - g_t S^T k_t - sum over j < t of g_t / g_j (k_t k_j) u_j).
    """
    state = q.new_zeros(*q.shape[:2], q.shape[-1], v.shape[-1])
    outputs = []
    for at in range(0, q.shape[2], CHUNK):
        part = slice(at, at + CHUNK)
        output, state = _chunk(
            (q[:, :, part], k[:, :, part], v[:, :, part]),
            log_decay[:, :, part].cumsum(-1),
            write[:, :, part, None],
            state,
        )
        outputs.append(output)
    return torch.cat(outputs, 2)


def _chunk(
    qkv: tuple[Tensor, Tensor, Tensor], log_decay: Tensor, write: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    q, k, v = qkv
    since = log_decay.exp()[..., None]
    # The logarithm is kept from growing where j > t, which is cut off: its exponent may overflow.
    between = (log_decay[..., :, None] - log_decay[..., None, :]).tril().exp().tril()
    system = write * (k @ k.mT * between).tril(-1)
    right = write * (v - since * (k @ state))
    one = torch.eye(system.shape[-1], dtype=q.dtype, device=q.device)
    new = torch.linalg.solve_triangular(one + system, right, upper=False, unitriangular=True)
    output = since * (q @ state) + (q @ k.mT * between) @ new
    to_end = (log_decay[..., -1:] - log_decay).exp()[..., None]
    return output, since[..., -1:, :] * state + (to_end * k).mT @ new


@register("gated_delta")
@dataclass(frozen=True)
class GatedDelta(AttentionLayer):
    """A linear recurrence that overwrites what a key held and forgets by gates of x; causal."""

    kernel: Literal["recurrent", "chunked"] = "recurrent"

    def build(self, workload: Workload, mask: Mask) -> GatedDeltaHeads:
        """Projections of q, k, v, of two gates a head, and of the output."""
        return GatedDeltaHeads(workload, self.kernel)

    def definition(self, module: nn.Module, x: Tensor, context: Tensor, *, mask: Mask) -> Tensor:
        """A step at a time."""
        assert isinstance(module, GatedDeltaHeads)
        return module.through(x, recurrent)

    def unsupported(self, workload: Workload) -> str | None:
        """Masks that no state can honour, and images."""
        spec = workload.mask_spec
        if workload.height is not None:
            return f"{self.name} reads sequences, not images; leave height, width and channels out"
        if not spec.causal or spec.window is not None or spec.packed is not None:
            return f"{self.name} reads from left to right, all of it; write mask: causal"
        return None

    def cost(self, workload: Workload) -> Cost:
        """Three products with the state a step; projections of q, k, v, gates and output.

        In chunks of c steps also the products of c with c, and the triangular system.
        """
        w, width = workload, workload.model_dim
        tokens = w.batch * w.q_len
        each = w.of_pass(2 * tokens)
        projected = width * (4 * width + 2 * w.heads)
        inside = 0
        if self.kernel == "chunked":
            whole, rest = divmod(w.q_len, CHUNK)
            inside = w.of_pass(7 * w.batch * width * (whole * CHUNK**2 + rest**2))
        return Cost(
            flops=each * (projected + 3 * width * w.head_dim) + inside,
            projection_flops=each * projected,
            parameters=projected + 2 * w.heads,
            time_growth=1.0,
            memory_growth=1.0,
        )

"""A BiLSTM with self-attention over its states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from harness import AttentionLayer, Cost, Mask, Workload, register
from variants.recurrent.states import (
    States,
    lengths_of,
    lstm_flops,
    lstm_parameters,
    packed_lengths,
    steps_of,
    unreadable,
)

ATTENTION_WIDTH = 2
"""The hidden width of additive scores is the layer's over this."""


class ScaledStates(nn.Module):
    """y = softmax(S S^T / sqrt(W)) S over the states S (B, L, W) of a BiLSTM."""

    def __init__(self, workload: Workload, mask: Mask) -> None:
        super().__init__()
        width = workload.model_dim
        self.states = States(width, width // 2, packed_lengths(mask))
        self.visible = None if mask.is_full else mask.dense()

    def forward(self, x: Tensor) -> Tensor:
        """By PyTorch's attention kernel."""
        states = self.states(x)[:, None]
        y = nn.functional.scaled_dot_product_attention(
            states, states, states, attn_mask=self.visible
        )
        return y[:, 0]

    def defined(self, x: Tensor, mask: Mask) -> Tensor:
        """Step by step, then the formula."""
        states = self.states.defined(x, lengths_of(mask, len(x)))[:, None]
        weights = mask.softmax(states @ states.mT * x.shape[-1] ** -0.5)
        return (weights @ states)[:, 0]


class AdditiveStates(nn.Module):
    """y_i = W_y [s_i; vec(M)], M = A S, A = softmax over positions of W_2 tanh(W_1 S^T).

    A (hops, L) is the structured self-attention of Lin et al. 2017, arXiv:1703.03130, equations 5
    to 7, S (B, L, W) the states of a BiLSTM; every state then sees the summary M (hops, W).
    """

    def __init__(self, workload: Workload, mask: Mask) -> None:
        super().__init__()
        width, hops = workload.model_dim, workload.heads
        self.states = States(width, width // 2, packed_lengths(mask))
        self.inner = nn.Linear(width, max(1, width // ATTENTION_WIDTH), bias=False)
        self.hops = nn.Linear(max(1, width // ATTENTION_WIDTH), hops, bias=False)
        self.out = nn.Linear(width * (1 + hops), width)
        self.inside = None if mask.is_full else inside(mask, workload.batch, workload.q_len)

    def forward(self, x: Tensor) -> Tensor:
        """All states at once."""
        return self.summed(self.states(x), self.inside)

    def summed(self, states: Tensor, within: Tensor | None) -> Tensor:
        """Weights of every hop over the positions within the sequence, and the output."""
        scores = self.hops(torch.tanh(self.inner(states)))
        if within is not None:
            scores = scores.masked_fill(~within.to(scores.device)[..., None], -torch.inf)
        summary = (scores.softmax(1).mT @ states).flatten(1)
        whole = summary[:, None].expand(-1, states.shape[1], -1)
        y: Tensor = self.out(torch.cat([states, whole], -1))
        return y

    def defined(self, x: Tensor, mask: Mask) -> Tensor:
        """Step by step, then the formula, a sequence at a time."""
        lengths = lengths_of(mask, len(x))
        states = self.states.defined(x, lengths)
        rows = []
        for own, length in zip(states, lengths.tolist(), strict=True):
            scores = torch.tanh(own[:length] @ self.inner.weight.mT) @ self.hops.weight.mT
            summary = torch.softmax(scores, 0).mT @ own[:length]
            whole = summary.flatten().expand(len(own), -1)
            rows.append(torch.cat([own, whole], -1) @ self.out.weight.mT + self.out.bias)
        return torch.stack(rows)


@register("bilstm_attention")
@dataclass(frozen=True)
class BilstmAttention(AttentionLayer):
    """A BiLSTM whose states attend to each other: `scaled` dot products, or `additive` hops.

    The hops are the structured self-attention of Lin et al. 2017, arXiv:1703.03130.
    """

    family = "lstm"
    kind: Literal["scaled", "additive"] = "scaled"

    def build(self, workload: Workload, mask: Mask) -> nn.Module:
        """The BiLSTM, and what its kind of attention learns."""
        kinds = {"scaled": ScaledStates, "additive": AdditiveStates}
        return kinds[self.kind](workload, mask)

    def definition(self, module: nn.Module, x: Tensor, context: Tensor, *, mask: Mask) -> Tensor:
        """The states a step at a time, then the formula."""
        assert isinstance(module, (ScaledStates, AdditiveStates))
        return module.defined(x, mask)

    def unsupported(self, workload: Workload) -> str | None:
        """Masks that no state can honour, and odd widths."""
        if workload.model_dim % 2:
            return f"{self.name} halves the width between two directions: it must be even"
        return unreadable(workload, self.name)

    def cost(self, workload: Workload) -> Cost:
        """The gates' products and the attention's; the products of x alone are projections."""
        w, width = workload, workload.model_dim
        tokens, hidden, inner = w.batch * w.q_len, width // 2, max(1, width // ATTENTION_WIDTH)
        attention, steps = 4 * tokens * w.q_len * width, steps_of(w)
        learnt = 0
        if self.kind == "additive":
            learnt = inner * (width + w.heads) + width * (width * (1 + w.heads) + 1)
            attention = 2 * tokens * (learnt - width + w.heads * width)
        return Cost(
            flops=w.of_pass(2 * lstm_flops(steps, width, hidden) + attention),
            projection_flops=w.of_pass(16 * steps * hidden * width),
            parameters=2 * lstm_parameters(width, hidden) + learnt,
            time_growth=2.0 if self.kind == "scaled" else 1.0,
        )


def inside(mask: Mask, batch: int, length: int) -> Tensor:
    """(B, L) True within each sequence."""
    lengths = lengths_of(mask, batch)
    return torch.arange(length, device=lengths.device)[None] < lengths[:, None]

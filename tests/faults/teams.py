"""A user's file of ops whose workers misbehave; tests copy it beside their suite and run it."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from harness import Attention, Link, Mask, TeamOp, Workload, register, softmax_attention


@register("faulty_team")
@dataclass(frozen=True)
class FaultyTeam(TeamOp):
    """Heads apart, so that rows need not be sent: worker 1 misbehaves as it is called."""

    deed: Literal["nothing", "killed", "stopped", "raises"] = "nothing"

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """Softmax attention."""
        return softmax_attention(q, k, v, mask=mask, scale=scale)

    def rows(self, workload: Workload) -> tuple[Tensor, ...]:
        """Halves."""
        return tuple(torch.arange(workload.q_len).chunk(self.workers))

    def part(self, workload: Workload, mask: Mask, link: Link) -> Attention:
        """Keys and values of the other half are fetched."""

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if link.rank == 1 and self.deed == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if link.rank == 1 and self.deed == "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            if link.rank == 1 and self.deed == "raises":
                raise ValueError("on purpose")
            other_k, other_v = torch.empty_like(k), torch.empty_like(v)
            link.shift([k, v], [other_k, other_v]).wait()
            keys, values = torch.cat([k, other_k], 2), torch.cat([v, other_v], 2)
            whole = workload.build_mask("cpu")
            return softmax_attention(
                q, keys, values, mask=whole.take(self.rows(workload)[0]), scale=workload.scale
            )

        return call

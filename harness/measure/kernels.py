"""What ran: kernels seen against kernels asked for, and compilation that fell back to eager."""

from __future__ import annotations

from collections.abc import Sequence

import torch._dynamo
from torch._dynamo.utils import counters

from harness.variant import AttentionOp
from harness.workload import Workload


def watch_compiler() -> None:
    """Past the recompile limit, raise instead of running eagerly in silence."""
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    counters.clear()


def allow_compilations(entrants: int) -> None:
    """Let each entrant of a race compile: variants of one class share one code object.

    Their compilations would otherwise count as one function's recompilations, whose limit is 8.
    """
    torch._dynamo.config.recompile_limit = 8 + 2 * entrants


def compiled_frames() -> int:
    """Frames that torch.compile has turned into graphs since `watch_compiler`."""
    return int(counters["frames"].get("ok", 0))


def fallback(op: AttentionOp, workload: Workload, kernels: Sequence[str]) -> str | None:
    """Why what ran is not what was asked; None when it is.

    Either none of the kernels that the variant expects was seen, or the compiler broke a graph
    or compiled nothing.
    """
    wanted = op.expected_kernels(workload)
    if wanted and not any(part in kernel for kernel in kernels for part in wanted):
        seen = ", ".join(kernels[:4]) or "none"
        return f"asked for {' or '.join(wanted)}, but the kernels that ran are {seen}"
    breaks = sum(counters["graph_break"].values())
    if breaks:
        return (
            f"torch.compile broke the graph {breaks} times: {next(iter(counters['graph_break']))}"
        )
    if workload.compile and compiled_frames() == 0:
        return "torch.compile compiled no frame: the call ran eagerly"
    return None

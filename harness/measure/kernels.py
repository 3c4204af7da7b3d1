"""What ran: kernels seen against kernels asked for, and compilation that fell back to eager."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import torch._dynamo
from torch._dynamo.utils import counters

from harness.variant import AttentionOp
from harness.workload import Workload

EAGER = "torch.compile compiled no frame: the call ran eagerly"
ANEW = 4
"""Calls of one entrant that may compile while racing: its latency is not the compiler's."""
_GRAPHS = "_inductor/output_code.py"
"""Where torch calls a graph that it has compiled."""


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
    broke = CompileWatch.of_process().fell_back()
    if broke is not None:
        return broke
    if workload.compile and compiled_frames() == 0:
        return EAGER
    return None


class CompileWatch:
    """Whether torch.compile fell back to eager since this was last asked.

    The counters are the process's: asked after each call of a race, the answer is of that call.
    """

    def __init__(self) -> None:
        self._breaks = dict(counters["graph_break"])
        self._frames = compiled_frames()
        self._anew: dict[str, int] = {}

    @classmethod
    def of_process(cls) -> CompileWatch:
        """One that has seen nothing yet: it tells of all since `watch_compiler`."""
        watch = cls()
        watch._breaks = {}
        return watch

    def fell_back(self) -> str | None:
        """Where the compiler broke a graph, so that a part of the call ran eagerly."""
        now = counters["graph_break"]
        if sum(now.values()) == sum(self._breaks.values()):
            return None
        new = {cause: n - self._breaks.get(cause, 0) for cause, n in now.items()}
        self._breaks = dict(now)
        cause = next(cause for cause, times in new.items() if times).partition("\n")[0]
        times = sum(new.values())
        return (
            f"torch.compile broke the graph {times} {'time' if times == 1 else 'times'}: {cause}; "
            "change that, so that the whole call compiles"
        )

    def compiled_anew(self, name: str) -> str | None:
        """Why an entrant that was just called is timed with the compiler at work."""
        frames, self._frames = self._frames, compiled_frames()
        if self._frames == frames:
            return None
        self._anew[name] = self._anew.get(name, 0) + 1
        if self._anew[name] <= ANEW:
            return None
        return (
            f"torch.compile compiled it anew in {self._anew[name]} calls; let nothing that it "
            "reads change from call to call"
        )


def ran_eagerly(call: Callable[[], Any]) -> str | None:
    """Make a call that was to be compiled once more, and tell why it was not.

    That frames were compiled says little: a copy adds none, and runs the graph of its original; a
    frame around one that the compiler may not see adds one, and runs no graph.
    """
    return None if runs_a_graph(call) else EAGER


def runs_a_graph(call: Callable[[], Any]) -> bool:
    """Make a call and tell whether a graph that inductor compiled ran in it."""
    seen = False

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal seen
        seen = seen or (event == "call" and frame.f_code.co_filename.endswith(_GRAPHS))

    held = sys.getprofile()
    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(held)
    return seen

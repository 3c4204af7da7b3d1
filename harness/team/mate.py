"""Inside a worker of a team: what it is asked through its pipe, it does on its rows."""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any, Literal, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from harness.processes import die_with_parent
from harness.team.link import Link

Part = Callable[[Link], Callable[[Tensor, Tensor, Tensor], Tensor]]
"""Prepares what one worker calls: q, k, v at its rows -> the output there, differentiable."""
PATIENCE_S = 24 * 3600.0
"""A worker that waits for another is ended with the case, whose time is limited elsewhere."""


@dataclass(frozen=True)
class Shared:
    """Tensors in memory that all workers see: whole inputs, output, and their gradients."""

    inputs: tuple[Tensor, Tensor, Tensor]
    output: Tensor
    output_gradient: Tensor
    gradients: tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Done:
    """What a worker says of one call: when it began and ended, what it sent, what a profile saw."""

    begin_s: float = 0.0
    end_s: float = 0.0
    sent_bytes: int = 0
    peak_bytes: int = 0
    kernels: tuple[str, ...] = ()


class Profiled(Protocol):
    """What a profiler tells of a call."""

    @property
    def result(self) -> Any:
        """What the call returned."""

    @property
    def peak_bytes(self) -> int:
        """Peak above what was held before."""

    @property
    def kernels(self) -> tuple[str, ...]:
        """What ran."""


Profiler = Callable[[Callable[[], Any]], Profiled]


@dataclass(frozen=True)
class Asked:
    """What every worker is to do, under `profile` where there is one (it travels by its name)."""

    what: Literal["prepare", "forward", "backward"]
    gradients: bool = False
    profile: Profiler | None = None


@dataclass(frozen=True)
class Raised:
    """What a worker says where its part raised."""

    text: str


def serve(
    link: Link,
    rows: Tensor,
    part: Part,
    shared: Shared,
    pipe: Connection,
    store: str,
    cpus: Sequence[int],
) -> None:
    """Answer calls until the pipe is closed; then end the process."""
    code = 1
    # Whatever the process was forked with is its parent's to write and to clean up.
    with contextlib.suppress(BaseException):
        if sys.platform == "linux":
            die_with_parent()
        # A pool of threads does not survive a fork: one thread needs none.
        torch.set_num_threads(1)
        _pin(link.rank, cpus)
        _Mate(link, rows, part, shared, pipe).serve(store)
        code = 0
    os._exit(code)


def _pin(rank: int, cpus: Sequence[int]) -> None:
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setaffinity(0, {cpus[rank % len(cpus)]})


class _Mate:
    def __init__(
        self, link: Link, rows: Tensor, part: Part, shared: Shared, pipe: Connection
    ) -> None:
        self._link, self._rows, self._part, self._pipe = link, rows, part, pipe
        self._shared = shared
        self._attend: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
        self._leaves: tuple[Tensor, ...] = ()
        self._output: Tensor | None = None

    def serve(self, store: str) -> None:
        try:
            self._meet(store)
        except Exception as error:  # the process boundary: the parent raises it
            self._pipe.send(self._raised(error))
            return
        while True:
            try:
                asked = self._pipe.recv()
            except EOFError:
                return
            self._pipe.send(self._answer(asked))

    def _meet(self, store: str) -> None:
        # All workers are on this machine: its name need not be resolved, which may take seconds.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dist.init_process_group(
                "gloo",
                init_method=f"file://{store}",
                rank=self._link.rank,
                world_size=self._link.size,
                timeout=datetime.timedelta(seconds=PATIENCE_S),
            )

    def _answer(self, asked: Asked) -> Done | Raised:
        try:
            if asked.what == "prepare":
                self._attend = self._part(self._link)
                return Done()
            if asked.what == "backward":
                return self._backward(asked)
            return self._forward(asked)
        except Exception as error:  # the process boundary: the parent raises it
            return self._raised(error)

    def _raised(self, error: Exception) -> Raised:
        text = f"{type(error).__name__}: {error}"
        return Raised(f"worker {self._link.rank} of {self._link.size}: {text}")

    def _forward(self, asked: Asked) -> Done:
        assert self._attend is not None
        leaves = [
            whole[:, :, self._rows].requires_grad_(asked.gradients) for whole in self._shared.inputs
        ]
        q, k, v = leaves
        attend = self._attend

        def forward() -> Tensor:
            with torch.set_grad_enabled(asked.gradients):
                return attend(q, k, v)

        # Of a pass with gradients, the peak is that of both: the backward's profile has it.
        output, done = self._timed(forward, None if asked.gradients else asked.profile)
        self._leaves, self._output = (q, k, v), output
        self._shared.output[:, :, self._rows] = output.detach()
        return done

    def _backward(self, asked: Asked) -> Done:
        output, upstream = self._output, self._shared.output_gradient[:, :, self._rows]
        assert output is not None

        def backward() -> tuple[Tensor, ...]:
            return torch.autograd.grad(output, self._leaves, upstream)

        if asked.profile is None:
            found, done = self._timed(backward, None)
        else:
            found, done = self._both(upstream, asked.profile)
        for whole, gradient in zip(self._shared.gradients, found, strict=True):
            whole[:, :, self._rows] = gradient
        self._leaves, self._output = (), None
        return done

    def _both(self, upstream: Tensor, profile: Profiler) -> tuple[Any, Done]:
        """Forward once more and backward under one profile; what is sent, of the backward alone."""
        attend, (q, k, v), sent = self._attend, self._leaves, 0
        assert attend is not None

        def both() -> tuple[Tensor, ...]:
            nonlocal sent
            with torch.enable_grad():
                output = attend(q, k, v)
            sent = self._link.sent_bytes
            return torch.autograd.grad(output, (q, k, v), upstream)

        found, done = self._timed(both, profile)
        return found, replace(done, sent_bytes=self._link.sent_bytes - sent)

    def _timed(self, call: Callable[[], Any], profile: Profiler | None) -> tuple[Any, Done]:
        before = self._link.sent_bytes
        dist.barrier()
        if profile is not None:
            seen = profile(call)
            sent = self._link.sent_bytes - before
            done = Done(sent_bytes=sent, peak_bytes=seen.peak_bytes, kernels=seen.kernels)
            return seen.result, done
        begin = perf_counter()
        result = call()
        end = perf_counter()
        return result, Done(begin, end, self._link.sent_bytes - before)

"""The parent's side of a team: its processes, their memory, and how long a call took them."""

from __future__ import annotations

import math
import mmap
import multiprocessing
import os
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

import torch
from torch import Tensor

from harness.processes import signal_name
from harness.team import mate
from harness.team.link import Link
from harness.workload import Workload

GOODBYE_S = 2.0
"""How long a process that has closed its pipe is given to end."""


class WorkerDiedError(RuntimeError):
    """A worker of a team ended without an answer."""


class Team:
    """Workers that compute one attention together; called as the attention itself.

    rows: which rows of q, k and v each worker has. A call hands out new values, lets every worker
    compute and brings the rows of the output together; `seconds` is what the workers took since
    `reset`: of each call from when the first left the barrier before it to when the last ended,
    without handing out and bringing together. Likewise `sent_bytes`, what they sent each other;
    under `profiler`, where it is set, `peak_bytes`, their peaks of memory together, and `kernels`.
    Raises RuntimeError where a worker raised and WorkerDiedError where one died: then it is over.
    """

    def __init__(self, part: mate.Part, rows: Sequence[Tensor], workload: Workload) -> None:
        self._workload = workload
        self._shared = _shared(workload)
        self.profiler: mate.Profiler | None = None
        self.reset()
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        folder = tempfile.mkdtemp(prefix="attnbench-team-")
        self._finalizer = weakref.finalize(self, _end, self._pipes, self._processes, folder)
        # A fork has what the parent has imported and built; a worker on a GPU would need a spawn.
        context = multiprocessing.get_context("fork")
        store, cpus = f"{folder}/store", _cpus()
        for rank in range(len(rows)):
            mine, its = context.Pipe()
            link = Link(rank, len(rows))
            arguments = (link, rows[rank], part, self._shared, its, store, cpus)
            process = context.Process(target=mate.serve, args=arguments, daemon=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of threads, which a worker never uses
                process.start()
            its.close()
            self._pipes.append(mine)
            self._processes.append(process)
        self._ask(mate.Asked("prepare"))
        # The workers have met; a process that leaves without a goodbye leaves nothing behind.
        shutil.rmtree(folder, ignore_errors=True)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of the whole q, k and v, differentiable once."""
        output: Tensor = _Together.apply(self, q, k, v)  # type: ignore[no-untyped-call]
        return output

    def reset(self) -> None:
        """Begin to count anew."""
        self.seconds, self.sent_bytes, self.peak_bytes = 0.0, 0, 0
        self.kernels: tuple[str, ...] = ()

    def close(self) -> None:
        """End every worker."""
        self._finalizer()

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The output, of new values."""
        for whole, values in zip(self._shared.inputs, (q, k, v), strict=True):
            whole.copy_(values)
        self._ask(mate.Asked("forward", self._workload.has_gradients, self.profiler))
        return self._shared.output.clone()

    def backward(self, output_gradient: Tensor) -> tuple[Tensor, ...]:
        """Gradients of q, k and v of the last forward."""
        self._shared.output_gradient.copy_(output_gradient)
        self._ask(mate.Asked("backward", profile=self.profiler))
        return tuple(gradient.clone() for gradient in self._shared.gradients)

    def _ask(self, asked: mate.Asked) -> None:
        if not self._finalizer.alive:
            raise RuntimeError("a worker of this team ended earlier")
        for rank, pipe in enumerate(self._pipes):
            try:
                pipe.send(asked)
            except OSError:
                self._fail(mate.Raised(f"worker {rank} of {len(self._pipes)} is gone"))
        answers = self._answers()
        self.seconds += max(a.end_s for a in answers) - min(a.begin_s for a in answers)
        self.sent_bytes += sum(a.sent_bytes for a in answers)
        self.peak_bytes = max(self.peak_bytes, sum(a.peak_bytes for a in answers))
        self.kernels = tuple(dict.fromkeys([*self.kernels, *answers[0].kernels]))

    def _answers(self) -> list[mate.Done]:
        """One of each worker; the first that raises or dies ends the team."""
        found: list[mate.Done] = []
        waiting = {pipe: rank for rank, pipe in enumerate(self._pipes)}
        while waiting:
            for ready in wait(list(waiting)):
                assert isinstance(ready, Connection)
                found.append(self._received(ready, waiting.pop(ready)))
        return found

    def _received(self, pipe: Connection, rank: int) -> mate.Done:
        try:
            answer: mate.Done | mate.Raised = pipe.recv()
        except (EOFError, ConnectionResetError):
            self._processes[rank].join(GOODBYE_S)
            answer = mate.Raised(f"worker {rank} of {len(self._pipes)} gave no answer")
        if isinstance(answer, mate.Raised):
            self._fail(answer)
        return answer

    def _fail(self, answer: mate.Raised) -> NoReturn:
        dead = self._deaths()
        self.close()
        # Who raises may do so because another died.
        raise WorkerDiedError(dead) if dead else RuntimeError(answer.text)

    def _deaths(self) -> str:
        """Which workers have ended, and how; "" where none has."""
        found = []
        for rank, process in enumerate(self._processes):
            process.join(GOODBYE_S / 10)
            if process.exitcode is not None:
                found.append(f"worker {rank} of {len(self._pipes)} {_ended(process.exitcode)}")
        return "; ".join(found)


class _Together(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, team: Team, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.team = team
        return team.forward(q, k, v)

    @staticmethod
    def backward(ctx: Any, output_gradient: Tensor) -> Any:
        return None, *ctx.team.backward(output_gradient)


def _shared(workload: Workload) -> mate.Shared:
    """Memory for the values of a workload whose heads of keys were repeated."""
    b, h, lq, lkv = workload.batch, workload.heads, workload.q_len, workload.kv_len
    d, dv = workload.head_dim, workload.v_head_dim

    def room(length: int, width: int) -> Tensor:
        shape, dtype = (b, h, length, width), workload.torch_dtype
        # Anonymous: /dev/shm, where torch would put it, is small in many a container.
        memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
        return torch.frombuffer(memory, dtype=dtype).view(shape)

    def inputs() -> tuple[Tensor, Tensor, Tensor]:
        return room(lq, d), room(lkv, d), room(lkv, dv)

    return mate.Shared(inputs(), room(lq, dv), room(lq, dv), inputs())


def _ended(code: int) -> str:
    return f"was killed by {signal_name(-code)}" if code < 0 else f"exited with code {code}"


def _cpus() -> list[int]:
    """CPUs for workers: this process may be pinned to as many as it has threads, its parent not."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    return sorted(os.sched_getaffinity(0) | os.sched_getaffinity(os.getppid()))


def _end(pipes: list[Connection], processes: list[BaseProcess], folder: str) -> None:
    """Close the pipes, kill what does not wait for them, and reap all."""
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.kill()
        process.join()
    shutil.rmtree(folder, ignore_errors=True)

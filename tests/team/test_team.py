"""Teams: workers that compute together, what they say of a call, and how they end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from harness.device import CpuDevice
from harness.team import Link, Team, WorkerDiedError
from harness.workload import Workload
from tests.build import workload

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
CASE = workload(
    pass_="forward+backward", heads=1, q_len=6, head_dim=4, threads=1, dtype="float32"
)  # fmt: skip
ROWS = (torch.tensor([0, 3, 4]), torch.tensor([1, 2, 5]))


def team(part: Callable[[Link], Attend], case: Workload = CASE) -> Team:
    return Team(part, ROWS, case)


def inputs() -> tuple[Tensor, ...]:
    return tuple(torch.randn(1, 1, 6, 4).requires_grad_() for _ in range(3))


def scaled(link: Link) -> Attend:
    """(rank + 2) v: each worker's own rows show who computed them."""
    return lambda q, k, v: (link.rank + 2) * v + 0 * (q + k)


def by_rank(of_first: float, of_second: float) -> Tensor:
    found = torch.empty(1, 1, 6, 1)
    for rows, value in zip(ROWS, (of_first, of_second), strict=True):
        found[:, :, rows] = value
    return found


def test_each_worker_has_its_rows() -> None:
    q, k, v = inputs()
    out = team(scaled)(q, k, v)
    torch.testing.assert_close(out, by_rank(2, 3) * v)
    gradient = torch.randn_like(out)
    dq, _, dv = torch.autograd.grad(out, (q, k, v), gradient)
    torch.testing.assert_close(dv, by_rank(2, 3) * gradient)
    assert not dq.any()


def test_an_output_is_not_changed_by_the_next_call() -> None:
    together = team(scaled)
    first = together(*inputs())
    before = first.detach().clone()
    together(*inputs())
    assert torch.equal(first, before)


def test_what_is_sent_is_counted() -> None:
    def part(link: Link) -> Attend:
        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            other = torch.empty_like(v)
            link.shift([v.detach()], [other]).wait()
            return v + 0 * (q + k) + other

        return attend

    together = team(part)
    q, k, v = inputs()
    out = together(q, k, v)
    swapped = torch.empty_like(v)
    swapped[:, :, ROWS[0]], swapped[:, :, ROWS[1]] = v[:, :, ROWS[1]], v[:, :, ROWS[0]]
    torch.testing.assert_close(out, v + swapped)
    assert together.sent_bytes == 2 * 3 * 4 * 4
    together.reset()
    assert together.sent_bytes == 0


def slow(link: Link) -> Attend:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        time.sleep(0.2 * link.rank)
        return v + 0 * (q + k)

    return attend


def test_the_slowest_worker_is_what_is_timed() -> None:
    together = team(slow)
    together(*inputs())
    # A sleep is never shorter; the host waited for it as well.
    assert together.seconds >= 0.2
    begin = time.perf_counter()
    together.reset()
    together(*inputs())
    assert together.seconds <= time.perf_counter() - begin


def test_peaks_of_memory_are_added() -> None:
    def part(link: Link) -> Attend:
        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            torch.empty(1 << 20, dtype=torch.uint8).zero_()
            return v + 0 * (q + k)

        return attend

    together = team(part, CASE.model_copy(update={"pass_": "forward"}))
    together.profiler = CpuDevice().profile
    with torch.no_grad():
        together(*inputs())
    assert 2 << 20 <= together.peak_bytes < 2.1 * (1 << 20)
    assert together.kernels


def test_what_a_worker_raises_is_told() -> None:
    def part(link: Link) -> Attend:
        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if link.rank == 1:
                raise ValueError("no such block")
            return v

        return attend

    together = team(part)
    with pytest.raises(RuntimeError, match=r"worker 1 of 2: ValueError: no such block"):
        together(*inputs())
    with pytest.raises(RuntimeError, match=r"ended earlier"):
        together(*inputs())


def pids(together: Team) -> Sequence[int]:
    return [process.pid or 0 for process in together._processes]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_that_dies_ends_the_team() -> None:
    def part(link: Link) -> Attend:
        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if link.rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            link.shift([v], [torch.empty_like(v)]).wait()
            return v

        return attend

    together = team(part)
    workers = pids(together)
    with pytest.raises(WorkerDiedError, match=r"worker 1 of 2 was killed by SIGKILL"):
        together(*inputs())
    assert not any(map(alive, workers))


def test_a_team_that_is_let_go_ends_its_workers() -> None:
    together = team(scaled)
    workers = pids(together)
    assert all(map(alive, workers))
    del together
    assert not any(map(alive, workers))

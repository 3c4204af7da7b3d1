"""Schedules on real processes: the plan of each worker, what is sent, what is refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from harness.inputs import make_inputs
from harness.measure.calls import make_buffers, prepare
from harness.schedule import GENERATORS, Schedule
from harness.workload import Workload
from tests.build import workload
from variants.scheduled import Scheduled, ScheduledPolynomial, plan
from variants.ulysses import Ulysses

SIZES = [("ring", 4, 4), ("ring", 6, 3), ("contiguous", 4, 4), ("striped", 12, 3),
         ("zigzag", 8, 4), ("half_fused", 4, 4), ("half_fused", 8, 4), ("half_fused", 10, 5),
         ("causal_half", 8, 4), ("causal_half", 9, 3)]  # fmt: skip


def made(name: str, n: int, m: int) -> Schedule:
    return GENERATORS[name](n, m)


@pytest.mark.parametrize(("name", "n", "m"), SIZES)
def test_every_pair_is_worked_on_once(name: str, n: int, m: int) -> None:
    schedule = made(name, n, m)
    found = Counter(
        step.pair for own in plan.steps(schedule, sums=True) for step in own if step.pair
    )
    asked = {
        "general": {(i, j) for i in range(n) for j in range(n)},
        "causal": {(i, j) for i in range(n) for j in range(i + 1)},
        "symmetric": {(i, j) for i in range(n) for j in range(i + 1)},
    }[schedule.scheme]
    if schedule.scheme == "symmetric":
        found = Counter((max(pair), min(pair)) for pair in found.elements())
    assert found == Counter(dict.fromkeys(asked, 1))


class Walk:
    """Workers going through their steps, each send received by the next worker in order."""

    def __init__(self, schedule: Schedule) -> None:
        self.m, self.steps = schedule.elements, plan.steps(schedule, sums=True)
        self.here = [set(schedule.owned(p)) for p in range(self.m)]
        self.terms: list[Counter[int]] = [Counter() for _ in range(self.m)]
        self.sent: list[list[tuple[list[int], list[int], list[int]]]] = [[] for _ in range(self.m)]

    def run(self) -> None:
        at, begun = [0] * self.m, [-1] * self.m
        while working := [p for p in range(self.m) if at[p] < len(self.steps[p])]:
            for p in working:
                if begun[p] < at[p]:
                    self.begin(p, self.steps[p][at[p]])
                    begun[p] = at[p]
            ready = [p for p in working if self.can_end(p, self.steps[p][at[p]])]
            assert ready, "every worker waits for another"
            for p in ready:
                self.end(p, self.steps[p][at[p]])
                at[p] += 1

    def begin(self, p: int, step: plan.Step) -> None:
        assert set(step.given) <= self.here[p]
        if step.given or step.sums_given:
            counted = [self.terms[p].pop(block) for block in step.sums_given]
            self.sent[p].append((step.given, step.sums_given, counted))
        if step.pair is not None:
            assert set(step.pair) <= self.here[p]
            self.terms[p].update(set(step.pair))

    def can_end(self, p: int, step: plan.Step) -> bool:
        return not (step.taken or step.sums_taken) or bool(self.sent[p - 1])

    def end(self, p: int, step: plan.Step) -> None:
        if step.taken or step.sums_taken:
            given, sums_given, counted = self.sent[p - 1].pop(0)
            assert (given, sums_given) == (step.taken, step.sums_taken)
            self.here[p] |= set(given)
            self.terms[p].update(dict(zip(sums_given, counted, strict=True)))
        self.here[p] -= set(step.dropped)


@pytest.mark.parametrize(("name", "n", "m"), SIZES)
def test_blocks_are_where_they_are_used_and_sums_come_home(name: str, n: int, m: int) -> None:
    schedule = made(name, n, m)
    walk = Walk(schedule)
    walk.run()
    home = [set(schedule.owned(p)) for p in range(m)]
    assert walk.here == home
    worked = Counter(b for own in walk.steps for s in own if s.pair for b in set(s.pair))
    assert {b: walk.terms[p][b] for p in range(m) for b in home[p]} == worked


@pytest.mark.parametrize("name", ["ring", "striped", "zigzag", "causal_half", "half_fused"])
@pytest.mark.parametrize("cls", [Scheduled, ScheduledPolynomial])
def test_bytes_are_those_of_the_schedule(cls: Any, name: str) -> None:
    op = cls(workers=3, schedule=name)
    for pass_ in ("forward", "forward+backward"):
        case = workload(
            pass_=pass_, heads=2, q_len=50, head_dim=8, v_head_dim=6, mask="causal", threads=1,
            shared="qk",
        )  # fmt: skip
        buffers = make_buffers(case, make_inputs(case), torch.randn(1, 2, 50, 6))
        call = prepare(op, case, case.build_mask(), buffers)
        call.run()
        assert call.team is not None
        assert call.team.sent_bytes == op.sent_bytes(case)


@pytest.mark.parametrize("pass_", ["forward", "forward+backward"])
def test_bytes_of_heads_swapped_for_rows(pass_: str) -> None:
    op = Ulysses(workers=3)
    case = workload(pass_=pass_, heads=6, q_len=50, head_dim=8, v_head_dim=6, threads=1)
    buffers = make_buffers(case, make_inputs(case), torch.randn(1, 6, 50, 6))
    call = prepare(op, case, case.build_mask(), buffers)
    call.run()
    assert call.team is not None
    assert call.team.sent_bytes == op.sent_bytes(case)


@pytest.mark.parametrize("pass_", ["forward", "backward", "forward+backward"])
def test_flops_are_those_of_the_busiest_worker(pass_: str) -> None:
    case = workload(pass_=pass_, heads=2, q_len=64, head_dim=8, mask="causal", threads=1)
    ring, last = Scheduled(workers=2).cost(case).flops, Scheduled(workers=2, schedule="zigzag")
    pair = 2 * 2 * 32 * 32 * 8
    products = {"forward": 2, "backward": 5, "forward+backward": 7}[pass_]
    # The second worker has a pair on the diagonal and one below; the first has one.
    assert ring == 2 * pair * products
    # Of quarters: each worker has two on the diagonal and three below.
    assert last.cost(case).flops == 5 * (pair // 4) * products


def test_each_worker_of_ulysses_has_its_heads() -> None:
    case = workload(heads=4, q_len=64, head_dim=8, threads=1)
    one = case.model_copy(update={"heads": 2, "kv_heads": 2})
    assert Ulysses(workers=2).cost(case).flops == one.flops()


def test_a_ring_sends_keys_and_values_all_but_once_round() -> None:
    case = workload(heads=2, q_len=48, head_dim=8, v_head_dim=6, threads=1)
    assert Scheduled(workers=4).sent_bytes(case) == 3 * 48 * 2 * (8 + 6) * 4
    words = plan.travelling(made("ring", 4, 4))
    assert words == 3 * 4


@pytest.mark.parametrize(
    ("fields", "params", "reason"),
    [
        ({"threads": 2}, {}, "threads=2; write threads: 1 and more workers"),
        ({"kv_len": 40}, {}, "q_len=32, kv_len=40; make them equal"),
        ({}, {"schedule": "zigzag"}, "mask=none; write mask: causal, or schedule=ring"),
        ({}, {"schedule": "half_fused"}, "write shared: qk in the workload"),
        ({"q_len": 3}, {"workers": 4}, "it has 4 blocks: q_len=3; write 4 or more"),
        ({"compile": True}, {}, "no one program to compile"),
        ({"heads": 4, "kv_heads": 2}, {}, "heads=4, kv_heads=2; leave kv_heads out"),
    ],
)
def test_refusals(fields: dict[str, Any], params: dict[str, Any], reason: str) -> None:
    asked: Workload = workload(**{"q_len": 32, "threads": 1, **fields})
    found = Scheduled(**params).unsupported(asked)
    assert found is not None
    assert reason in found


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"workers": 0}, "workers must be at least 1: workers=0; write 2 or more"),
        ({"schedule": "zigzag", "parts": 3}, "parts=3; write 4 or leave parts out"),
        ({"parts": 0}, "parts=0; write 2 or leave parts out"),
    ],
)
def test_wrong_parameters(params: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Scheduled(**params)

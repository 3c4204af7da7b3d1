"""Replayed with numbers every schedule computes plain attention."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from harness.errors import ScheduleError
from harness.schedule import GENERATORS, SCORES, Schedule, replay
from harness.schedule.replaying import Mechanism

SIZES = [(1, 1), (5, 1), (2, 2), (7, 7), (8, 8), (6, 2), (10, 2), (9, 3), (12, 4), (15, 5), (12, 6)]
EVEN = [(2, 1), (10, 1), (4, 2), (12, 2), (12, 3), (16, 4), (14, 7)]
CASES = [(name, n, m) for name in GENERATORS for n, m in (EVEN if name == "zigzag" else SIZES)]
MECHANISMS: tuple[Mechanism, ...] = ("softmax", "polynomial")


def _inputs(schedule: Schedule, d: int = 4, dv: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(schedule.vectors)
    n = schedule.vectors
    q, k = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    if schedule.scheme == "symmetric":
        return q, q, q
    return q, k, torch.randn(n, dv, generator=generator, dtype=torch.float64)


def _plain(
    schedule: Schedule, q: Tensor, k: Tensor, v: Tensor, mechanism: str, scale: float, degree: int
) -> Tensor:
    scores = q @ k.mT * scale
    weights = scores.exp() if mechanism == "softmax" else scores**degree
    if schedule.scheme == "causal":
        weights = weights.tril()
    if mechanism == "softmax":
        weights = weights / weights.sum(1, keepdim=True)
    return weights @ v


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize(("name", "n", "m"), CASES)
def test_a_replay_is_plain_attention(name: str, n: int, m: int, mechanism: Mechanism) -> None:
    schedule = GENERATORS[name](n, m)
    q, k, v = _inputs(schedule)
    out = replay(schedule, q, k, v, mechanism=mechanism)
    assert out.shape == v.shape
    assert out.dtype == torch.float64
    plain = _plain(schedule, q, k, v, mechanism, 0.5, 3)
    torch.testing.assert_close(out, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_scale_and_degree_are_taken(mechanism: Mechanism) -> None:
    schedule = GENERATORS["causal_half"](6, 3)
    q, k, v = _inputs(schedule)
    out = replay(schedule, q, k, v, mechanism=mechanism, scale=0.3, degree=2)
    plain = _plain(schedule, q, k, v, mechanism, 0.3, 2)
    torch.testing.assert_close(out, plain, rtol=1e-12, atol=1e-12)
    other = replay(schedule, q, k, v, mechanism=mechanism)
    assert (other - out).abs().max() > 1e-3


def test_inputs_of_float32_are_replayed_in_float64_and_not_written() -> None:
    schedule = GENERATORS["ring"](4, 2)
    q, k, v = (one.float() for one in _inputs(schedule))
    before = [one.clone() for one in (q, k, v)]
    out = replay(schedule, q, k, v, mechanism="softmax")
    plain = _plain(schedule, q.double(), k.double(), v.double(), "softmax", 0.5, 3)
    torch.testing.assert_close(out, plain, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(one, old) for one, old in zip((q, k, v), before, strict=True))


def test_a_schedule_that_breaks_a_rule_is_not_replayed() -> None:
    schedule = GENERATORS["ring"](4, 2)
    silent = dataclasses.replace(schedule, sends=(((), ()),) * schedule.cycles)
    with pytest.raises(ScheduleError, match="needs k2, but k2 is not held there"):
        replay(silent, *_inputs(schedule), mechanism="softmax")


def test_scores_alone_are_not_replayed() -> None:
    schedule = SCORES["ring"](4, 2)
    with pytest.raises(ScheduleError) as refused:
        replay(schedule, *_inputs(schedule), mechanism="softmax")
    assert str(refused.value) == (
        "schedule ring computes the scores alone: complete=False; replay one that is complete"
    )


def test_an_unknown_mechanism_is_refused() -> None:
    schedule = GENERATORS["ring"](4, 2)
    with pytest.raises(
        ScheduleError, match=r"^no such mechanism: 'sofmax'; did you mean softmax\?$"
    ):
        replay(schedule, *_inputs(schedule), mechanism=cast(Any, "sofmax"))


@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 4), (4, 4), (4, 4)),
        ((4, 4), (4, 5), (4, 4)),
        ((4, 4), (4, 4), (3, 4)),
        ((4,), (4,), (4, 4)),
        ((4, 4), (4, 4), (4,)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    schedule = GENERATORS["ring"](4, 2)
    q, k, v = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ScheduleError) as refused:
        replay(schedule, q, k, v, mechanism="softmax")
    assert str(refused.value) == (
        f"q and k must be of shape (4, d) and v of (4, dv): q {shapes[0]}, k {shapes[1]}, "
        f"v {shapes[2]}; the schedule has 4 vectors"
    )


@pytest.mark.parametrize("changed", [1, 2])
def test_a_symmetric_schedule_takes_one_tensor_for_all_three(changed: int) -> None:
    schedule = GENERATORS["half_ring"](4, 2)
    inputs = list(_inputs(schedule))
    inputs[changed] = inputs[changed] + 1
    q, k, v = inputs
    with pytest.raises(ScheduleError, match=r"^a symmetric schedule has one tensor for q, k and v"):
        replay(schedule, q, k, v, mechanism="softmax")

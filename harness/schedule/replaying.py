"""Replay a schedule with numbers: what each element computes and sends, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from harness.errors import ScheduleError, suggest
from harness.schedule.model import (
    Item,
    Operation,
    Reads,
    Schedule,
    owned_kinds,
    score_pair,
)
from harness.schedule.simulate import simulate

Mechanism = Literal["softmax", "polynomial"]


def replay(
    schedule: Schedule,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mechanism: Mechanism,
    scale: float | None = None,
    degree: int = 3,
) -> Tensor:
    """Compute attention as a schedule does, every value at the element that holds it.

    softmax: sum_j e_ij v_j / sum_j e_ij with e_ij = exp(scale q_i . k_j), both sums carried with
    each partial sum and divided at the end. polynomial: sum_j (scale q_i . k_j)^degree v_j.
    q, k: (n, d); v: (n, dv); out: (n, dv), float64. scale: 1 / sqrt(d) unless given.
    ScheduleError: what simulate refuses, a schedule of scores alone, shapes that do not fit, an
    unknown mechanism, or q, k and v that differ where the scheme is symmetric.
    """
    _check(schedule, q, k, v, mechanism)
    simulate(schedule)
    factor = q.shape[1] ** -0.5 if scale is None else scale
    elements = _Elements(schedule, (q.double(), k.double(), v.double()), mechanism, factor, degree)
    for operations, sends in zip(schedule.operations, schedule.sends, strict=True):
        arriving = elements.send(sends)
        for element, operation in enumerate(operations):
            if operation is not None:
                elements.operate(element, operation)
        elements.land(arriving)
    return elements.output()


def _check(schedule: Schedule, q: Tensor, k: Tensor, v: Tensor, mechanism: str) -> None:
    known = get_args(Mechanism)
    if mechanism not in known:
        raise ScheduleError(f"no such mechanism: {mechanism!r}; {suggest(mechanism, known)}")
    if not schedule.complete:
        raise ScheduleError(
            f"schedule {schedule.name} computes the scores alone: complete=False; "
            "replay one that is complete"
        )
    n = schedule.vectors
    if q.dim() != 2 or q.shape != k.shape or v.dim() != 2 or {len(q), len(v)} != {n}:
        raise ScheduleError(
            f"q and k must be of shape ({n}, d) and v of ({n}, dv): q {tuple(q.shape)}, "
            f"k {tuple(k.shape)}, v {tuple(v.shape)}; the schedule has {n} vectors"
        )
    if schedule.scheme == "symmetric" and not (torch.equal(q, k) and torch.equal(k, v)):
        raise ScheduleError(
            "a symmetric schedule has one tensor for q, k and v: they differ; pass the same three "
            "times, or use a general or causal schedule"
        )


@dataclass
class _Sum:
    """sum_j w_ij v_j and sum_j w_ij of some of the j."""

    values: Tensor
    weights: Tensor

    def add(self, other: _Sum) -> None:
        self.values = self.values + other.values
        self.weights = self.weights + other.weights


Value = Tensor | _Sum


class _Elements:
    """What each element holds: vectors, scores and sums, as numbers."""

    def __init__(
        self,
        schedule: Schedule,
        inputs: tuple[Tensor, Tensor, Tensor],
        mechanism: Mechanism,
        scale: float,
        degree: int,
    ) -> None:
        self._schedule = schedule
        self._reads = Reads(schedule.vectors, schedule.scheme)
        self._mechanism = mechanism
        self._scale = scale
        self._degree = degree
        count = range(schedule.elements)
        self._held: list[dict[Item, Tensor]] = [{} for _ in count]
        self._partial: list[dict[int, _Sum]] = [{} for _ in count]
        width = inputs[2].shape[1]
        self._home = [self._nothing(width) for _ in schedule.owner]
        self._width = width
        for i, owner in enumerate(schedule.owner):
            for kind, rows in zip(owned_kinds(schedule.scheme), inputs, strict=False):
                self._held[owner][Item(kind, i, i)] = rows[i]

    @staticmethod
    def _nothing(width: int) -> _Sum:
        return _Sum(torch.zeros(width, dtype=torch.float64), torch.zeros((), dtype=torch.float64))

    def send(self, sends: tuple[tuple[Item, ...], ...]) -> list[tuple[int, Item, Value]]:
        """What is under way: a sum leaves, all else is copied."""
        arriving: list[tuple[int, Item, Value]] = []
        for element, items in enumerate(sends):
            following = (element + 1) % self._schedule.elements
            for item in items:
                if item.kind == "partial":
                    arriving.append((following, item, self._partial[element].pop(item.i)))
                else:
                    key = self._score(item.i, item.j) if item.kind == "score" else item
                    arriving.append((following, key, self._held[element][key]))
        return arriving

    def land(self, arriving: list[tuple[int, Item, Value]]) -> None:
        """What was under way is held."""
        for element, item, value in arriving:
            if isinstance(value, _Sum):
                self._partial[element][item.i] = value
            else:
                self._held[element][item] = value

    def operate(self, element: int, operation: Operation) -> None:
        """One operation on what the element holds."""
        kind, i, j = operation
        if kind == "merge":
            self._home[i].add(self._partial[element].pop(i))
            return
        held = self._held[element]
        read = [held[item] for item in self._reads.of(operation)]
        if kind == "score":
            held[self._score(i, j)] = read[0] @ read[1]
            return
        weight = self._weight(held[self._score(i, j)])
        if self._schedule.owner[i] == element:
            total = self._home[i]
        else:
            total = self._partial[element].setdefault(i, self._nothing(self._width))
        total.add(_Sum(weight * read[0], weight))

    def output(self) -> Tensor:
        """The sums at home, divided by their weights for softmax."""
        values = torch.stack([total.values for total in self._home])
        if self._mechanism == "polynomial":
            return values
        return values / torch.stack([total.weights for total in self._home])[:, None]

    def _score(self, i: int, j: int) -> Item:
        return Item("score", *score_pair(i, j, self._schedule.scheme))

    def _weight(self, score: Tensor) -> Tensor:
        scaled = score * self._scale
        return scaled.exp() if self._mechanism == "softmax" else scaled**self._degree

"""Which rounds are marked as throttled, and when the clocks are read."""

from __future__ import annotations

from typing import cast

import pytest

from harness.device import CpuDevice
from harness.device.protocol import Clocks
from harness.measure.calls import Call
from harness.measure.latency import Entrant
from harness.measure.throttling import ThrottleWatch


class Throttling(CpuDevice):
    """A device that tells why its clock is held back, and counts how often it is asked."""

    def __init__(self, reasons: tuple[str, ...] | None) -> None:
        self.reasons, self.asked = reasons, 0

    def clocks(self) -> Clocks:
        self.asked += 1
        return Clocks(1000.0, self.reasons)


@pytest.fixture
def entrants() -> list[Entrant]:
    return [Entrant(name, cast(Call, None)) for name in ("softmax", "sdpa")]


def timed_call(watch: ThrottleWatch, entrant: Entrant, index: int, *, checked: bool) -> None:
    """What a race does around one timed call."""
    watch(index)
    entrant.rounds.append(1.0)
    if checked:
        watch(index)
    watch(-1)


def test_the_round_that_was_held_back_is_marked_once(entrants: list[Entrant]) -> None:
    device, named = Throttling(()), list[int]()
    watch = ThrottleWatch(device, entrants, named.append)
    for number in range(4):
        for index, entrant in enumerate(entrants):
            device.reasons = ("power cap",) if (number, index) in ((1, 1), (3, 0), (3, 1)) else ()
            timed_call(watch, entrant, index, checked=number % 2 == 1)
    assert watch.rounds == [[3], [1, 3]]
    assert named[:4] == [0, -1, 1, -1]
    assert device.asked == 1 + 8


def test_warm_up_and_what_is_no_call_are_not_marked(entrants: list[Entrant]) -> None:
    device = Throttling(("power cap",))
    watch = ThrottleWatch(device, entrants, lambda index: None)
    for index in (0, -1, 1, -1, -1):
        watch(index)
    assert watch.rounds == [[], []]
    assert device.asked == 1


def test_a_device_that_does_not_tell_is_asked_once(entrants: list[Entrant]) -> None:
    device = Throttling(None)
    watch = ThrottleWatch(device, entrants, lambda index: None)
    timed_call(watch, entrants[0], 0, checked=True)
    assert (device.asked, watch.rounds) == (1, [[], []])


def test_the_clock_is_read_before_a_long_check(entrants: list[Entrant]) -> None:
    device = Throttling(("power cap",))
    watch = ThrottleWatch(device, entrants, lambda index: None)
    watch(0)
    entrants[0].rounds.append(1.0)
    watch(0)  # the call is over, its output is about to be checked
    device.reasons = ()
    watch(-1)
    assert watch.rounds[0] == [0]

"""Which timed rounds a device held its clock back in, read between calls, never within one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.device import Device
from harness.measure.latency import Entrant


class ThrottleWatch:
    """Stands before a race's `running`, and reads the device's clocks after each timed call.

    rounds[i]: indices of the rounds of entrant i whose clock was held back. A device that does
    not tell, as a CPU, is asked once.
    """

    def __init__(
        self, device: Device, entrants: Sequence[Entrant], running: Callable[[int], None]
    ) -> None:
        self._device, self._entrants, self._running = device, entrants, running
        self._tells = device.clocks().throttled is not None
        self._called = -1
        self._seen = [len(entrant.rounds) for entrant in entrants]
        self.rounds: list[list[int]] = [[] for _ in entrants]

    def __call__(self, index: int) -> None:
        """Tell who is running; where a timed call has just ended, whether it was held back."""
        if self._tells and self._called >= 0:
            self._look(self._called)
        self._called = index
        self._running(index)

    def _look(self, index: int) -> None:
        rounds = len(self._entrants[index].rounds)
        if rounds > self._seen[index] and self._device.clocks().throttled:
            self.rounds[index].append(rounds - 1)
        self._seen[index] = rounds

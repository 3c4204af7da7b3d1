"""What is looked at around a call of a race, so that what was timed is the work itself.

All of it lies outside of the timed region, and all but a comparison of settings in a few rounds
only: at the start, before each look, and at random ones.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from time import sleep
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.measure.calls import Produced
from harness.measure.kernels import CompileWatch
from harness.measure.process import GlobalGenerators, ProcessSettings

if TYPE_CHECKING:
    from harness.measure.latency import Entrant

# Bound before any variant is loaded: one may replace torch.clone or time.sleep.
_clone, _sleep, _equal, _bytes_at = torch.clone, sleep, torch.equal, ctypes.string_at
UNINTERRUPTED_BYTES = 64 << 20
LEAST_WAIT_S, MOST_WAIT_S = 0.001, 0.02
HELD_BYTES = 256 << 20
"""What entrants' outputs may take that are kept until their next call, all together."""
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_RETURNED = "its output still changed after the call had returned; wait for the work in the call"
_SHARED = (
    "returns the same memory at every call, so that the next call overwrites what this one gave; "
    "return a tensor of its own"
)

Fault = tuple[str, str]
"""(status, reason)"""


@dataclass(frozen=True)
class Care:
    """How closely a call is looked at.

    checked: what it produced is judged, as it was when the call returned, and its inputs must be
    unchanged. searched: nor may it have replaced any function or drawn a global random number.
    awaited: its output is compared once more a moment later. held: and when it is called again.
    apart: it is called once more, which is not timed, where its gradients are known whole.
    """

    checked: bool = False
    searched: bool = False
    awaited: bool = False
    held: bool = False
    apart: bool = False


@dataclass
class _Taken:
    """What a call gave, and copies made the moment it returned."""

    live: list[Tensor] = field(default_factory=list)
    copies: list[Tensor] = field(default_factory=list)
    refused: str | None = None
    """Why something that was given is no tensor whose values are there."""

    def take(self, given: Any) -> Any:
        """The same with every tensor copied."""
        if isinstance(given, tuple):
            return tuple([self.take(one) for one in given])
        if not isinstance(given, Tensor):
            return given
        if type(given) is not Tensor:
            self.refused = (
                f"returned {type(given).__name__}, a subclass of torch.Tensor that may not have "
                "been computed yet; return a plain torch.Tensor"
            )
            return given
        copy = _copy(given)
        self.live.append(given)
        self.copies.append(copy)
        return copy

    def changed(self, but: Collection[int] = ()) -> bool:
        """True when what was given is no longer what it was; `but`: addresses left out."""
        pairs = zip(self.live, self.copies, strict=True)
        return not all(
            _equal(_bits(live), _bits(copy)) for live, copy in pairs if _address(live) not in but
        )

    def changes_within(self, seconds: float) -> bool:
        """Wait for a change, at most so long: why a wrong output is wrong."""
        for _ in range(int(seconds / LEAST_WAIT_S)):
            _sleep(LEAST_WAIT_S)
            if self.changed():
                return True
        return False


@dataclass
class Inspector:
    """Looks at the calls of a race; gives the status and the reason of what is wrong with one.

    value(entrant, produced, draw): why it is not the right answer to this draw. written(draw):
    which inputs are no longer those of the draw. inputs: their buffers, which a result may share.
    """

    value: Callable[[Entrant, Produced, int], str | None]
    written: Callable[[int], str | None]
    inputs: tuple[Tensor, ...] = ()
    settings: ProcessSettings = field(default_factory=ProcessSettings)
    compiler: CompileWatch = field(default_factory=CompileWatch)
    generators: GlobalGenerators = field(default_factory=GlobalGenerators)
    _held: dict[str, _Taken] = field(default_factory=dict, init=False)

    def before(self, care: Care) -> None:
        """To be called right before a call."""
        if care.searched:
            self.generators.mark()

    def after(
        self, entrant: Entrant, result: Any, draw: int, seconds: float, care: Care
    ) -> Fault | None:
        """To be called right after a call that took `seconds`: what is wrong with it."""
        if not care.checked and entrant.name not in self._held:
            return self._process(entrant, care)
        # Copied before all else: what is not there yet must not have the time to come.
        taken = _Taken()
        copied = taken.take(result)
        fault = self._process(entrant, care)
        if fault is None and taken.refused is not None:
            fault = _incorrect(taken.refused)
        if fault is None:
            fault = self._shared(entrant.name, taken)
        if fault is not None or not care.checked:
            return fault
        fault = self._judged(entrant, entrant.call.produced(copied), draw, care)
        if care.awaited:
            _sleep(min(max(seconds, LEAST_WAIT_S), MOST_WAIT_S))
        if taken.changed() or (fault is not None and taken.changes_within(MOST_WAIT_S)):
            return _incorrect(_RETURNED)
        if care.held and fault is None:
            self._hold(entrant.name, taken)
        return fault

    def process(self, *, searched: bool) -> Fault | None:
        """What the last call did to the process, put back; where it fell back to eager."""
        changed = self.settings.restore() if searched else self.settings.restore_often()
        if changed is not None:
            return "error", changed
        fell_back = self.compiler.fell_back()
        return None if fell_back is None else ("fallback", f"while racing: {fell_back}")

    def _process(self, entrant: Entrant, care: Care) -> Fault | None:
        fault = self.process(searched=care.searched)
        anew = self.compiler.compiled_anew(entrant.name)
        return fault or (None if anew is None else ("fallback", f"while racing: {anew}"))

    def forget(self) -> None:
        """Let go of all outputs that are held."""
        self._held.clear()

    def _judged(self, entrant: Entrant, produced: Produced, draw: int, care: Care) -> Fault | None:
        drawn = self.generators.drawn() if care.searched else None
        if drawn is not None:
            return "error", drawn
        written = self.written(draw)
        if written is not None:
            return "incorrect", f"it writes its inputs: {written} changed; work on a copy"
        wrong = self.value(entrant, produced, draw)
        # A definition is the variant's own code, too.
        changed = self.settings.restore_often()
        if changed is not None:
            return "error", f"its definition {changed}"
        return None if wrong is None else _incorrect(wrong)

    def _shared(self, name: str, taken: _Taken) -> Fault | None:
        """What is wrong with the output that was held until this call."""
        earlier = self._held.pop(name, None)
        if earlier is None:
            return None
        # A result may be a view of its inputs, which we overwrite ourselves.
        inputs = {_address(tensor) for tensor in self.inputs}
        now = {_address(tensor) for tensor in taken.live} - inputs
        if any(_address(tensor) in now for tensor in earlier.live if tensor.numel()):
            return _incorrect(_SHARED)
        return _incorrect(_RETURNED) if earlier.changed(but=inputs) else None

    def _hold(self, name: str, taken: _Taken) -> None:
        held = [copy for one in (*self._held.values(), taken) for copy in one.copies]
        if 2 * sum(copy.numel() * copy.element_size() for copy in held) <= HELD_BYTES:
            self._held[name] = taken


def _incorrect(wrong: str) -> Fault:
    return "incorrect", f"a timed call was wrong: {wrong}"


def _bits(tensor: Tensor) -> Tensor:
    # By bits, since padded rows may hold NaN, which equals nothing.
    return tensor.detach().view(_BITS[tensor.element_size()])


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _copy(tensor: Tensor) -> Tensor:
    """A copy of what is in a tensor now.

    torch lets other threads run while it copies, and one that was to deliver the result would
    do so first; on the CPU, small tensors are copied without.
    """
    if tensor.device.type != "cpu" or not tensor.numel():
        return _clone(tensor.detach())
    shape, strides = tensor.shape, tensor.stride()
    steps = sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + 1
    if steps * tensor.element_size() > UNINTERRUPTED_BYTES:
        return _clone(tensor.detach())
    content = bytearray(_bytes_at(tensor.data_ptr(), steps * tensor.element_size()))
    return torch.frombuffer(content, dtype=tensor.dtype).as_strided(shape, strides)

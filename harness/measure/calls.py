"""A variant bound to a workload: what is prepared, what is timed, what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad  # by name: a call may replace it and put it back unseen

from harness.device import Device, Timing
from harness.mask import Mask
from harness.team import Team
from harness.variant import AttentionOp, Recurrence, repeated, repeating
from harness.workload import Workload


@dataclass(frozen=True)
class Produced:
    """What one call gave: the output, and the gradients of q, k and v where the pass has them."""

    output: Tensor | None
    gradients: tuple[Tensor, ...] = ()


@dataclass
class Buffers:
    """q, k, v and the gradient of the output: one set, which every variant of a block reads."""

    q: Tensor
    k: Tensor
    v: Tensor
    output_gradient: Tensor | None = None

    def write(self, inputs: tuple[Tensor, ...], output_gradient: Tensor | None = None) -> None:
        """Copy new values in; addresses stay."""
        with torch.no_grad():
            for buffer, values in zip((self.q, self.k, self.v), inputs, strict=True):
                buffer.copy_(values)
            if self.output_gradient is not None and output_gradient is not None:
                self.output_gradient.copy_(output_gradient)


def make_buffers(
    workload: Workload, inputs: tuple[Tensor, ...], output_gradient: Tensor | None = None
) -> Buffers:
    """Buffers that hold copies of these values, with gradients where the pass asks for them."""
    q, k, v = (tensor.clone().requires_grad_(workload.has_gradients) for tensor in inputs)
    gradient = None if output_gradient is None else output_gradient.clone()
    return Buffers(q, k, v, gradient)


@dataclass
class Call:
    """One variant on one workload, ready to be called on `buffers`."""

    op: AttentionOp
    workload: Workload
    buffers: Buffers
    attend: Callable[..., Any]
    parameters: tuple[Tensor, ...] = ()
    recurrence: Recurrence | None = None
    team: Team | None = None
    _kept: Any = field(default=None, repr=False)

    def before(self) -> None:
        """What the pass needs and does not time: backward's forward, a decode state's prefill."""
        b = self.buffers
        if self.workload.pass_ == "backward":
            self._kept = self.attend(b.q, b.k, b.v)
        elif self.recurrence is not None:
            k, v = self._own_heads(b.k[:, :, :-1], b.v[:, :, :-1])
            with torch.no_grad():
                self._kept = self.recurrence.prefill(k, v)

    def forget(self) -> None:
        """Let go of what `before` kept: freed in the next call, it would lower that one's peak."""
        self._kept = None

    def run(self) -> Any:
        """The call that is timed."""
        b = self.buffers
        if self.workload.pass_ == "backward":
            return self._gradients(self._kept)
        if self.workload.pass_ == "forward+backward":
            output = self.attend(b.q, b.k, b.v)
            return output, self._gradients(output)
        with torch.no_grad():
            if self.recurrence is not None:
                k, v = self._own_heads(b.k[:, :, -1:], b.v[:, :, -1:])
                return self.recurrence.step(b.q, k, v, self._kept)
            return self.attend(b.q, b.k, b.v)

    def time(self, device: Device) -> Timing:
        """Run and time the call; of a team by the clocks of its workers, beside the host's."""
        if self.team is None:
            return device.time(self.run)
        self.team.reset()
        timing = device.time(self.run)
        return replace(timing, seconds=self.team.seconds)

    def produced(self, result: Any) -> Produced:
        """What `run` returned, told apart into output and gradients."""
        if self.workload.pass_ == "backward":
            return Produced(self._kept.detach(), self._of_inputs(result))
        if self.workload.pass_ == "forward+backward":
            return Produced(result[0].detach(), self._of_inputs(result[1]))
        return Produced(result)

    def _own_heads(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return (k, v) if self.op.grouped else repeated(k, v, self.workload.groups)

    def _of_inputs(self, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Gradients of q, k and v; of those that are not read they are 0, and were not timed."""
        b, read = self.buffers, self.op.sources
        return (*gradients[:read], *(torch.zeros_like(t) for t in (b.q, b.k, b.v)[read:]))

    def _gradients(self, output: Tensor) -> tuple[Tensor, ...]:
        b = self.buffers
        return grad(
            output,
            (*(b.q, b.k, b.v)[: self.op.sources], *self.parameters),
            b.output_gradient,
            allow_unused=True,
            materialize_grads=True,
        )


def prepare(op: AttentionOp, workload: Workload, mask: Mask, buffers: Buffers) -> Call:
    """Bind a variant: its own `prepare`, heads repeated where it takes none grouped, compiling."""
    attend: Callable[..., Any] = op.prepare(workload, mask)
    team = attend if isinstance(attend, Team) else None
    parameters: tuple[Tensor, ...] = ()
    if isinstance(attend, nn.Module):
        attend = attend.to(device=workload.device, dtype=workload.torch_dtype)
        parameters = tuple(attend.parameters()) if workload.has_gradients else ()
    if workload.kv_heads != workload.heads and not op.grouped:
        attend = repeating(attend, workload.groups)
    recurrence = recurrence_of(op, workload, mask)
    if workload.compile:
        mask.settle()
        attend = torch.compile(attend, dynamic=False)
        if recurrence is not None:
            step = torch.compile(recurrence.step, dynamic=False)
            recurrence = replace(recurrence, step=step)
    return Call(op, workload, buffers, attend, parameters, recurrence, team)


def once(call: Call, device: Device) -> tuple[Produced, float, float]:
    """One call with its device's and host's seconds; the untimed part is run before it."""
    call.before()
    timing = call.time(device)
    return call.produced(timing.result), timing.seconds, timing.host_s


def recurrence_of(op: AttentionOp, workload: Workload, mask: Mask) -> Recurrence | None:
    """The state it decodes from; None in other passes, and where it reads keys and values."""
    return op.recurrence(workload, mask) if workload.pass_ == "decode" else None

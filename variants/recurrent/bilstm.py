"""LSTM layers without attention: what attention is weighed against."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from harness import AttentionLayer, Cost, Mask, Workload, register
from variants.recurrent.states import (
    States,
    lengths_of,
    lstm_flops,
    lstm_parameters,
    packed_lengths,
    steps_of,
    unreadable,
)


class Recurrent(AttentionLayer):
    """The states of an LSTM of the layer's width (Hochreiter and Schmidhuber 1997)."""

    family = "lstm"
    directions = 2

    def build(self, workload: Workload, mask: Mask) -> States:
        """One LSTM a direction, each with its share of the width."""
        width = workload.model_dim
        hidden, lengths = width // self.directions, packed_lengths(mask)
        return States(width, hidden, lengths, directions=self.directions)

    def unsupported(self, workload: Workload) -> str | None:
        """Masks that no state can honour, and odd widths."""
        if workload.model_dim % self.directions:
            return f"{self.name} halves the width between two directions: it must be even"
        return unreadable(workload, self.name, causal=self.directions == 1)

    def cost(self, workload: Workload) -> Cost:
        """FLOPs of the gates' products; the products of x alone are counted as projections."""
        width, hidden = workload.model_dim, workload.model_dim // self.directions
        steps = steps_of(workload)
        projections = self.directions * 8 * steps * hidden * width
        return Cost(
            flops=workload.of_pass(self.directions * lstm_flops(steps, width, hidden)),
            projection_flops=workload.of_pass(projections),
            parameters=self.directions * lstm_parameters(width, hidden),
            time_growth=1.0,
            memory_growth=1.0,
        )


@register("bilstm")
@dataclass(frozen=True)
class Bilstm(Recurrent):
    """A bidirectional LSTM, half of the width each way (Graves and Schmidhuber 2005)."""

    def definition(self, module: nn.Module, x: Tensor, context: Tensor, *, mask: Mask) -> Tensor:
        """A step at a time, each way."""
        return _defined(module, x, mask)


@register("lstm")
@dataclass(frozen=True)
class Lstm(Recurrent):
    """An LSTM from left to right, the causal one of the family."""

    directions = 1

    def definition(self, module: nn.Module, x: Tensor, context: Tensor, *, mask: Mask) -> Tensor:
        """A step at a time, from left to right."""
        return _defined(module, x, mask)


def _defined(module: nn.Module, x: Tensor, mask: Mask) -> Tensor:
    assert isinstance(module, States)
    return module.defined(x, lengths_of(mask, len(x)))

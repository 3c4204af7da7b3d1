"""The states of an LSTM over a sequence: PyTorch's kernel, and the same step by step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from harness import Mask, Workload


class States(nn.Module):
    """x (B, L, W) -> the states of an LSTM (B, L, directions * hidden), 0 beyond a sequence's end.

    PyTorch's kernel; sequences of unlike lengths are packed, so that none reads another's padding.
    """

    def __init__(
        self, width: int, hidden: int, lengths: Tensor | None, *, directions: int = 2
    ) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=directions == 2)
        self.lengths = lengths

    def forward(self, x: Tensor) -> Tensor:
        """The states of x."""
        if self.lengths is None:
            states: Tensor = self.lstm(x)[0]
            return states
        packed = pack_padded_sequence(x, self.lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=x.shape[1]
        )
        return states

    def defined(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The same, a step at a time, with the parameters that the kernel has."""
        directions = [_steps(x, lengths, self._weights(""), range(x.shape[1]))]
        if self.lstm.bidirectional:
            backwards = range(x.shape[1] - 1, -1, -1)
            directions.append(_steps(x, lengths, self._weights("_reverse"), backwards))
        return torch.cat(directions, -1)

    def _weights(self, suffix: str) -> tuple[Tensor, ...]:
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        return tuple(getattr(self.lstm, name + suffix) for name in names)


def packed_lengths(mask: Mask) -> Tensor | None:
    """(B) lengths that a kernel is to pack; None where all are the whole, and nothing needs it."""
    return None if mask.lengths is None else mask.lengths.cpu()


def lengths_of(mask: Mask, batch: int) -> Tensor:
    """(B) how long each sequence is: the last position that any of its rows sees."""
    lengths: Tensor = mask.stop.amax(-1).expand(batch)
    return lengths


def _steps(x: Tensor, lengths: Tensor, weights: tuple[Tensor, ...], order: range) -> Tensor:
    """i, f, g, o of x_t W + h W' + b + b'; c = f c + i g, h = o tanh(c) (Gers 2000)."""
    into, back, bias, other = weights
    h = c = x.new_zeros(len(x), back.shape[1])
    states: list[Tensor] = [h] * x.shape[1]
    for t in order:
        i, f, g, o = (x[:, t] @ into.mT + bias + h @ back.mT + other).chunk(4, -1)
        inside = (t < lengths)[:, None]
        cell = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        c = torch.where(inside, cell, c)
        h = torch.where(inside, torch.sigmoid(o) * torch.tanh(cell), h)
        states[t] = torch.where(inside, h, 0.0)
    return torch.stack(states, 1)


def unreadable(workload: Workload, name: str, *, causal: bool = False) -> str | None:
    """Why a recurrent layer cannot read a workload, or None; `causal`: it reads one way."""
    spec = workload.mask_spec
    if workload.height is not None:
        return f"{name} reads sequences, not images; leave height, width and channels out"
    if causal and not spec.causal:
        return f"{name} reads from left to right only; write mask: causal"
    if spec.causal and not causal:
        return f"{name} reads both ways, so that no row is without its future; lstm is causal"
    if spec.window is not None or spec.packed is not None:
        return f"{name} carries its state along the whole sequence: it has no {workload.mask}"
    if workload.dtype == "float16" and workload.device == "cpu":
        return "PyTorch's LSTM has no float16 on the CPU"
    return None


def steps_of(workload: Workload) -> int:
    """Steps of one direction over all sequences, without their padding: it is packed."""
    return int(lengths_of(workload.build_mask("cpu"), workload.batch).sum())


def lstm_flops(steps: int, width: int, hidden: int) -> int:
    """FLOPs forward of one direction: two a multiply-add, four gates of x W and h W' a step."""
    return 8 * steps * hidden * (width + hidden)


def lstm_parameters(width: int, hidden: int) -> int:
    """Parameters of one direction: four gates, PyTorch's two biases each."""
    return 4 * hidden * (width + hidden + 2)

"""Several feature channels, a BiLSTM each, merged by self-attention; inspired by SAMF-BiLSTM."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness import AttentionLayer, Cost, Mask, Workload, register
from variants.recurrent.states import (
    States,
    lengths_of,
    lstm_flops,
    lstm_parameters,
    packed_lengths,
    unreadable,
)


class Channels(nn.Module):
    """y = W_y [mean over c of softmax_c(S S^T / sqrt(W)) S], S (C, W) the channels' states.

    The features of x (B, L, W) are channels side by side, for example word, position and part
    of speech; each has a BiLSTM of its own, whose states W_c brings to the layer's width. At every
    position the channels attend to each other, and the mean of what they find is the output.
    With sentences, the states' means over each sentence are read by another BiLSTM, the document's,
    and every position is given its sentence's.
    """

    def __init__(self, workload: Workload, mask: Mask, channels: int, sentence: int) -> None:
        super().__init__()
        width = workload.model_dim
        self.width, self.sentence = width, sentence
        each = width // channels
        lengths = packed_lengths(mask)
        self.channels = nn.ModuleList(States(each, each // 2, lengths) for _ in range(channels))
        self.widen = nn.ModuleList(nn.Linear(each, width) for _ in range(channels))
        self.out = nn.Linear(width, width)
        self.lengths = lengths_of(mask, workload.batch)
        whole = None if lengths is None else sentences_of(lengths, sentence)
        self.document = States(width, width // 2, whole) if sentence else None

    def forward(self, x: Tensor) -> Tensor:
        """By PyTorch's kernels."""
        parts = x.chunk(len(self.channels), -1)
        states = [channel(part) for channel, part in zip(self.channels, parts, strict=True)]
        merged = self.merged(states)
        if self.document is None:
            return merged
        return self.documented(merged, self.document(self.sentences(merged, self.lengths)))

    def merged(self, states: list[Tensor]) -> Tensor:
        """Self-attention over the channels of every position -> (B, L, W)."""
        wide = torch.stack([w(s) for w, s in zip(self.widen, states, strict=True)], 2)
        weights = (wide @ wide.mT * self.width**-0.5).softmax(-1)
        y: Tensor = self.out((weights @ wide).mean(2))
        return y

    def sentences(self, merged: Tensor, lengths: Tensor) -> Tensor:
        """(B, sentences, W) means over the positions of each sentence that are within."""
        batch, length, width = merged.shape
        count = -(-length // self.sentence)
        positions = torch.arange(count * self.sentence, device=merged.device)
        within = (positions[None] < lengths.to(merged.device)[:, None]).to(merged.dtype)[..., None]
        padded = nn.functional.pad(merged, (0, 0, 0, count * self.sentence - length)) * within
        sums = padded.view(batch, count, self.sentence, width).sum(2)
        counts = within.view(batch, count, self.sentence, 1).sum(2)
        return sums / counts.clamp(min=1.0)

    def documented(self, merged: Tensor, states: Tensor) -> Tensor:
        """Every position with the state of its sentence added."""
        return merged + states.repeat_interleave(self.sentence, 1)[:, : merged.shape[1]]

    def defined(self, x: Tensor, mask: Mask) -> Tensor:
        """Step by step, position by position."""
        each = self.width // len(self.channels)
        states, lengths = [], lengths_of(mask, len(x))
        for number, channel in enumerate(self.channels):
            assert isinstance(channel, States)
            states.append(channel.defined(x[..., number * each : (number + 1) * each], lengths))
        rows = [self.merged([state[:, t : t + 1] for state in states]) for t in range(x.shape[1])]
        merged = torch.cat(rows, 1)
        if self.document is None:
            return merged
        found = self.sentences(merged, lengths)
        states_of_it = self.document.defined(found, sentences_of(lengths, self.sentence))
        return self.documented(merged, states_of_it)


@register("bilstm_channels")
@dataclass(frozen=True)
class BilstmChannels(AttentionLayer):
    """Feature channels with a BiLSTM each, merged by self-attention; inspired by SAMF-BiLSTM.

    After the abstract of Li, Qi, Tang and Yu, Neurocomputing 387 (2020), 63-77: its definitions of
    channels, its equations and its accuracies could not be read, so this is no reproduction.
    sentence: positions a sentence, whose states a second BiLSTM reads, as in the document-level
    SAMF-BiLSTM-D; 0 where there is one sentence.
    """

    family = "lstm"
    channels: int = 2
    sentence: int = 0

    def build(self, workload: Workload, mask: Mask) -> Channels:
        """A BiLSTM a channel, and what merges them."""
        return Channels(workload, mask, self.channels, self.sentence)

    def definition(self, module: nn.Module, x: Tensor, context: Tensor, *, mask: Mask) -> Tensor:
        """The states a step at a time, merged position by position."""
        assert isinstance(module, Channels)
        return module.defined(x, mask)

    def unsupported(self, workload: Workload) -> str | None:
        """Masks that no state can honour, and widths that cannot be shared out."""
        if self.channels < 1 or workload.model_dim % (2 * self.channels):
            return (
                f"{self.channels} channels read both ways need a width that is a multiple of "
                f"{2 * max(1, self.channels)}: heads * head_dim = {workload.model_dim}"
            )
        return unreadable(workload, self.name)

    def cost(self, workload: Workload) -> Cost:
        """The gates' products, the widening, the attention over channels, the output.

        Projections: the products of x with the gates, and the widening and the output.
        """
        w, width, count = workload, workload.model_dim, self.channels
        tokens, each = w.batch * w.q_len, width // count
        lengths = lengths_of(w.build_mask("cpu"), w.batch)
        steps = int(lengths.sum())
        recurrent = 2 * count * lstm_flops(steps, each, each // 2)
        gates = 8 * steps * width * each
        learnt = 2 * count * lstm_parameters(each, each // 2)
        if self.sentence:
            sentences = int(sentences_of(lengths, self.sentence).sum())
            recurrent += 2 * lstm_flops(sentences, width, width // 2)
            gates += 8 * sentences * width * width
            learnt += 2 * lstm_parameters(width, width // 2)
        projections = 2 * tokens * width * (width + width)
        return Cost(
            flops=w.of_pass(recurrent + projections + 4 * tokens * count * count * width),
            projection_flops=w.of_pass(projections + gates),
            parameters=learnt + width * width + count * width + width * (width + 1),
            time_growth=1.0,
            memory_growth=1.0,
        )


def sentences_of(lengths: Tensor, sentence: int) -> Tensor:
    """(B) sentences in so many positions, the last of which may be shorter."""
    return -(-lengths // max(1, sentence))

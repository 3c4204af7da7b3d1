"""The semantic probes of the harness, put to work on any variant; and variants that break them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from harness import Attention, AttentionOp, Mask, Workload, softmax_attention
from harness.device import CpuDevice
from harness.inputs import make_inputs, make_output_gradient
from harness.mask import MaskSpec
from harness.measure.calls import Call, make_buffers, once, prepare
from harness.measure.numerics import judge
from harness.measure.process import GlobalGenerators
from harness.measure.properties import compiled_graphs
from harness.measure.repetition import FirstOutput, RandomStates
from harness.measure.semantics import Probed, Semantics, probe_semantics
from harness.measure.truth import softmax_rows, truth_of

REACHES = 4
"""A seed whose first two draws from torch's generator are above 0.5, where that of 0 is not."""


def call_of(op: AttentionOp, asked: Workload) -> Call:
    """A variant bound to a workload's first values."""
    upstream = None
    if asked.has_gradients:
        upstream = make_output_gradient(asked, torch.arange(asked.q_len))
    return prepare(op, asked, asked.build_mask(), make_buffers(asked, make_inputs(asked), upstream))


def semantics_of(
    op: AttentionOp, asked: Workload, *, passes: bool = True, call: Call | None = None
) -> Semantics:
    """What the probes say of a variant, as a probe's process asks them.

    passes: the gate lets it pass, so that nothing but the probes is left to catch it.
    """
    truth = truth_of(op.definition, asked, softmax_rows(asked, op.rowwise), rowwise=op.rowwise)
    unprepared = RandomStates("cpu")
    call = call or call_of(op, asked)
    uncalled, generators = RandomStates("cpu"), GlobalGenerators()
    produced, *_ = once(call, CpuDevice())
    drew = None if compiled_graphs() else generators.drawn()
    wrong = judge(produced, truth, asked).wrong
    assert (wrong is None) == passes, f"the gate says: {wrong}"
    assert produced.output is not None
    first = FirstOutput.keep(produced.output, truth, asked, drew)
    call.forget()
    uncalled.reseed(REACHES)
    generators.mark()
    second, *_ = once(call, CpuDevice())
    drew = generators.drawn()
    states = (unprepared, uncalled)
    probed = Probed(call, truth, make_inputs(asked), asked.build_mask(), first, states)
    return probe_semantics(probed, second, drew)


class Plain(AttentionOp):
    """Softmax attention without a definition: it is checked against itself."""

    name: ClassVar[str] = "plain"

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        return softmax_attention(q, k, v, mask=mask, scale=scale)


class IgnoresMask(Plain):
    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        return (q @ k.mT * scale).softmax(-1) @ v


class Wider(Plain):
    """Each interval of keys is one key longer, to the right, to the left or both."""

    left: ClassVar[int] = 0
    right: ClassVar[int] = 1

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        wider = mask.altered(
            start=(mask.start - self.left).clamp(min=0),
            stop=(mask.stop + self.right).clamp(max=mask.kv_len),
        )
        return softmax_attention(q, k, v, mask=wider, scale=scale)


class WiderLeft(Wider):
    left: ClassVar[int] = 1
    right: ClassVar[int] = 0


class Drops(Plain):
    """Leaves one term of the mask out."""

    term: ClassVar[str] = "padding"

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        spec = {**vars(mask.spec), self.term: MaskSpec().__getattribute__(self.term)}
        less = Mask(
            MaskSpec(**spec), mask.q_len, mask.kv_len, batch=mask.batch, heads=mask.heads,
            seed=mask.seed, rows=mask.rows,
        )  # fmt: skip
        return softmax_attention(q, k, v, mask=less, scale=scale)


class DropsCausal(Drops):
    term: ClassVar[str] = "causal"


class DropsWindow(Drops):
    term: ClassVar[str] = "window"


class DropsPacked(Drops):
    term: ClassVar[str] = "packed"


class IgnoresScale(Plain):
    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        return softmax_attention(q, k, v, mask=mask, scale=q.shape[-1] ** -0.5)


class BatchNorm(Plain):
    """Keys are normalised over the batch."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        return softmax_attention(q, k - k.mean(0, keepdim=True), v, mask=mask, scale=scale)


class FirstOfBatch(Plain):
    """All sequences but the first see a little of the first one's values."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        return softmax_attention(q, k, v + 0.01 * v[:1], mask=mask, scale=scale)


class Transposed(Plain):
    """Takes grouped heads itself, and reads head h from group h % Hkv instead of h // (H / Hkv)."""

    grouped: ClassVar[bool] = True

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        times = q.shape[1] // k.shape[1]
        k, v = (tensor.repeat(1, times, 1, 1) for tensor in (k, v))
        return softmax_attention(q, k, v, mask=mask, scale=scale)


class FirstGroup(Plain):
    """Takes grouped heads itself, and reads every head from the first group."""

    grouped: ClassVar[bool] = True

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        k, v = (tensor[:, :1].expand(-1, q.shape[1], -1, -1) for tensor in (k, v))
        return softmax_attention(q, k, v, mask=mask, scale=scale)


class TalkingHeads(Plain):
    """Heads are mixed (Shazeer et al. 2020, arXiv:2003.02436), a little."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        out = softmax_attention(q, k, v, mask=mask, scale=scale)
        return out + 0.01 * out.mean(1, keepdim=True)


class SoftmaxOverQueries(Plain):
    """Weights sum to one over the queries: reordering them shows nothing, changing one does."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        return mask.zero((q @ k.mT * scale).softmax(-2)) @ v


class Neighbours(Plain):
    """A query takes a little of the one before it: rows depend on others, and on their order."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        return softmax_attention(q + 0.1 * q.roll(1, 2), k, v, mask=mask, scale=scale)


class PrefixSums(Plain):
    """The mean of v over the attended keys, as a difference of two sums over all before."""

    scaled: ClassVar[bool] = False

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        sums = torch.nn.functional.pad(v.cumsum(-2), (0, 0, 1, 0))
        seen = (mask.stop - mask.start).clamp(min=1)[:, None, :, None]
        return (sums[:, :, mask.stop[0]] - sums[:, :, mask.start[0]]) / seen


class Positional(Plain):
    """Adds a position to the keys itself."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        ramp = torch.linspace(0, 1, k.shape[-2], dtype=k.dtype)[:, None]
        return softmax_attention(q, k + ramp, v, mask=mask, scale=scale)


class Linear(Plain):
    """Linear attention with elu + 1 (Katharopoulos et al. 2020, arXiv:2006.16236): no scale."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        q, k = (torch.nn.functional.elu(tensor) + 1 for tensor in (q, k))
        weights = mask.zero(q @ k.mT)
        return weights @ v / weights.sum(-1, keepdim=True).clamp(min=1e-6)


class Counts(Plain):
    """Keeps a number from call to call."""

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        calls = 0

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            drift = 0.001 * (calls - 1)
            return softmax_attention(q, k, v, mask=mask, scale=workload.scale) + drift

        return attend


class Draws(Plain):
    """Draws numbers from one of the global generators, which its answer depends on or not."""

    source: ClassVar[str] = "torch"
    weight: ClassVar[float] = 0.0

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            torch_draw = torch.rand(()) if self.source == "torch" else torch.zeros(())
            numpy_draw = np.random.rand() if self.source == "numpy" else 0.0
            out = softmax_attention(q, k, v, mask=mask, scale=workload.scale)
            return out + self.weight * (float(torch_draw) + numpy_draw > 0.5)

        return attend


class DrawsNumpy(Draws):
    source: ClassVar[str] = "numpy"


class OwnNoise(Plain):
    """Noise from a generator of its own that is never seeded again."""

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        own, first = torch.Generator().manual_seed(0), True

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            nonlocal first
            out = softmax_attention(q, k, v, mask=mask, scale=workload.scale)
            noise = torch.randn(out.shape, generator=own, dtype=out.dtype) * (0 if first else 1e-3)
            first = False
            return out + noise

        return attend


class SharedBuffer(Plain):
    """Writes every output into one buffer."""

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        shape = (workload.batch, workload.heads, workload.q_len, workload.v_head_dim)
        buffer = torch.empty(shape, dtype=workload.torch_dtype)

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return buffer.copy_(softmax_attention(q, k, v, mask=mask, scale=workload.scale))

        return attend


class Cached(Plain):
    """Computes at its first call only, and then returns copies."""

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        kept: list[Tensor] = []

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if not kept:
                out = softmax_attention(q, k, v, mask=mask, scale=workload.scale)
                kept.append(out.detach())
            return kept[0].clone()

        return attend


class NoOtherScale(Plain):
    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        if workload.scale != workload.head_dim**-0.5:
            raise ValueError("only the usual scale")
        return super().prepare(workload, mask)


def saying(op: type[AttentionOp], **claims: Any) -> AttentionOp:
    """A variant with other claims."""
    made: type[AttentionOp] = type(op.__name__, (op,), claims)
    return made()


class ReturnsValues(Plain):
    """Returns v itself."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        return v


class WritesLater(Plain):
    """Returns memory of its own, and writes into what it returned before."""

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        returned: list[Tensor] = []

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            for earlier in returned:
                earlier.zero_()
            returned[:] = [softmax_attention(q, k, v, mask=mask, scale=workload.scale)]
            return returned[0]

        return attend


class OneGroupStands(Plain):
    """Computes the first head anew and every other one at the first call only."""

    grouped: ClassVar[bool] = True

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        kept: list[Tensor] = []
        times = workload.heads // workload.kv_heads

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            k, v = (tensor.repeat_interleave(times, 1) for tensor in (k, v))
            out = softmax_attention(q, k, v, mask=mask, scale=workload.scale)
            kept.append(out)
            return torch.cat([out[:, :1], kept[0][:, 1:]], 1)

        return attend


class DrawnInPrepare(Plain):
    """Scales the values by what it draws in `prepare`."""

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        factor = 1 + torch.rand(())

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return softmax_attention(q, k, factor * v, mask=mask, scale=workload.scale)

        return attend


class ScaleAndBatch(Plain):
    """Two faults at once."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        return softmax_attention(q, k, v + 0.1 * v.mean(0), mask=mask, scale=q.shape[-1] ** -0.5)

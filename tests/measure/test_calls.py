from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from harness import Attention, AttentionOp, Mask, Recurrence, Workload, softmax_attention
from harness.device import CpuDevice, Timing
from harness.inputs import make_inputs, make_output_gradient
from harness.measure.calls import Buffers, Call, make_buffers, once, prepare
from tests.measure.gate import small


class Clocked(CpuDevice):
    """Writes down when it begins and ends to time."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def time(self, call: Callable[[], Any]) -> Timing:
        self.log.append("begin")
        result = call()
        self.log.append("end")
        return Timing(result, 2.0, 0.5)


@dataclass(frozen=True)
class Recorder(AttentionOp):
    """Softmax attention that writes down what is called, and on how many heads."""

    log: list[str] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        self.log.append("forward" if torch.is_grad_enabled() else "forward without gradients")
        self.heads.append(k.shape[1])
        output = softmax_attention(q, k, v, mask=mask, scale=scale)
        if output.requires_grad:
            output.register_hook(self._backward)  # type: ignore[no-untyped-call]
        return output

    def _backward(self, gradient: Tensor) -> None:
        self.log.append("backward")


class Grouped(Recorder):
    grouped: ClassVar[bool] = True

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        self.heads.append(k.shape[1])
        return q


class Stateful(Recorder):
    """Keeps the keys and values of the prefill."""

    def recurrence(self, workload: Workload, mask: Mask) -> Recurrence:
        return Recurrence(self._prefill, self._step)

    def _prefill(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        self.log.append("prefill")
        return k, v

    def _step(self, q: Tensor, k: Tensor, v: Tensor, state: tuple[Tensor, Tensor]) -> Tensor:
        self.log.append("step")
        keys, values = torch.cat([state[0], k], 2), torch.cat([state[1], v], 2)
        weights = (q @ keys.mT * q.shape[-1] ** -0.5).softmax(-1)
        return torch.matmul(weights, values)


def _buffers(asked: Workload) -> Buffers:
    upstream = None
    if asked.has_gradients:
        upstream = make_output_gradient(asked, torch.arange(asked.q_len))
    return make_buffers(asked, make_inputs(asked), upstream)


def _call(op: AttentionOp, asked: Workload) -> Call:
    return prepare(op, asked, asked.build_mask(), _buffers(asked))


def _asked(kind: str, **fields: Any) -> Workload:
    lengths = {"q_len": 1, "kv_len": 32} if kind == "decode" else {}
    return small(**{"pass": kind, **lengths, **fields})


@pytest.mark.parametrize(
    ("kind", "log"),
    [
        ("forward", ["begin", "forward without gradients", "end"]),
        ("backward", ["forward", "begin", "backward", "end"]),
        ("forward+backward", ["begin", "forward", "backward", "end"]),
        ("decode", ["begin", "forward without gradients", "end"]),
    ],
)
def test_each_pass_times_what_it_should(kind: str, log: list[str]) -> None:
    op, asked = Recorder(), _asked(kind)
    produced, seconds, host_s = once(_call(op, asked), Clocked(op.log))
    assert op.log == log
    assert (seconds, host_s) == (2.0, 0.5)
    q, k, v = make_inputs(asked)
    expected = softmax_attention(q, k, v, mask=asked.build_mask(), scale=asked.scale)
    assert produced.output is not None
    assert torch.allclose(produced.output, expected)
    assert not produced.output.requires_grad
    assert len(produced.gradients) == (3 if asked.has_gradients else 0)


def test_what_is_compiled_is_what_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []

    def compiling(function: Any, **options: Any) -> Any:
        def called(*given: Any) -> Any:
            compiled.append(function)
            return function(*given)

        return called

    monkeypatch.setattr(torch, "compile", compiling)
    stateful = Stateful()
    for op in (Recorder(), stateful):
        compiled.clear()
        once(_call(op, _asked("decode", compile=True)), Clocked(op.log))
        assert len(compiled) == 1
    assert compiled == [stateful._step]


def test_gradients_are_those_of_the_output_gradient() -> None:
    for kind in ("backward", "forward+backward"):
        asked = _asked(kind)
        produced = once(_call(Recorder(), asked), CpuDevice())[0]
        leaves = [tensor.requires_grad_() for tensor in make_inputs(asked)]
        output = softmax_attention(*leaves, mask=asked.build_mask(), scale=asked.scale)
        upstream = make_output_gradient(asked, torch.arange(asked.q_len))
        for found, expected in zip(
            produced.gradients, torch.autograd.grad(output, leaves, upstream), strict=True
        ):
            assert torch.allclose(found, expected, atol=1e-6)


def test_heads_are_repeated_inside_the_timed_call(monkeypatch: pytest.MonkeyPatch) -> None:
    op, asked = Recorder(), _asked("forward", kv_heads=2)
    call = _call(op, asked)
    repeat = torch.Tensor.repeat_interleave

    def logged(self: Tensor, *given: Any) -> Tensor:
        op.log.append("repeat")
        return repeat(self, *given)

    monkeypatch.setattr(torch.Tensor, "repeat_interleave", logged)
    once(call, Clocked(op.log))
    assert op.log == ["begin", "repeat", "repeat", "forward without gradients", "end"]
    assert op.heads == [4]


def test_heads_are_left_alone_where_the_variant_takes_them_grouped() -> None:
    op = Grouped()
    once(_call(op, _asked("forward", kv_heads=2)), CpuDevice())
    assert op.heads == [2]


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_a_decode_state_gives_what_full_attention_gives(kv_heads: int) -> None:
    op, asked = Stateful(), _asked("decode", kv_heads=kv_heads)
    produced = once(_call(op, asked), Clocked(op.log))[0]
    assert op.log == ["prefill", "begin", "step", "end"]
    whole = once(_call(Recorder(), asked), CpuDevice())[0]
    assert produced.output is not None
    assert whole.output is not None
    assert torch.allclose(produced.output, whole.output, atol=1e-6)


def test_a_state_is_kept_for_decode_alone() -> None:
    op = Stateful()
    once(_call(op, _asked("forward")), Clocked(op.log))
    assert op.log == ["begin", "forward without gradients", "end"]


class Gain(nn.Module):
    """Values times a learnt factor."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return v * self.factor


@dataclass(frozen=True)
class Learnt(AttentionOp):
    """A variant with a parameter of its own."""

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        return Gain()


def test_parameters_take_the_dtype_and_get_gradients() -> None:
    asked = _asked("forward+backward", dtype="float64")
    call = _call(Learnt(), asked)
    assert [parameter.dtype for parameter in call.parameters] == [torch.float64]
    result = call.run()
    v, upstream = make_inputs(asked)[2], call.buffers.output_gradient
    assert upstream is not None
    assert torch.allclose(result[1][3], (v * upstream).sum()[None])
    assert len(call.produced(result).gradients) == 3
    assert not _call(Learnt(), _asked("forward")).parameters


def test_buffers_keep_their_addresses() -> None:
    asked = _asked("forward+backward")
    buffers = _buffers(asked)
    places = [buffers.q.data_ptr(), buffers.k.data_ptr(), buffers.v.data_ptr()]
    values, upstream = make_inputs(asked, 1), torch.ones(2, 4, 64, 16)
    buffers.write(values, upstream)
    assert [buffers.q.data_ptr(), buffers.k.data_ptr(), buffers.v.data_ptr()] == places
    assert torch.equal(buffers.k.detach(), values[1])
    assert buffers.output_gradient is not None
    assert torch.equal(buffers.output_gradient, upstream)
    assert buffers.q.requires_grad

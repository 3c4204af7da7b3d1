"""Each registered variant on a GPU, against its own definition in float64."""

from __future__ import annotations

import typing
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import variant
from harness.device import CudaDevice
from harness.inputs import make_inputs
from harness.variant import AttentionOp
from harness.workload import Workload
from tests.build import op_named

# Asked of the device, since torch.cuda.is_available() would spoil forks of other tests.
UNAVAILABLE = CudaDevice().unavailable()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(UNAVAILABLE is not None, reason=f"needs a GPU: {UNAVAILABLE}"),
]
# Error relative to the norm of the reference: rounding of the operands, and room for TF32 and
# for a third power of the scores. A wrong mask or scale gives more than 0.1.
BOUNDS = {"float32": 5e-3, "bfloat16": 3e-2}
SHAPES: tuple[dict[str, Any], ...] = (
    {"q_len": 256, "mask": "none"},
    {"q_len": 256, "mask": "causal"},
    {"q_len": 128, "kv_len": 256, "mask": "causal"},
    {"q_len": 256, "mask": "causal+window(64)"},
    {"q_len": 256, "mask": "none", "kv_heads": 2},
)


# Beyond the common shapes: what a kernel picks tiles by, and what it is told in its own words.
OF_ITS_OWN: tuple[tuple[str, dict[str, Any]], ...] = (
    ("polynomial(kernel=triton)", {"head_dim": 17, "v_head_dim": 5, "mask": "padding(0.6)"}),
    ("polynomial(degree=1, kernel=triton)", {"head_dim": 128, "mask": "causal+packed(3)"}),
    ("polynomial(degree=2, kernel=triton)", {"head_dim": 256, "kv_heads": 2, "mask": "window(40)"}),
    ("flash_attn", {"mask": "causal+packed(3)", "kv_heads": 1}),
    ("flash_attn(version=2)", {"mask": "causal", "bias": "alibi"}),
    ("sdpa(backend=efficient)", {"mask": "causal", "kv_heads": 2}),
)


def _variants() -> list[AttentionOp]:
    """Every variant at its defaults, and each choice of a parameter that has choices."""
    variant.load_installed()
    found = []
    for name, cls in variant.registered().items():
        parameters = variant.parameters(cls)
        if any(parameter.required for parameter in parameters.values()):
            continue
        found.append(variant.create(name, {}))
        for key, parameter in parameters.items():
            if typing.get_origin(parameter.type) is typing.Literal:
                choices = typing.get_args(parameter.type)
                found += [
                    variant.create(name, {key: choice})
                    for choice in choices
                    if choice != parameter.default
                ]
    return [op for op in found if isinstance(op, variant.AttentionOp)]


def _workload(shape: dict[str, Any], dtype: str, passed: str) -> Workload:
    common = {"batch": 2, "heads": 4, "head_dim": 64, "device": "cuda", "threads": 1}
    return Workload.model_validate({**common, **shape, "dtype": dtype, "pass": passed})


def _refuse_unsupported(op: AttentionOp, workload: Workload) -> None:
    reason = op.unsupported(workload)
    if reason is not None:
        pytest.skip(f"unsupported: {reason}")


def _repeat(op: AttentionOp, workload: Workload, k: Tensor) -> Tensor:
    return k if op.grouped else k.repeat_interleave(workload.heads // workload.kv_heads, 1)


def _run(op: AttentionOp, workload: Workload, inputs: tuple[Tensor, ...]) -> Tensor:
    q, k, v = inputs
    attention = op.prepare(workload, workload.build_mask())
    return attention(q, _repeat(op, workload, k), _repeat(op, workload, v))


def _truth(op: AttentionOp, workload: Workload, inputs: tuple[Tensor, ...]) -> Tensor:
    groups = workload.heads // workload.kv_heads
    q, k, v = (tensor.double() for tensor in inputs)
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    return op.definition(q, k, v, mask=workload.build_mask(), scale=workload.scale)


def _error(found: Tensor, truth: Tensor) -> float:
    return float((found.double() - truth).norm() / truth.norm())


def _assert_gradients(op: AttentionOp, workload: Workload, bound: float) -> None:
    inputs = tuple(tensor.requires_grad_() for tensor in make_inputs(workload))
    out, truth = _run(op, workload, inputs), _truth(op, workload, inputs)
    judged = workload.build_mask().judged[:, None, :, None]
    gradient = torch.randn_like(out) * judged
    assert _error(out.detach() * judged, truth.detach() * judged) < bound
    found = torch.autograd.grad(out, inputs, gradient)
    truths = torch.autograd.grad(truth, inputs, gradient.double())
    for part, expected in zip(found, truths, strict=True):
        assert _error(part, expected.double()) < 2 * bound


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("op", _variants(), ids=lambda op: str(op.spec))
def test_output_is_the_definition(op: AttentionOp, dtype: str, shape: dict[str, Any]) -> None:
    workload = _workload(shape, dtype, "forward")
    _refuse_unsupported(op, workload)
    inputs = make_inputs(workload)
    out = _run(op, workload, inputs)
    assert out.dtype == workload.torch_dtype
    assert out.device.type == "cuda"
    assert _error(out, _truth(op, workload, inputs)) < BOUNDS[dtype]


@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("op", _variants(), ids=lambda op: str(op.spec))
def test_gradients_are_those_of_the_definition(
    op: AttentionOp, dtype: str, shape: dict[str, Any]
) -> None:
    workload = _workload(shape, dtype, "forward+backward")
    _refuse_unsupported(op, workload)
    _assert_gradients(op, workload, BOUNDS[dtype])


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize(("text", "fields"), OF_ITS_OWN, ids=str)
def test_shapes_of_its_own(text: str, fields: dict[str, Any], dtype: str) -> None:
    op = op_named(text)
    workload = _workload({"q_len": 300, **fields}, dtype, "forward+backward")
    _refuse_unsupported(op, workload)
    _assert_gradients(op, workload, BOUNDS[dtype])


@pytest.mark.parametrize("op", _variants(), ids=lambda op: str(op.spec))
def test_the_kernels_it_promises_run(op: AttentionOp) -> None:
    workload = _workload({"q_len": 256, "mask": "causal"}, "bfloat16", "forward")
    _refuse_unsupported(op, workload)
    expected = op.expected_kernels(workload)
    if not expected:
        pytest.skip(f"{op.spec} promises no kernel")
    inputs = make_inputs(workload)
    attention = op.prepare(workload, workload.build_mask())
    device = CudaDevice()
    device.start(threads=1)
    attention(*inputs)
    kernels = device.profile(lambda: attention(*inputs)).kernels
    assert any(part in name for part in expected for name in kernels), kernels

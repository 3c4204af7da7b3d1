"""What the checks share: the variants under contract, running one, and the float64 truth."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.inputs import make_inputs, make_output_gradient
from harness.mask import Mask
from harness.measure import calls
from harness.variant import (
    AttentionLayer,
    AttentionOp,
    TeamOp,
    Variant,
    create,
    load_installed,
    parameters,
    registered,
)
from harness.workload import Workload

Tensors = tuple[Tensor, ...]

# Compiling takes seconds for each new shape: these run a reduced list.
COMPILED = ("flex",)
# Parameters beside the defaults and beside every option of a Literal field.
EXTRA: dict[str, list[dict[str, Any]]] = {
    "bilstm_channels": [{"channels": 4, "sentence": 5}],
    "polynomial": [
        {"degree": 1, "kernel": "blocked"},
        {"degree": 2, "norm": "row", "inner_scale": False, "kernel": "blocked"},
        {"degree": 1, "norm": "row", "kernel": "linear"},
        {"degree": 2, "kernel": "linear"},
    ],
    "symmetric": [
        {"kernel": "triangle", "block": 15},
        {"mechanism": "polynomial", "kernel": "triangle"},
        {"mechanism": "polynomial", "degree": 2, "kernel": "triangle", "block": 16},
        {"mechanism": "polynomial", "degree": 1, "kernel": "triangle", "block": 15},
    ],
    "chunked": [
        {"q_chunk": 20, "kv_chunk": 16},
        {"q_chunk": 15, "kv_chunk": 16, "kernel": "blocked"},
    ],
    "retention": [{"kernel": "chunkwise", "chunk": 16}],
    "window": [{"width": 5, "q_chunk": 16}],
    "linear": [{"chunk": 16}],
    "performer": [{"features": 20, "chunk": 16}],
    "linformer": [{"k_proj": 12}],
    "nystrom": [{"landmarks": 10}],
    "big_bird": [{"block": 4, "global_blocks": 1, "random_blocks": 2}],
}
# The lift is one for all: it is tried on ops of each kind.
LIFTED: list[tuple[str, dict[str, Any]]] = [
    ("softmax", {}),
    ("sdpa", {"backend": "flash"}),
    ("polynomial", {}),
]
MASKS = (
    "none",
    "causal",
    "window(5)",
    "padding(0.6)",
    "packed(3)",
    "causal+window(7)",
    "causal+padding(0.5)",
    "causal+packed(3)",
    "window(4)+padding(0.7)",
    "causal+window(6)+packed(2)",
)
LENGTHS = ((33, 33), (50, 50), (33, 50), (50, 33), (1, 50), (1, 1))


def variants(compiled: bool) -> list[AttentionOp]:
    """Every variant of one process: its defaults, each option of a Literal field, and EXTRA."""
    load_installed()
    made = (
        create(name, params)
        for name, cls in registered().items()
        if (name in COMPILED) == compiled and not issubclass(cls, TeamOp)
        for params in [{}, *_options(cls), *EXTRA.get(name, [])]
    )
    return [op for op in made if isinstance(op, AttentionOp)]


def teams() -> list[TeamOp]:
    """Every op of several processes: its defaults and each option of a Literal field."""
    load_installed()
    made = (
        create(name, params)
        for name, cls in registered().items()
        if issubclass(cls, TeamOp)
        for params in [{}, *_options(cls)]
    )
    return [op for op in made if isinstance(op, TeamOp)]


def layers() -> list[Variant]:
    """Every registered layer, as `variants` lists ops, and the ops of LIFTED."""
    load_installed()
    own = [
        create(name, params)
        for name, cls in registered().items()
        if issubclass(cls, AttentionLayer)
        for params in [{}, *_options(cls), *EXTRA.get(name, [])]
    ]
    return [*own, *(create(name, params) for name, params in LIFTED)]


def _options(cls: type[Variant]) -> list[dict[str, Any]]:
    return [
        {key: option}
        for key, parameter in parameters(cls).items()
        if typing.get_origin(parameter.type) is typing.Literal
        for option in typing.get_args(parameter.type)
        if option != parameter.default
    ]


def masked_lengths() -> list[tuple[str, int, int]]:
    """Every mask on every pair of lengths that it can have."""
    return [
        (mask, q_len, kv_len)
        for mask in MASKS
        for q_len, kv_len in LENGTHS
        if "packed" not in mask or (q_len == kv_len and q_len > 3)
    ]


def refusal(op: AttentionOp, workload: Workload) -> str | None:
    """Why the variant does not run this workload; None when it does."""
    if workload.bias != "none" and not op.biased:
        return f"{op.name} takes no bias"
    return op.unsupported(workload)


def require(op: AttentionOp, workload: Workload) -> None:
    """Skip the check, with the variant's own reason, where it does not run the workload."""
    reason = refusal(op, workload)
    if reason is not None:
        pytest.skip(f"{op.spec}: {reason}")


def exact(op: AttentionOp, workload: Workload) -> Workload:
    """The workload in float64 where the variant runs that, else as it is."""
    double = workload.model_copy(update={"dtype": "float64"})
    return workload if refusal(op, double) else double


def inputs_of(workload: Workload, draw: int = 0) -> Tensors:
    """Seeded q, k, v."""
    return make_inputs(workload, draw)


def run(op: AttentionOp, workload: Workload, inputs: Tensors | None = None) -> Tensors:
    """Output, then dq, dk and dv where the pass has gradients, as the harness would call it."""
    values = inputs_of(workload) if inputs is None else inputs
    gradient = _output_gradient(workload) if workload.has_gradients else None
    q, k, v = (tensor.detach().requires_grad_(workload.has_gradients) for tensor in values)
    buffers = calls.Buffers(q, k, v, gradient)
    call = calls.prepare(op, workload, workload.build_mask(), buffers)
    call.before()
    produced = call.produced(call.run())
    assert produced.output is not None
    return (produced.output, *produced.gradients)


def defined(
    op: AttentionOp, workload: Workload, dtype: torch.dtype, inputs: Tensors | None = None
) -> Tensors:
    """The same by the definition, run in `dtype`."""
    values = inputs_of(workload) if inputs is None else inputs
    q, k, v = (t.detach().to(dtype).requires_grad_(workload.has_gradients) for t in values)
    times = workload.heads // workload.kv_heads
    mask = workload.build_mask()
    heads = (tensor.repeat_interleave(times, 1) for tensor in (k, v))
    out = op.definition(q, *heads, mask=mask, scale=workload.scale)
    if not workload.has_gradients:
        return (out.detach(),)
    gradients = torch.autograd.grad(
        out,
        (q, k, v),
        _output_gradient(workload).to(dtype),
        allow_unused=True,
        materialize_grads=True,
    )
    return (out.detach(), *gradients)


def assert_matches(op: AttentionOp, workload: Workload, inputs: Tensors | None = None) -> None:
    """The variant errs at most twice as much as its definition does in the same dtype."""
    found = run(op, workload, inputs)
    truth = defined(op, workload, torch.float64, inputs)
    own = _own(op, workload, truth, inputs)
    values = inputs_of(workload) if inputs is None else inputs
    names = ("output", "dq", "dk", "dv")
    for name, got, expected, plain in zip(names, found, truth, own, strict=False):
        assert got.shape == expected.shape, f"{name}: {tuple(got.shape)}"
        assert got.dtype == workload.torch_dtype, f"{name}: {got.dtype}"
        error, bound = _judge(workload, (got, expected, plain), values[2])
        assert error <= bound, f"{op.spec} on {workload}: {name} is off by {error}, allowed {bound}"
    assert len(found) == len(truth)


def assert_close(found: Tensors, expected: Tensors) -> None:
    """Equal but for rounding."""
    for got, wanted in zip(found, expected, strict=True):
        tolerance = 64 * torch.finfo(got.dtype).eps
        scale = float(wanted.abs().max())
        torch.testing.assert_close(got, wanted, rtol=0, atol=tolerance * max(scale, 1.0))


def _own(op: AttentionOp, workload: Workload, truth: Tensors, inputs: Tensors | None) -> Tensors:
    """The definition in the workload's dtype: how far off it is, so may a variant be.

    In float64 it is the truth itself; it would err there as in float32, eps for eps.
    """
    if workload.dtype != "float64":
        return defined(op, workload, workload.torch_dtype, inputs)
    share = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
    single = defined(op, workload, torch.float32, inputs)
    return tuple(a + share * (b.double() - a) for a, b in zip(truth, single, strict=True))


def _judge(workload: Workload, tensors: Tensors, v: Tensor) -> tuple[float, float]:
    got, expected, plain = (_judged(workload, tensor.double()) for tensor in tensors)
    size = max(float(expected.abs().max()), float(v.abs().max()))
    floor = 16 * torch.finfo(workload.torch_dtype).eps * size
    return float((got - expected).abs().max()), 2 * float((plain - expected).abs().max()) + floor


def _judged(workload: Workload, tensor: Tensor) -> Tensor:
    """Padded query rows say nothing; key gradients have every row, for their rows are keys."""
    judged = workload.build_mask().judged
    if tensor.shape[1:3] != (workload.heads, workload.q_len):
        return tensor
    return tensor * judged[:, None, :, None]


def _output_gradient(workload: Workload) -> Tensor:
    return make_output_gradient(workload, torch.arange(workload.q_len))


def build_mask(workload: Workload) -> Mask:
    """The workload's mask on the CPU."""
    return workload.build_mask("cpu")


def names(ops: Sequence[Variant]) -> list[str]:
    """Their ids in a test's name."""
    return [str(op.spec) for op in ops]

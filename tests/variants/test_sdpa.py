"""SDPA: the backend that was asked for is the one that ran, or the reason says why not."""

from __future__ import annotations

import contextlib
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from harness.device import CpuDevice
from harness.inputs import make_inputs
from tests.build import workload
from variants.sdpa import Sdpa, _explicit_mask

CASES: list[dict[str, Any]] = [
    {},
    {"mask": "causal"},
    {"mask": "causal", "kv_len": 90},
    {"mask": "window(7)"},
    {"mask": "padding(0.5)"},
    {"bias": "alibi"},
    {"kv_heads": 2},
    {"dtype": "bfloat16", "mask": "causal+window(9)"},
    {"head_dim": 300},
]


def _kernels(op: Sdpa, fields: dict[str, Any]) -> tuple[str, ...]:
    case = workload(**{"batch": 2, "heads": 4, "q_len": 64, "head_dim": 16, **fields})
    attend, inputs = op.prepare(case, case.build_mask()), make_inputs(case)
    return CpuDevice().profile(lambda: attend(*inputs)).kernels


def _expected_ran(op: Sdpa, kernels: tuple[str, ...]) -> bool:
    return any(part in kernel for part in op.expected_kernels(workload()) for kernel in kernels)


@pytest.mark.parametrize("fields", CASES, ids=str)
@pytest.mark.parametrize("backend", ["math", "flash"])
def test_what_was_asked_ran(backend: Literal["math", "flash"], fields: dict[str, Any]) -> None:
    kernels = _kernels(Sdpa(backend), fields)
    assert _expected_ran(Sdpa(backend), kernels)
    other = Sdpa("math" if backend == "flash" else "flash")
    assert not _expected_ran(other, kernels)


def test_auto_expects_nothing_and_compiled_math_neither() -> None:
    assert Sdpa().expected_kernels(workload()) == ()
    assert Sdpa("math").expected_kernels(workload(compile=True)) == ()
    assert Sdpa("flash").expected_kernels(workload(compile=True)) != ()


def _peak(mask: str) -> int:
    case = workload(q_len=512, head_dim=8, mask=mask)
    inputs = make_inputs(case)

    def call() -> object:
        return Sdpa("flash").prepare(case, case.build_mask())(*inputs)

    return CpuDevice().profile(call).peak_bytes


def test_plain_causal_needs_no_matrix() -> None:
    """An explicit mask is the largest allocation by far: 512 * 512 bytes and more."""
    assert _peak("causal") + 512 * 512 < _peak("causal+window(512)")


@pytest.mark.parametrize("bias", ["none", "alibi"])
def test_no_row_of_the_explicit_mask_is_empty(bias: str) -> None:
    case = workload(heads=2, q_len=9, kv_len=4, mask="causal", bias=bias)
    found = _explicit_mask(case, case.build_mask())
    assert found is not None
    attended = found if bias == "none" else found.isfinite()
    assert attended[:, :, :5].all()
    assert attended[0, 0, 5:].int().tolist() == torch.ones(4, 4).tril().int().tolist()


@pytest.mark.parametrize(
    ("backend", "fields", "reason"),
    [
        ("auto", {"v_head_dim": 8}, None),
        ("math", {"v_head_dim": 8}, None),
        (
            "flash",
            {"v_head_dim": 8},
            "flash needs v_head_dim = head_dim: v_head_dim=8, head_dim=64",
        ),
        ("flash", {"dtype": "float64", "bias": "random", "mask": "padding(0.5)"}, None),
        ("efficient", {}, "torch has no efficient kernel on the CPU; use auto, math or flash"),
        ("cudnn", {}, "torch has no cudnn kernel on the CPU; use auto, math or flash"),
        (
            "flash",
            {"device": "cuda"},
            "flash takes float16 or bfloat16 on CUDA, found float32",
        ),
        (
            "flash",
            {"device": "cuda", "dtype": "bfloat16", "head_dim": 264},
            "flash takes head_dim <= 256 on CUDA, found 264",
        ),
        (
            "flash",
            {"device": "cuda", "dtype": "float16", "mask": "causal", "kv_len": 32},
            "flash takes no explicit mask on CUDA, and this workload needs one: mask=causal, "
            "bias=none, q_len=16, kv_len=32",
        ),
        ("flash", {"device": "cuda", "dtype": "float16", "mask": "causal"}, None),
        ("flash", {"device": "cuda", "dtype": "float16", "mask": "window(16)"}, None),
        (
            "cudnn",
            {"device": "cuda"},
            "cudnn takes float16 or bfloat16 on CUDA, found float32",
        ),
        ("efficient", {"device": "cuda", "dtype": "float64"}, "efficient takes no float64"),
        ("efficient", {"device": "cuda", "head_dim": 12, "mask": "padding(0.5)"}, None),
        (
            "efficient",
            {"device": "cuda", "dtype": "float16", "head_dim": 12, "v_head_dim": 16},
            "efficient takes heads whose width is a multiple of 8 in float16 on CUDA, found "
            "head_dim=12, v_head_dim=16",
        ),
        ("cudnn", {"device": "cuda", "dtype": "float16", "v_head_dim": 128, "bias": "alibi"}, None),
        (
            "cudnn",
            {"device": "cuda", "dtype": "float16", "v_head_dim": 260},
            "cudnn takes head_dim <= 256 on CUDA, found 260",
        ),
        (
            "cudnn",
            {"device": "cuda", "dtype": "float16", "head_dim": 20},
            "cudnn takes heads whose width is a multiple of 8 in float16 on CUDA, found "
            "head_dim=20, v_head_dim=20",
        ),
        (
            "cudnn",
            {"device": "cuda", "dtype": "bfloat16", "kv_len": 1},
            "cudnn takes kv_len of 2 or more, found 1",
        ),
    ],
)
def test_unsupported(backend: Any, fields: dict[str, Any], reason: str | None) -> None:
    assert Sdpa(backend).unsupported(workload(**fields)) == reason


def test_efficient_repeats_grouped_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel of that name is on the CPU: what it is asked for is looked at, by math."""
    monkeypatch.setattr(Sdpa, "_only_backend", lambda self: contextlib.nullcontext())
    case = workload(batch=2, heads=4, kv_heads=2, q_len=9, head_dim=8)
    asked: list[torch.Size] = []

    def attend(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        asked.append(k.shape)
        assert options["enable_gqa"] == (k.shape[1] < q.shape[1])
        return scaled_dot_product_attention(q, k, v, **options)

    monkeypatch.setattr("variants.sdpa.scaled_dot_product_attention", attend)
    backends: tuple[Literal["efficient", "math"], ...] = ("efficient", "math")
    first, second = (
        Sdpa(backend).prepare(case, case.build_mask())(*make_inputs(case)) for backend in backends
    )
    assert [shape[1] for shape in asked] == [4, 2]
    assert torch.allclose(first, second, atol=1e-6)

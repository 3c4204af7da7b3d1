"""sage: its rounding is the kernel's, its arguments are the package's, its reasons are its own."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.inputs import make_inputs
from harness.reference import softmax_attention
from tests.build import workload
from tests.measure.claims import semantics_of
from variants.sage import Sage, _int8

FUNCTION = "sageattn_qk_int8_pv_fp16_triton"
HALF: dict[str, Any] = {"device": "cuda", "dtype": "float16"}


def _install(monkeypatch: pytest.MonkeyPatch, **members: Any) -> None:
    package = ModuleType("sageattention")
    vars(package).update(members)
    monkeypatch.setitem(sys.modules, "sageattention", package)


def _quantised(x: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """INT8 and the scale of each row, block by block, as the package's kernel has them."""
    whole, steps = torch.zeros(x.shape, dtype=torch.int8), torch.zeros(x.shape[:3])
    for first in range(0, x.shape[2], block):
        part = x[:, :, first : first + block].float()
        step = part.abs().amax((2, 3)) / 127
        ratio = part / step[:, :, None, None]
        whole[:, :, first : first + block] = (ratio + 0.5 * torch.where(ratio >= 0, 1, -1)).to(
            torch.int8
        )
        steps[:, :, first : first + block] = step[..., None]
    return whole, steps


def _stand_in(
    q: Tensor, k: Tensor, v: Tensor, *, tensor_layout: str, is_causal: bool, sm_scale: float
) -> Tensor:
    """What the package's kernel computes, whole numbers multiplied as such."""
    assert tensor_layout == "HND"
    k = k - k.mean(2, keepdim=True)
    k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], 1) for tensor in (k, v))
    (q8, q_steps), (k8, k_steps) = _quantised(q * 1.0, 128), _quantised(k, 64)
    scores = (q8.int() @ k8.int().mT).float() * (q_steps[..., None] * k_steps[:, :, None])
    if is_causal:
        scores += torch.full(scores.shape[2:], -torch.inf).triu(1)
    weights = (scores * sm_scale).softmax(-1).half()
    return (weights.float() @ v.half().float()).to(q.dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    ("mask", "q_len", "kv_len"),
    [("none", 150, 150), ("none", 1, 200), ("none", 130, 1), ("causal", 150, 150)],
)
def test_the_definition_is_the_quantised_product(
    monkeypatch: pytest.MonkeyPatch, mask: str, q_len: int, kv_len: int, dtype: str
) -> None:
    _install(monkeypatch, **{FUNCTION: _stand_in})
    sizes = {"batch": 2, "heads": 4, "kv_heads": 2, "q_len": q_len, "kv_len": kv_len}
    case = workload(**sizes, head_dim=16, mask=mask, dtype=dtype)
    q, k, v = make_inputs(case)
    op = Sage()
    given: dict[str, Any] = {"mask": case.build_mask(), "scale": case.scale}
    found = op.prepare(case, case.build_mask())(q, k, v)
    heads = (q, *(tensor.repeat_interleave(2, 1) for tensor in (k, v)))
    doubles = [tensor.double() for tensor in heads]
    own, truth = op.definition(*heads, **given), op.definition(*doubles, **given)
    exact = softmax_attention(*doubles, **given)
    error, limit = _distance(found, truth), 2 * _distance(own, truth) + 1e-3
    assert error < limit
    if kv_len > 1 and dtype == "float16":  # bfloat16 rounds keys less their mean nearly as much
        assert _distance(exact, truth) > limit, "rounding to 8 bits would not have been seen"


def _distance(found: Tensor, truth: Tensor) -> float:
    return float((found.double() - truth).norm() / truth.norm())


def test_rounding_is_by_blocks_and_away_from_zero() -> None:
    x = torch.tensor([127.0, 0.5, -0.5, 1.49, 254.0, 1.0, -3.0, 0.9])[None, None, :, None]
    assert _int8(x, 4).flatten().tolist() == [127, 1, -1, 1, 254, 2, -4, 0]
    assert torch.equal(_int8(torch.zeros(1, 1, 3, 2), 64), torch.zeros(1, 1, 3, 2))


@pytest.mark.parametrize("mask", ["none", "causal"])
def test_what_it_claims_holds(monkeypatch: pytest.MonkeyPatch, mask: str) -> None:
    _install(monkeypatch, **{FUNCTION: _stand_in})
    sizes = {"batch": 2, "heads": 4, "kv_heads": 2, "q_len": 70, "head_dim": 16}
    found = semantics_of(Sage(), workload(**sizes, mask=mask, dtype="float16"))
    assert found.broken == {}
    assert ("causality" in found.held) == (mask == "causal")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"pass": "decode", "kv_len": 100, "kv_heads": 1, "dtype": "bfloat16"}, None),
        (
            {"device": "cpu"},
            "SageAttention runs on NVIDIA GPUs alone, found device=cpu; use device=cuda",
        ),
        (
            {"pass": "backward"},
            "sageattention has no backward pass; use pass forward or decode",
        ),
        ({"dtype": "float32"}, "sageattention takes float16 or bfloat16, found float32"),
        ({"mask": "causal"}, None),
        (
            {"mask": "causal", "kv_len": 20},
            "sageattention aligns causal top-left, and here it is bottom-right: q_len=16, "
            "kv_len=20; make both lengths equal",
        ),
        (
            {"mask": "causal+window(3)"},
            "mask causal+window(3) is not mapped to sageattention; use none or causal",
        ),
        (
            {"v_head_dim": 32},
            "sageattention takes v_head_dim = head_dim up to 128, found head_dim=64, v_head_dim=32",
        ),
        (
            {"head_dim": 136},
            "sageattention takes v_head_dim = head_dim up to 128, found head_dim=136, "
            "v_head_dim=136",
        ),
    ],
)
def test_unsupported(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], reason: str | None
) -> None:
    _install(monkeypatch, **{FUNCTION: _stand_in})
    case = {"heads": 2, **HALF, **fields}
    if fields.get("pass") == "decode":
        case["q_len"] = 1
    assert Sage().unsupported(workload(**case)) == reason


def test_a_missing_or_old_package_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, sageattn=_stand_in)
    reason = f"sageattention has no {FUNCTION}; install version 2, for 1 writes into k"
    assert Sage().unsupported(workload(**HALF)) == reason
    monkeypatch.setitem(sys.modules, "sageattention", None)
    reason = str(Sage().unsupported(workload(**HALF)))
    assert reason.startswith("sageattention does not import: ModuleNotFoundError: ")

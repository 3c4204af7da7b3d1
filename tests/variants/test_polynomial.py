"""The polynomial's formula, its norms and its refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from harness.inputs import make_inputs
from harness.variant import definition_key, parse_spec
from harness.workload import Workload
from tests.build import workload
from tests.conformance.contract import MASKS
from variants.polynomial import Polynomial, PolynomialFamily


def _called(op: Polynomial, case: Workload, *inputs: Tensor) -> Tensor:
    return op.prepare(case, case.build_mask())(*inputs)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_by_hand(degree: int) -> None:
    """q = 2 and 4, keys 1, 1, -1, 1, scale 1/2: scores +-1 and +-2; sqrt(Lkv) = 2."""
    case = workload(q_len=2, kv_len=4, head_dim=1, scale=0.5)
    q = torch.tensor([[[[2.0], [4.0]]]])
    k = torch.tensor([[[[1.0], [1.0], [-1.0], [1.0]]]])
    weights = _called(Polynomial(degree), case, q, k, torch.eye(4)[None, None])
    sign = (-1.0) ** degree
    first, second = 0.5, 0.5 * 2.0**degree
    assert weights[0, 0].tolist() == [
        [first, first, first * sign, first],
        [second, second, second * sign, second],
    ]


@pytest.mark.parametrize(
    ("norm", "sums"),
    [
        ("sequence", [3 / 2, 4 / 2]),
        ("row", [3 / 3**0.5, 4 / 2]),
        ("fixed", [3 / 14, 4 / 14]),
    ],
)
def test_a_norm_divides_what_a_row_sees(norm: Any, sums: list[float]) -> None:
    """Ones everywhere, and two causal rows of 3 and 4 keys."""
    case = workload(q_len=2, kv_len=4, head_dim=1, mask="causal", scale=1.0, dtype="float64")
    ones = torch.ones(1, 1, 4, 1, dtype=torch.float64)
    out = _called(Polynomial(3, norm=norm), case, ones[:, :, :2], ones, ones)
    assert out.flatten().tolist() == pytest.approx(sums, rel=1e-12)


def _looped(op: Polynomial, case: Workload, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The formula, one score at a time."""
    seen = case.build_mask().dense().expand(case.batch, 1, case.q_len, case.kv_len)
    out = q.new_zeros((*q.shape[:3], v.shape[-1]))
    for b, h, i in torch.cartesian_prod(*(torch.arange(n) for n in q.shape[:3])).tolist():
        keys = [j for j in range(case.kv_len) if seen[b, 0, i, j]]
        count = {"sequence": case.kv_len, "row": len(keys), "fixed": op.divisor**2}[op.norm]
        for j in keys:
            score = sum(float(q[b, h, i, d] * k[b, h, j, d]) for d in range(case.head_dim))
            score *= case.scale if op.inner_scale else 1
            out[b, h, i] += score**op.degree / count**0.5 * v[b, h, j]
    return out


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(
    "op",
    [
        Polynomial(3),
        Polynomial(2, norm="row", inner_scale=False),
        Polynomial(1, norm="fixed", divisor=3.0),
        Polynomial(5),
    ],
    ids=str,
)
def test_the_definition_is_the_formula(op: Polynomial, mask: str) -> None:
    case = workload(batch=2, heads=2, q_len=6, head_dim=3, mask=mask, dtype="float64")
    q, k, v = make_inputs(case)
    expected = _looped(op, case, q, k, v)
    found = op.definition(q, k, v, mask=case.build_mask(), scale=case.scale)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", ["sequence", "row", "fixed"])
@pytest.mark.parametrize("kernel", ["naive", "blocked", "linear"])
def test_a_row_without_keys_is_zero(kernel: Any, norm: Any) -> None:
    """0 and not 0/0: a row's norm counts its keys."""
    case = workload(q_len=8, kv_len=5, head_dim=4, mask="causal")
    q, k, v = (t.requires_grad_() for t in make_inputs(case))
    out = _called(Polynomial(2, norm=norm, kernel=kernel), case, q, k, v)
    (dq,) = torch.autograd.grad(out.sum(), q)
    assert (out[:, :, :3] == 0).all()
    assert (dq[:, :, :3] == 0).all()
    assert (out[:, :, 3:] != 0).all()


def test_without_the_inner_scale_a_scale_changes_nothing() -> None:
    one, other = (workload(head_dim=4, scale=scale) for scale in (0.5, 0.1))
    inputs = make_inputs(one)
    for kernel in ("naive", "blocked", "linear"):
        op = Polynomial(2, inner_scale=False, kernel=kernel)
        assert torch.equal(_called(op, one, *inputs), _called(op, other, *inputs))
        assert not op.scaled
        assert Polynomial(2, kernel=kernel).scaled


def test_the_parameters_are_in_the_record() -> None:
    text = "polynomial(degree=2, norm=fixed, divisor=8.0, inner_scale=False, kernel=blocked)"
    op = Polynomial(2, norm="fixed", divisor=8.0, inner_scale=False, kernel="blocked")
    assert str(op.spec) == text
    assert parse_spec(text) == op.spec
    assert str(Polynomial().spec) == "polynomial"


def test_kernels_share_a_truth_and_norms_do_not() -> None:
    assert "definition" in vars(PolynomialFamily)
    keys = {definition_key(Polynomial(kernel=kernel)) for kernel in ("naive", "blocked")}
    assert len(keys) == 1
    assert definition_key(Polynomial(norm="row")) not in keys


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"degree": 0}, "degree must be at least 1: degree=0; write 1, 2, 3 or more"),
        ({"degree": -1}, "degree must be at least 1: degree=-1; write 1, 2, 3 or more"),
        (
            {"norm": "fixed", "divisor": 0.0},
            "divisor must be above 0: divisor=0.0; write 14 or another number",
        ),
        (
            {"divisor": 8.0},
            "divisor is read under norm=fixed alone: divisor=8.0, norm=sequence; write "
            "norm=fixed or leave divisor out",
        ),
    ],
)
def test_what_is_wrong_with_a_parameter(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=list(fields)[-1]) as error:
        Polynomial(**fields)
    assert str(error.value) == message


def test_powers_that_a_dtype_cannot_hold_are_refused() -> None:
    half = workload(head_dim=64, dtype="float16")
    assert Polynomial(3).unsupported(half) is None
    assert Polynomial(1, inner_scale=False).unsupported(half) is None
    assert Polynomial(3, inner_scale=False).unsupported(half) == (
        "float16 ends at 6.55e+04, which scores of standard deviation 16 to the power 3 pass; "
        "use bfloat16 or float32, a lower degree or smaller scores"
    )
    for dtype in ("float32", "bfloat16"):
        op = Polynomial(3, inner_scale=False, kernel="blocked")
        assert op.unsupported(half.model_copy(update={"dtype": dtype})) is None
    assert Polynomial(1000).unsupported(workload()) is not None

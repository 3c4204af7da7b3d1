"""Cosine attention: angles alone count."""

from __future__ import annotations

import pytest
import torch

from harness.inputs import make_inputs
from harness.variant import AttentionOp
from tests.build import workload
from tests.variants.looped import dot, looped, softmax
from variants.cosine import Cosine


@pytest.mark.parametrize("op", [Cosine(0.2), Cosine(0.2, kernel="sdpa")], ids=str)
def test_it_is_the_formula_pair_by_pair(op: Cosine) -> None:
    case = workload(heads=2, q_len=5, kv_len=7, head_dim=3, mask="causal", dtype="float64")
    q, k, v = make_inputs(case)

    def weigh(products: list[float], h: int, i: int, keys: object) -> list[float]:
        query = q[0, h, i - 2]
        norms = [(dot(query, query) * dot(k[0, h, j], k[0, h, j])) ** 0.5 for j in range(7)]
        return softmax([p / n / 0.2 for p, n in zip(products, norms, strict=False)])

    out = op.prepare(case, case.build_mask())(q, k, v)
    torch.testing.assert_close(out, looped(case, weigh))


@pytest.mark.parametrize("op", [Cosine(), Cosine(kernel="sdpa")], ids=str)
def test_neither_lengths_nor_the_scale_count(op: AttentionOp) -> None:
    case = workload(heads=2, q_len=9, head_dim=4, dtype="float64")
    q, k, v = make_inputs(case)
    out = op.prepare(case, case.build_mask())(q, k, v)
    louder = case.model_copy(update={"scale": 100.0})
    again = op.prepare(louder, louder.build_mask())(7 * q, 0.01 * k, v)
    torch.testing.assert_close(again, out)


def test_in_one_dimension_there_is_no_gradient() -> None:
    flat = {"inputs": "low_rank(1, 2)", "head_dim": 4}
    assert Cosine().unsupported(workload(**flat)) is None
    assert Cosine().unsupported(workload(pass_="backward", **flat)) == (
        "in one dimension a cosine is a sign, and its gradients are rounding: head_dim=4, "
        "inputs=low_rank(1, 2); use 2 dimensions or more"
    )
    case = workload(q_len=9, head_dim=1, dtype="float64")
    q, k, v = (tensor.requires_grad_() for tensor in make_inputs(case))
    out = Cosine().prepare(case, case.build_mask())(q, k, v)
    (slope,) = torch.autograd.grad(out.sum(), q)
    assert slope.abs().max() < 1e-12


@pytest.mark.parametrize("temperature", [0.0, -0.1])
def test_temperature_is_above_zero(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature") as error:
        Cosine(temperature)
    assert str(error.value) == (
        f"temperature must be above 0: temperature={temperature}; write 0.1, or less for sharper "
        "weights"
    )

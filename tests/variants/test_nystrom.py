"""Nystromformer: its inverse, when it is softmax attention, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness import softmax_attention
from harness.inputs import make_inputs
from harness.measure.truth import softmax_rows
from harness.workload import Workload
from tests.build import workload
from tests.variants.looped import computed
from tests.variants.test_costs import counted
from variants.nystrom import Nystrom, pseudo_inverse


def small(**fields: object) -> Workload:
    """Grouped heads, float64."""
    sizes = {"batch": 2, "heads": 4, "kv_heads": 2, "q_len": 24, "kv_len": 24, "head_dim": 6}
    return workload(**{**sizes, "dtype": "float64", **fields})


@pytest.mark.parametrize(("rows", "columns"), [(12, 12), (5, 12), (12, 5), (1, 7)])
def test_the_iteration_finds_the_pseudo_inverse(rows: int, columns: int) -> None:
    a = torch.randn(3, rows, columns, dtype=torch.float64).softmax(-1)
    torch.testing.assert_close(pseudo_inverse(a, 40), torch.linalg.pinv(a))


def test_one_iteration_by_hand() -> None:
    a = torch.randn(4, 4, dtype=torch.float64).softmax(-1)
    norms = float(a.abs().sum(-1).max() * a.abs().sum(-2).max())
    z, one = a.T / norms, torch.eye(4, dtype=torch.float64)
    expected = 0.25 * z @ (13 * one - a @ z @ (15 * one - a @ z @ (7 * one - a @ z)))
    torch.testing.assert_close(pseudo_inverse(a, 1), expected)


def test_with_as_many_landmarks_as_rows_it_is_softmax() -> None:
    found = computed(Nystrom(landmarks=24, iterations=40), small())
    torch.testing.assert_close(found, softmax_rows(small()), rtol=1e-6, atol=1e-6)


def test_more_iterations_come_closer() -> None:
    off = [
        float((computed(Nystrom(24, n), small()) - softmax_rows(small())).norm())
        for n in (2, 6, 12)
    ]
    assert off[0] > 2 * off[1] > 4 * off[2] > 0


def test_rows_that_are_their_landmarks_are_exact() -> None:
    """Queries and keys that are equal within each segment: softmax has rank 4, and is found."""
    case = small()
    q, k, v = make_inputs(case)
    q, k = (x[:, :, :4].repeat_interleave(6, 2) for x in (q, k))
    found = Nystrom(landmarks=4, iterations=40).prepare(case, case.build_mask())(q, k, v)
    k, v = (x.repeat_interleave(2, 1) for x in (k, v))
    expected = softmax_attention(q, k, v, mask=case.build_mask(), scale=case.scale)
    torch.testing.assert_close(found, expected)


def test_one_query_is_its_own_landmark() -> None:
    """Then A = F, F Z = 1, and what is left, B v, is softmax attention."""
    case = small(q_len=1, kv_len=50, mask="causal")
    torch.testing.assert_close(computed(Nystrom(landmarks=8), case), softmax_rows(case))


def test_what_is_padded_does_not_matter() -> None:
    case = small(mask="padding(0.5)")
    mask = case.build_mask()
    q, k, v = make_inputs(case)
    padded = ~mask.judged[:, None, :, None]
    attend = Nystrom(landmarks=6).prepare(case, mask)
    changed = attend(*(x.masked_fill(padded, 9.0) for x in (q, k, v)))
    judged = mask.judged[:, None, :, None]
    torch.testing.assert_close(changed * judged, attend(q, k, v) * judged)


def test_it_says_that_rows_depend_on_each_other_and_they_do() -> None:
    assert not Nystrom.rowwise
    case = small()
    q, k, v = make_inputs(case)
    attend = Nystrom(landmarks=6).prepare(case, case.build_mask())
    out = attend(q, k, v)
    q[:, :, 1:] += 1
    assert not torch.allclose(attend(q, k, v)[:, :, 0], out[:, :, 0])


def test_masks_that_hide_other_keys_from_each_query_are_refused() -> None:
    assert Nystrom().unsupported(workload(q_len=20, mask="causal")) == (
        "nystrom takes means over all keys, so that every query must see the same keys; "
        "mask=causal hides other keys from each: use none or padding(f)"
    )


@pytest.mark.parametrize("pass_", ["forward", "backward", "forward+backward"])
def test_products_are_counted(pass_: str) -> None:
    op = Nystrom(landmarks=12)
    case = small(**{"pass": pass_, "q_len": 90, "kv_len": 150})
    flops = op.cost(case).flops
    assert flops is not None
    with sdpa_kernel(SDPBackend.MATH):
        found = counted(op, case)
    # Fused, backward makes the scores again: a quarter more than written out.
    assert found <= flops <= 1.25 * found
    assert pass_ != "forward" or flops == found


@pytest.mark.parametrize(("field", "usual"), [("landmarks", 64), ("iterations", 6)])
def test_parameters_are_at_least_one(field: str, usual: int) -> None:
    with pytest.raises(ValueError, match=field) as error:
        Nystrom(**{field: 0})
    assert str(error.value) == f"{field} must be at least 1: {field}=0; write {usual}"

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from harness import Mask, softmax_attention
from harness.inputs import make_inputs
from harness.measure.calls import Produced
from harness.measure.numerics import judge
from harness.workload import Workload
from tests.measure.gate import answer, judged, judged_mutant, small, truth_for

WORKLOADS: dict[str, dict[str, Any]] = {
    "none": {},
    "causal": {"mask": "causal"},
    "window": {"mask": "window(9)"},
    "padding": {"mask": "padding(0.6)"},
    "lengths": {"q_len": 48, "kv_len": 64, "mask": "causal"},
    "grouped": {"kv_heads": 2},
}


def _chunked(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
    """Exact softmax attention, 16 keys at a time, summed up in another order."""
    dense, parts = mask.dense(), []
    for at in range(0, k.shape[-2], 16):
        scores = q @ k[:, :, at : at + 16].mT * scale
        parts.append(scores.masked_fill(~dense[..., at : at + 16], -torch.inf))
    largest = torch.cat(parts, -1).amax(-1, keepdim=True).detach().clamp(min=-1e30)
    weights = [(part - largest).exp() for part in parts]
    total = sum((w.sum(-1, keepdim=True) for w in weights), torch.zeros(1))
    summed = [w @ v[:, :, 16 * n : 16 * n + 16] for n, w in enumerate(weights)]
    return sum(summed, torch.zeros(1)) / total.clamp(min=1e-30)


@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("attend", [softmax_attention, _chunked])
def test_the_gate_accepts_what_is_right(name: str, attend: Any) -> None:
    found = judged(attend, small(**WORKLOADS[name]))
    assert found.wrong is None
    assert found.error is not None
    assert found.error_bound is not None
    assert 0 < found.error <= found.error_bound < 1e-4
    assert found.gradient_error is not None
    assert found.gradient_error_bound is not None
    assert 0 < found.gradient_error <= found.gradient_error_bound < 1e-4


def test_bfloat16_is_held_to_its_own_error() -> None:
    asked = small(dtype="bfloat16")
    right = judged(softmax_attention, asked)
    assert right.wrong is None
    assert right.error_bound is not None
    assert 1e-3 < right.error_bound < 0.1


def _wrong_shape(*inputs: Tensor, **given: Any) -> Tensor:
    return softmax_attention(*inputs, **given)[..., :-1]


def _wrong_dtype(*inputs: Tensor, **given: Any) -> Tensor:
    return softmax_attention(*(tensor.double() for tensor in inputs), **given)


def test_the_reason_says_where() -> None:
    asked = small(**{"pass": "forward"})
    shape = "output has shape (2, 4, 64, 15), expected (2, 4, 64, 16)"
    assert judged(_wrong_shape, asked).wrong == shape
    assert judged(_wrong_dtype, asked).wrong == "output is torch.float64, expected torch.float32"
    first = "output is not finite, first at batch 0, head 3, row 32"
    assert judged_mutant("nan_row", asked).wrong == first
    off = judged_mutant("scale_off", asked).wrong
    assert off is not None
    assert off.startswith("batch 0, head 0, judged row 0 is off by ")
    none = judge(Produced(None), truth_for(asked), asked)
    assert none.wrong == "returned NoneType, expected a tensor"


def test_the_reason_names_the_gradient() -> None:
    wrong = judged_mutant("gradient_of_v_only", small()).wrong
    assert wrong is not None
    assert wrong.startswith("gradient of q, k: error ")
    asked = small()
    truth = truth_for(asked)
    right = answer(softmax_attention, asked, truth)
    dq, dk, dv = right.gradients
    broken = dk.clone()
    broken[1, 2, 3, 4] = torch.inf
    found = judge(Produced(right.output, (dq, broken, dv)), truth, asked)
    assert found.wrong == "gradient of k is not finite"


def test_padded_rows_may_hold_anything() -> None:
    asked = small(mask="padding(0.6)", **{"pass": "forward"})
    truth = truth_for(asked)
    output = answer(softmax_attention, asked, truth).output
    assert output is not None
    padded = ~asked.build_mask().judged
    assert bool(padded.any())
    spoilt = output.masked_fill(padded[:, None, :, None], torch.nan)
    assert judge(Produced(spoilt), truth, asked).wrong is None
    assert judge(Produced(output * torch.nan), truth, asked).wrong is not None


def test_one_wrong_row_in_many_is_seen() -> None:
    asked = small(q_len=512, **{"pass": "forward"})
    truth = truth_for(asked)
    output = answer(softmax_attention, asked, truth).output
    assert output is not None
    output[1, 2, 300] *= 1.001
    wrong = judge(Produced(output), truth, asked).wrong
    assert wrong is not None
    assert wrong.startswith("batch 1, head 2, judged row 300 is off by ")


@pytest.mark.parametrize(("dtype", "factor"), [("float32", 1.0001), ("bfloat16", 1.07)])
def test_a_row_is_held_to_little_more_than_rounding(dtype: str, factor: float) -> None:
    asked = small(dtype=dtype, **{"pass": "forward"})
    truth = truth_for(asked)
    for found in (1.0, factor):
        output = truth.output.clone()
        output[1, 2, 30] *= found
        wrong = judge(Produced(output.to(asked.torch_dtype)), truth, asked).wrong
        assert (wrong is None) == (found == 1.0)


def test_the_deviation_is_from_softmax_attention() -> None:
    asked = small(**{"pass": "forward"})
    assert judged_mutant("zeros", asked).deviation == pytest.approx(1.0)
    exact = judged(softmax_attention, asked).deviation
    assert exact is not None
    assert exact < 1e-6
    assert judged(softmax_attention, asked).gradient_error is None


def _norm_over_root(asked: Workload) -> float:
    """|softmax(scores)|_F / sqrt(judged rows), of all heads together, from the weights."""
    q, k, _ = (tensor.double() for tensor in make_inputs(asked))
    weights = asked.build_mask().softmax(q @ k.mT * asked.scale)
    judged_rows = asked.build_mask().judged[:, None, :, None].expand(*weights.shape[:3], 1)
    squares = (weights**2 * judged_rows).sum()
    return float((squares / judged_rows.sum()).sqrt())


@pytest.mark.parametrize("mask", ["none", "causal", "padding(0.6)"])
def test_the_rms_of_an_output_is_the_norm_of_its_weights_over_sqrt_n(mask: str) -> None:
    """v has variance 1 and 256 columns a row, so that chance leaves a few percent."""
    asked = small(mask=mask, v_head_dim=256, **{"pass": "forward"})
    found = judged(softmax_attention, asked).output_rms
    assert found == pytest.approx(_norm_over_root(asked), rel=0.05)


def test_the_rms_of_what_is_wrong_is_its_own() -> None:
    asked = small(**{"pass": "forward"})
    assert judged_mutant("zeros", asked).output_rms == 0
    truth = truth_for(asked)
    right = judge(Produced(truth.output.float()), truth, asked).output_rms
    twice = judge(Produced(2 * truth.output.float()), truth, asked).output_rms
    assert right
    assert twice == pytest.approx(2 * right)

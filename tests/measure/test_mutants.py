"""What each mutant is, beside another way to compute it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from harness.inputs import make_inputs
from harness.measure.calls import Produced
from harness.measure.mutants import MUTANTS, OF_GRADIENTS
from harness.workload import Workload
from tests.measure.gate import mutant, small, subject_of


def _output(name: str, asked: Workload) -> tuple[Tensor, Tensor]:
    """Output of a mutant and the exact one, in the case's dtype."""
    made = subject_of(asked)
    found, exact = mutant(name, made).output, made.exact.output
    assert found is not None
    assert exact is not None
    return found, exact


def _torch(asked: Workload, kept: Tensor | None = None, **given: Any) -> Tensor:
    """torch's attention, on the same inputs, in float64."""
    q, k, v = (tensor.double() for tensor in make_inputs(asked))
    given = {"scale": asked.scale, "enable_gqa": asked.kv_heads != asked.heads, **given}
    if kept is not None:
        k, v = k[:, :, kept], v[:, :, kept]
    return scaled_dot_product_attention(q, k, v, **given)


def _equal(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found.double(), expected, atol=1e-12)


def exact(**fields: Any) -> Workload:
    """A small forward workload in float64."""
    return small(**{"dtype": "float64", "pass": "forward", **fields})


def test_mask_scale_and_bias_mutants_are_what_torch_gives() -> None:
    lengths = exact(mask="causal", q_len=40, kv_len=64)
    assert _equal(_output("mask_ignored", lengths)[0], _torch(lengths))
    top_left = _torch(lengths, is_causal=True)
    assert _equal(_output("causal_aligned_top_left", lengths)[0], top_left)
    tall = exact(mask="causal", q_len=64, kv_len=40)
    assert _equal(_output("causal_aligned_top_left", tall)[0], _torch(tall, is_causal=True))
    scaled = _torch(lengths, attn_mask=lengths.build_mask().dense(), scale=1.01 * lengths.scale)
    assert _equal(_output("scale_off", lengths)[0], scaled)
    biased = exact(bias="random")
    assert _equal(_output("bias_ignored", biased)[0], _torch(biased))
    wider = exact(mask="window(6)").build_mask().dense()
    window = exact(mask="window(5)")
    assert _equal(_output("window_off_by_one", window)[0], _torch(window, attn_mask=wider))


def test_key_and_tile_mutants_are_what_torch_gives_without_those_keys() -> None:
    asked = exact(q_len=70)
    keys = torch.arange(70)
    kept = keys[keys % 10 != 9]
    assert _equal(_output("every_tenth_key_dropped", asked)[0], _torch(asked, kept))
    assert _equal(_output("last_key_tile_skipped", asked)[0], _torch(asked, keys[:64]))
    found, right = _output("last_query_tile_skipped", asked)
    assert torch.equal(found[:, :, :64], right[:, :, :64])
    assert not bool(found[:, :, 64:].any())
    causal = exact(q_len=70, mask="causal")
    seen = causal.build_mask().dense().clone()
    seen[..., 9::10] = False
    dropped = _torch(causal, attn_mask=seen)
    assert _equal(_output("every_tenth_key_dropped", causal)[0], dropped)


@pytest.mark.parametrize(("dtype", "count"), [("float64", 1), ("bfloat16", 10)])
def test_the_heaviest_keys_of_one_row_are_dropped(dtype: str, count: int) -> None:
    asked = exact(kv_heads=2, mask="padding(0.7)", q_len=65, dtype=dtype)
    found, right = _output("one_key_dropped", asked)
    ((b, h, row),) = (found != right).any(-1).nonzero().tolist()
    q, k, _ = (tensor.double() for tensor in make_inputs(asked))
    scores = k[b, h // 2] @ q[b, h, row]
    seen = asked.build_mask().dense()[b, 0, row].clone()
    heaviest = scores.masked_fill(~seen, -torch.inf).topk(count).indices
    seen[heaviest] = False
    expected = _torch(asked, attn_mask=seen.expand(2, 4, 65, 65))[b, h, row]
    tolerance = 1e-12 if count == 1 else 0.01
    assert torch.allclose(found[b, h, row].double(), expected, atol=tolerance, rtol=tolerance)


def test_head_mutants_take_anothers_head() -> None:
    asked = exact(kv_heads=2)
    found, right = _output("heads_swapped", asked)
    assert torch.equal(found, right[:, [1, 0, 2, 3]])
    q, k, v = make_inputs(asked)
    k, v = (tensor.repeat(1, 2, 1, 1) for tensor in (k, v))
    wrong = scaled_dot_product_attention(q, k, v, scale=asked.scale)
    assert _equal(_output("grouped_heads_mapped_wrongly", asked)[0], wrong)


def test_the_other_mutants_of_the_output() -> None:
    asked = exact(mask="causal")
    assert not bool(_output("zeros", asked)[0].any())
    _, _, v = make_inputs(asked)
    count = torch.arange(1, 65)[:, None]
    assert _equal(_output("mean_of_v", asked)[0], v.cumsum(2) / count)
    found, right = _output("nan_row", asked)
    assert found.isnan().any(-1).sum() == 1
    assert int((found != right).any(-1).sum()) == 1
    q, k, v = make_inputs(asked, draw=1)
    stale = scaled_dot_product_attention(q, k, v, is_causal=True, scale=asked.scale)
    assert _equal(_output("stale_output", asked)[0], stale)


@pytest.mark.parametrize(("dtype", "factor"), [("float32", 1.02), ("float16", 1.2)])
def test_gradient_mutants_carry_the_exact_output(dtype: str, factor: float) -> None:
    made = subject_of(small(dtype=dtype))
    assert made.exact.output is not None
    for name in OF_GRADIENTS:
        assert torch.equal(mutant(name, made).output, made.exact.output)  # type: ignore[arg-type]
    q, k, v = mutant("gradient_of_v_only", made).gradients
    assert not bool(q.any() or k.any())
    assert torch.equal(v, made.exact.gradients[2])
    scaled = mutant("gradient_scaled", made).gradients
    for a, b in zip(scaled, made.truth.gradients, strict=True):
        assert torch.equal(a, (factor * b).to(made.workload.torch_dtype))


def test_mutants_of_the_output_carry_the_exact_gradients() -> None:
    made = subject_of(small(mask="causal"))
    for name in set(MUTANTS) - set(OF_GRADIENTS):
        found = MUTANTS[name](made)
        if isinstance(found, Produced):
            assert all(map(torch.equal, found.gradients, made.exact.gradients)), name

"""What layers say that they execute, beside what their code really multiplies."""

from __future__ import annotations

from typing import Any

import pytest

from harness.variant import hindrance, measured
from harness.workload import Workload
from tests.build import variant_named
from tests.variants.test_costs import counted

SEQUENCE: dict[str, Any] = {"level": "layer", "heads": 2, "head_dim": 8, "batch": 2}
IMAGE: dict[str, Any] = {"level": "layer", "height": 6, "width": 7, "channels": 64, "footprint": 3}


def _flops(text: str, asked: Workload) -> tuple[int, int]:
    """What the variant says and what is counted."""
    variant = variant_named(text)
    assert hindrance(variant, asked) is None
    op, case = measured(variant, asked)
    said = op.cost(case).flops
    assert said is not None
    return said, counted(op, case)


def test_the_gated_delta_rule_in_steps() -> None:
    """The outer product that is added to the state is no product of matrices to torch."""
    said, found = _flops("gated_delta", Workload(**SEQUENCE, q_len=9, mask="causal"))
    assert said == found + 2 * 18 * 16 * 8


@pytest.mark.parametrize("length", [64, 100])
def test_the_gated_delta_rule_in_chunks(length: int) -> None:
    """torch counts no triangular system: c (c - 1) multiply-adds, taken for c^2, a feature."""
    asked = Workload(**SEQUENCE, q_len=length, mask="causal")
    said, found = _flops("gated_delta(kernel=chunked)", asked)
    whole, rest = divmod(length, 64)
    assert said == found + 2 * 16 * (whole * 64**2 + rest**2)


def test_products_within_windows_are_counted() -> None:
    """A clique's are products of matrices, K^4 C/16 a pixel, beside the same convolutions."""
    asked = Workload(**IMAGE)
    texts = [
        f"san_patchwise(relation={relation})" for relation in ("concatenation", "clique_product")
    ]
    (_, plain), (said, found) = (_flops(text, asked) for text in texts)
    assert found > plain
    assert said - found == 2 * 42 * 3**2 * 16  # the sum over the window, C/4 values a pixel


@pytest.mark.parametrize("text", ["lstm", "bilstm", "bilstm_attention", "bilstm_channels"])
def test_padding_takes_no_step(text: str) -> None:
    """What the gates multiply follows the sequences' own lengths."""
    mask = "causal+padding(0.5)" if text == "lstm" else "padding(0.5)"
    padded = Workload(**SEQUENCE, q_len=32, mask=mask)
    lengths = padded.build_mask().lengths
    assert lengths is not None
    whole = Workload(**SEQUENCE, q_len=32, mask="causal" if text == "lstm" else "none")
    saved = 64 - int(lengths.sum())
    assert saved > 0
    of_gates = 8 * 16 * (8 if text == "bilstm_channels" else 16)
    one, other = (variant_named(text).cost(case).projection_flops for case in (whole, padded))
    assert one is not None
    assert other is not None
    assert one - other == saved * of_gates


@pytest.mark.parametrize("text", ["local", "bilstm", "gated_delta(kernel=chunked)"])
def test_a_layer_without_grouped_heads_says_so(text: str) -> None:
    asked = Workload(**SEQUENCE, kv_heads=1, q_len=8, mask="causal")
    assert "leave kv_heads and v_head_dim out" in str(hindrance(variant_named(text), asked))
    assert hindrance(variant_named("softmax"), asked) is None

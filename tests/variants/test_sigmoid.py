"""Sigmoid attention on numbers that can be checked by hand."""

from __future__ import annotations

import math

import torch

from tests.build import workload
from tests.variants.looped import computed, looped
from variants.sigmoid import Sigmoid


def test_it_is_the_formula_pair_by_pair() -> None:
    case = workload(
        batch=2, heads=2, q_len=5, kv_len=7, head_dim=3, mask="causal", dtype="float64"
    )  # fmt: skip
    scale = case.scale
    expected = looped(
        case,
        lambda products, h, i, keys: [1 / (1 + 7 * math.exp(-scale * p)) for p in products],
    )
    torch.testing.assert_close(computed(Sigmoid(), case), expected)


def test_even_scores_weigh_nearly_what_softmax_gives() -> None:
    """sigmoid(-log n) = 1 / (n + 1)."""
    case = workload(q_len=1, kv_len=9, head_dim=1)
    zeros, ones = torch.zeros(1, 1, 9, 1), torch.ones(1, 1, 9, 1)
    out = Sigmoid().prepare(case, case.build_mask())(zeros[:, :, :1], zeros, ones)
    torch.testing.assert_close(out, torch.full_like(out, 9 / 10))

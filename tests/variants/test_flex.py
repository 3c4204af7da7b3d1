"""FlexAttention, as far as it goes without compiling; the contract compiles it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.build import workload
from variants.flex import Flex, _block_mask


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"pass": "decode", "q_len": 1, "kv_len": 9}, None),
        (
            {"pass": "backward"},
            "FlexAttention has no backward on the CPU; use pass forward or decode",
        ),
        (
            {"dtype": "float64"},
            "FlexAttention takes no float64 on the CPU; use float32, float16 or bfloat16",
        ),
        ({"pass": "backward", "device": "cuda"}, None),
    ],
)
def test_unsupported(fields: dict[str, Any], reason: str | None) -> None:
    assert Flex().unsupported(workload(**fields)) == reason


@pytest.mark.parametrize(
    ("mask", "blocks"),
    [("causal", 10), ("causal+window(128)", 7), ("window(128)", 10), ("packed(1)", 16)],
)
def test_wholly_masked_blocks_are_skipped(mask: str, blocks: int) -> None:
    case = workload(q_len=512, mask=mask)
    found = _block_mask(case.build_mask())
    full = 0 if found.full_kv_num_blocks is None else int(found.full_kv_num_blocks.sum())
    assert int(found.kv_num_blocks.sum()) + full == blocks


@pytest.mark.parametrize(
    "mask", ["causal", "window(5)", "padding(0.5)", "causal+padding(0.4)", "causal+window(3)"]
)
def test_the_rule_is_the_mask(mask: str) -> None:
    case = workload(batch=2, q_len=40, kv_len=33, mask=mask)
    expected = case.build_mask().dense().expand(2, 1, 40, 33)
    rule = _block_mask(case.build_mask()).mask_mod
    sizes = [torch.arange(n) for n in (2, 1, 40, 33)]
    b, h, i, j = torch.meshgrid(*sizes, indexing="ij")
    assert torch.equal(rule(b, h, i, j), expected)

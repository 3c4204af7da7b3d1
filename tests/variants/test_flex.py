"""FlexAttention, as far as it goes without compiling; the contract compiles it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.inputs import make_inputs
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
    ("mask", "visited"),
    [
        ("causal", 10),
        ("causal+window(128)", 7),
        ("window(128)", 10),
        ("packed(1)", 16),
        ("packed(4)", 12),
        ("padding(0.3)", 4),
        ("causal+padding(0.3)", 4),
    ],
)
def test_wholly_masked_blocks_are_skipped(mask: str, visited: int) -> None:
    """Of 16 blocks, those with no attended pair; those with no other are not masked again."""
    built = workload(q_len=512, mask=mask).build_mask()
    found = _block_mask(built)
    full = 0 if found.full_kv_num_blocks is None else int(found.full_kv_num_blocks.sum())
    assert int(found.kv_num_blocks.sum()) + full == visited
    dense = built.dense()[0, 0].view(4, 128, 4, 128)
    assert int(dense.any(3).any(1).sum()) == visited
    assert int(dense.all(3).all(1).sum()) == full


def test_each_sequence_skips_its_own_blocks() -> None:
    built = workload(batch=4, q_len=512, mask="padding(0.5)").build_mask()
    lengths = built.stop.amax(1)
    found = _block_mask(built).to_dense()[:, 0].sum((1, 2))
    assert found.tolist() == [4 * -(-int(length) // 128) for length in lengths]
    assert len(set(found.tolist())) > 1


@pytest.mark.usefixtures("compiler")
def test_the_compiled_kernel_reads_no_masked_block() -> None:
    """NaN in a masked value shows unless its block is skipped: a weight of 0 does not hide it."""
    case = workload(q_len=384, head_dim=16, mask="causal+window(128)", threads=1)
    q, k, v = make_inputs(case)
    past, future = v.clone(), v.clone()
    past[:, :, :128], future[:, :, 256:] = torch.nan, torch.nan
    attend = Flex().prepare(case, case.build_mask())
    assert attend(q, k, past)[:, :, 256:].isfinite().all()
    assert attend(q, k, future)[:, :, :256].isfinite().all()
    assert attend(q, k, past)[:, :, :256].isnan().any()


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

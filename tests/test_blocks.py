"""Blocks and stacks of layers: the formula, what they see, and what they draw."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.variant.blocks import BERT, GPT, Block, Shape, stacked, translating
from harness.workload import Workload
from tests.build import variant_named

SHAPE: dict[str, Any] = {"level": "layer", "heads": 2, "head_dim": 4, "q_len": 7}


def _asked(**fields: Any) -> Workload:
    return Workload.model_validate({**SHAPE, **fields})


def _x(length: int = 7) -> Tensor:
    return torch.randn(2, length, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_block_is_its_formula(norm: Any) -> None:
    torch.manual_seed(2)
    layer = nn.Linear(8, 8)
    block = Block(layer, 8, Shape(norm))
    first, second = block.norms
    x = _x()
    if norm == "pre":
        x1 = x + layer(first(x))
        expected = x1 + block.mlp(second(x1))
    else:
        x1 = first(x + layer(x))
        expected = second(x1 + block.mlp(x1))
    assert torch.equal(block(x), expected)


@pytest.mark.parametrize("text", ["softmax", "polynomial", "lstm", "gated_delta"])
def test_gpt_sees_no_future(text: str) -> None:
    module = stacked(
        variant_named(text), _asked(mask="causal"), Shape("pre", causal=True, blocks=2)
    )
    x = _x()
    before = module(x)
    # No constant: a norm would take it off.
    x[:, 5:] *= -1.0
    after = module(x)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


@pytest.mark.parametrize("text", ["softmax", "bilstm", "bilstm_attention"])
def test_bert_sees_all(text: str) -> None:
    module = stacked(variant_named(text), _asked(), BERT)
    x = _x()
    before = module(x)
    x[:, 6] *= -1.0
    assert not torch.allclose(before[:, 0], module(x)[:, 0])


def test_layers_differ_in_the_op_alone() -> None:
    """Two ops have the same parameters between the same norms and MLPs."""
    one, other = (
        stacked(variant_named(text), _asked(), BERT) for text in ("softmax", "polynomial")
    )
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


def test_a_shape_of_another_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="the shape is causal=True: mask=none; use causal"):
        stacked(variant_named("softmax"), _asked(), GPT)
    with pytest.raises(ValueError, match="the shape is causal=True: mask=none; use causal"):
        translating(variant_named("softmax"), _asked(), GPT, context_len=5)


def test_a_variant_that_does_not_run_the_workload_says_why() -> None:
    with pytest.raises(ValueError, match="lstm: lstm reads from left to right only"):
        stacked(variant_named("lstm"), _asked(), BERT)
    with pytest.raises(ValueError, match="lstm: lstm takes no context of another length"):
        translating(variant_named("lstm"), _asked(mask="causal"), GPT, context_len=5)


def test_a_decoder_without_a_context_says_so() -> None:
    module = translating(variant_named("softmax"), _asked(mask="causal"), GPT, context_len=5)
    with pytest.raises(ValueError, match="pass context"):
        module(_x())


def test_a_decoder_reads_its_context() -> None:
    module = translating(variant_named("softmax"), _asked(mask="causal"), GPT, context_len=5)
    x, context = _x(), _x(5)
    before = module(x, context)
    assert before.shape == (2, 7, 8)
    assert not torch.allclose(before, module(x, context + 1.0))
    x[:, 6] *= -1.0
    assert torch.equal(before[:, :6], module(x, context)[:, :6])

"""What recurrent layers promise beyond the contract of all layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from harness import AttentionLayer, Workload
from harness.variant import hindrance
from tests.build import variant_named
from variants.gated_delta import CHUNK, chunked, recurrent

LAYERS = (
    "bilstm",
    "bilstm_attention",
    "bilstm_attention(kind=additive)",
    "bilstm_channels",
    "bilstm_channels(sentence=5)",
)
SHAPE: dict[str, Any] = {"level": "layer", "heads": 2, "head_dim": 8, "dtype": "float64"}


def _built(text: str, asked: Workload) -> nn.Module:
    layer = variant_named(text)
    assert isinstance(layer, AttentionLayer)
    torch.manual_seed(3)
    return layer.build(asked, asked.carried.build_mask()).double()


@pytest.mark.parametrize("text", LAYERS)
def test_a_padded_batch_gives_what_its_rows_give_alone(text: str) -> None:
    asked = Workload.model_validate({**SHAPE, "batch": 4, "q_len": 23, "mask": "padding(0.5)"})
    lengths = asked.build_mask().lengths
    assert lengths is not None
    assert len(set(lengths.tolist())) > 2, "lengths must differ for this to say anything"
    together, x = _built(text, asked), torch.randn(4, 23, 16, dtype=torch.float64)
    whole = together(x)
    for row, length in enumerate(lengths.tolist()):
        alone = Workload.model_validate({**SHAPE, "q_len": length})
        module = _built(text, alone)
        module.load_state_dict(together.state_dict())
        expected = module(x[row : row + 1, :length])[0]
        assert torch.allclose(whole[row, :length], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("text", LAYERS)
def test_reads_both_ways(text: str) -> None:
    """The first output follows the last input, and the last the first."""
    asked = Workload.model_validate({**SHAPE, "q_len": 9})
    module, x = _built(text, asked), torch.randn(1, 9, 16, dtype=torch.float64)
    before = module(x)
    for changed, seen in ((8, 0), (0, 8)):
        other = x.clone()
        other[0, changed] += 1.0
        assert not torch.allclose(module(other)[0, seen], before[0, seen], rtol=1e-9, atol=1e-12)


def test_an_lstm_of_the_width_has_as_many_states() -> None:
    asked = Workload.model_validate({**SHAPE, "q_len": 9, "mask": "causal"})
    assert _built("lstm", asked)(torch.randn(2, 9, 16, dtype=torch.float64)).shape == (2, 9, 16)


@pytest.mark.parametrize(
    ("text", "fields", "reason"),
    [
        ("bilstm", {"mask": "causal"}, "lstm is causal"),
        ("lstm", {}, "write mask: causal"),
        ("bilstm", {"mask": "window(3)"}, "carries its state along the whole sequence"),
        ("bilstm", {"heads": 1, "head_dim": 7}, "it must be even"),
        ("bilstm_channels(channels=3)", {}, "multiple of 6"),
        ("bilstm", {"level": "op"}, "write level: layer"),
        ("bilstm", {"kv_len": 12}, "make kv_len equal to q_len"),
        ("gated_delta", {}, "write mask: causal"),
    ],
)
def test_reasons(text: str, fields: dict[str, Any], reason: str) -> None:
    asked = Workload.model_validate({**SHAPE, "dtype": "float32", "q_len": 9, **fields})
    assert reason in str(hindrance(variant_named(text), asked))


@pytest.mark.parametrize("length", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_chunks_of_the_gated_delta_rule_are_its_steps(length: int) -> None:
    torch.manual_seed(length)
    q, k, v = (torch.randn(2, 3, length, 5, dtype=torch.float64) for _ in range(3))
    k = nn.functional.normalize(k, dim=-1)
    log_decay = -torch.rand(2, 3, length, dtype=torch.float64) * 3
    write = torch.rand(2, 3, length, dtype=torch.float64)
    given = (q, k, v, log_decay, write)
    assert torch.allclose(chunked(*given), recurrent(*given), rtol=1e-10, atol=1e-12)


def test_a_gate_that_writes_all_and_forgets_nothing_recalls_what_a_key_held_last() -> None:
    keys = torch.eye(4, dtype=torch.float64)[[0, 1, 0]].view(1, 1, 3, 4)
    values = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64).view(1, 1, 3, 1)
    zero, one = torch.zeros(1, 1, 3, dtype=torch.float64), torch.ones(1, 1, 3, dtype=torch.float64)
    found = recurrent(keys, keys, values, zero, one)
    assert found.flatten().tolist() == [1.0, 2.0, 3.0]
    asked_again = keys[:, :, [1, 1, 1]]
    assert recurrent(asked_again, keys, values, zero, one)[0, 0, 2].item() == 2.0

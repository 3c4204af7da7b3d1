"""Chunks: what is skipped, what is kept in memory, what is refused."""

from __future__ import annotations

import pytest
import torch

from harness.device import CpuDevice
from harness.inputs import make_inputs
from harness.workload import Workload
from tests.build import workload
from variants.chunked import Chunked, naive
from variants.softmax import Softmax


def _peak(op: Chunked | Softmax, case: Workload) -> int:
    inputs = [tensor.requires_grad_(case.has_gradients) for tensor in make_inputs(case)]

    def call() -> object:
        out = op.prepare(case, case.build_mask())(*inputs)
        return torch.autograd.grad(out.sum(), inputs) if case.has_gradients else out

    return CpuDevice().profile(call).peak_bytes


@pytest.mark.parametrize(
    ("mask", "summaries"), [("none", 16), ("causal", 10), ("causal+window(16)", 7)]
)
def test_wholly_masked_chunks_are_skipped(
    mask: str, summaries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    original = naive._summarise

    def counted(*arguments: object) -> object:
        made.append(1)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(naive, "_summarise", counted)
    case = workload(q_len=64, head_dim=4, mask=mask)
    Chunked(16, 16).prepare(case, case.build_mask())(*make_inputs(case))
    assert len(made) == summaries


@pytest.mark.parametrize("pass_", ["forward", "forward+backward"])
def test_memory_is_a_fraction_of_the_scores(pass_: str) -> None:
    case = workload(**{"pass": pass_}, q_len=512, head_dim=4, mask="causal", bias="alibi")
    assert _peak(Chunked(64, 64), case) < _peak(Softmax(), case) / 8


def test_backward_recomputes_rather_than_keeps() -> None:
    """Kept weights would be 512 * 512 * 4 bytes, whatever the chunks."""
    case = workload(**{"pass": "forward+backward"}, q_len=512, head_dim=4)
    assert _peak(Chunked(64, 64), case) < 512 * 512 * 4 / 2


@pytest.mark.parametrize("field", ["q_chunk", "kv_chunk"])
def test_chunks_are_at_least_one(field: str) -> None:
    with pytest.raises(ValueError, match=field) as error:
        Chunked(**{field: 0})
    assert str(error.value) == f"{field} must be at least 1: {field}=0; write 256 or more"

"""What chunks save: the peak of memory, as a run counts it, beside that of all scores at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from harness.device import CpuDevice
from harness.inputs import make_inputs, make_output_gradient
from harness.measure import memory
from harness.measure.calls import make_buffers, prepare
from harness.variant import AttentionOp
from tests.build import workload
from variants.chunked import Chunked
from variants.softmax import Softmax

LENGTH = 8192
"""Half of the paper's, where the ratios are half as large; all the sooner are they found."""
HEADLINE = {"forward": 59, "forward+backward": 32}
"""Rabe and Staats, abstract: so many times less memory at 16,384 tokens, one head."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A second one is waited for at every operation, which takes long on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _peak(op: AttentionOp, pass_: str, length: int) -> int:
    case = workload(pass_=pass_, q_len=length)
    upstream = make_output_gradient(case, torch.arange(length)) if case.has_gradients else None
    call = prepare(op, case, case.build_mask(), make_buffers(case, make_inputs(case), upstream))
    return memory.measure(CpuDevice(), call.run)[0].peak_bytes


@pytest.mark.parametrize("pass_", HEADLINE)
def test_memory_falls_by_the_papers_factors(pass_: str) -> None:
    whole = _peak(Softmax(), pass_, LENGTH)
    for op in (Chunked(), Chunked(kernel="blocked")):
        assert whole / _peak(op, pass_, LENGTH) >= HEADLINE[pass_], op.spec


def test_one_query_needs_no_memory_that_grows_with_the_keys() -> None:
    peaks = []
    for length in (4096, 16384):
        case = workload(pass_="decode", q_len=1, kv_len=length)
        buffers = make_buffers(case, make_inputs(case), None)
        call = prepare(Chunked(kernel="blocked"), case, case.build_mask(), buffers)
        peaks.append(memory.measure(CpuDevice(), call.run)[0].peak_bytes)
    assert peaks[0] == peaks[1]


@pytest.mark.parametrize("pass_", HEADLINE)
def test_memory_of_blocks_is_a_line_in_the_length(pass_: str) -> None:
    """To the byte: nothing that grows with the pairs is kept, not even what is small."""
    op = Chunked(64, 64, "blocked")
    first, second, fourth = (_peak(op, pass_, length) for length in (256, 512, 1024))
    assert fourth - second == 2 * (second - first)

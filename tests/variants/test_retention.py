"""Retention: its parallel, chunkwise and recurrent forms are one."""

from __future__ import annotations

import pytest
import torch

from harness.inputs import make_inputs
from tests.build import workload
from tests.variants.looped import computed, looped
from variants.retention import Retention

GAMMA = (1 - 2.0**-5, 1 - 2.0**-6, 1 - 2.0**-7)


@pytest.mark.parametrize("mask", ["causal", "none", "causal+window(3)"])
def test_it_is_the_formula_pair_by_pair(mask: str) -> None:
    case = workload(
        batch=2, heads=3, q_len=5, kv_len=7, head_dim=3, mask=mask, dtype="float64"
    )  # fmt: skip
    scale = case.scale
    expected = looped(
        case,
        lambda products, h, i, keys: [
            scale * p * GAMMA[h] ** abs(i - j) for p, j in zip(products, keys, strict=True)
        ],
    )
    torch.testing.assert_close(computed(Retention(), case), expected)


@pytest.mark.parametrize("mask", ["causal", "causal+padding(0.5)"])
@pytest.mark.parametrize(("q_len", "kv_len"), [(50, 50), (50, 70), (70, 50), (64, 64)])
@pytest.mark.parametrize("chunk", [1, 16, 100])
def test_chunks_change_nothing(mask: str, q_len: int, kv_len: int, chunk: int) -> None:
    case = workload(
        batch=2, heads=3, q_len=q_len, kv_len=kv_len, head_dim=4, v_head_dim=6, mask=mask,
        dtype="float64",
    )  # fmt: skip
    op = Retention(kernel="chunkwise", chunk=chunk)
    judged = case.build_mask().judged[:, None, :, None]
    torch.testing.assert_close(computed(op, case) * judged, computed(Retention(), case) * judged)


def test_a_state_decodes_row_by_row_what_the_parallel_form_gives() -> None:
    length = 20
    whole = workload(heads=3, q_len=length, head_dim=4, mask="causal", dtype="float64")
    q, k, v = make_inputs(whole)
    expected = Retention().prepare(whole, whole.build_mask())(q, k, v)
    for seen in range(1, length + 1):
        step = whole.model_copy(update={"pass_": "decode", "q_len": 1, "kv_len": seen})
        recurrence = Retention().recurrence(step, step.build_mask())
        assert recurrence is not None
        state = recurrence.prefill(k[:, :, : seen - 1], v[:, :, : seen - 1])
        kept = state.clone()
        now = slice(seen - 1, seen)
        row = recurrence.step(q[:, :, now], k[:, :, now], v[:, :, now], state)
        torch.testing.assert_close(row, expected[:, :, now])
        assert torch.equal(state, kept)


def test_a_state_holds_every_key_so_a_window_has_none() -> None:
    step = workload(pass_="decode", q_len=1, kv_len=9, mask="window(4)")
    assert Retention().recurrence(step, step.build_mask()) is None
    assert Retention().cost(step).state_bytes is None


def test_chunkwise_says_what_cuts_its_state() -> None:
    op = Retention(kernel="chunkwise")
    assert op.unsupported(workload(mask="causal+padding(0.5)")) is None
    assert op.unsupported(workload(mask="causal+window(4)")) == (
        "chunkwise carries all earlier keys in a state, which a window or packed sequences cut: "
        "mask=causal+window(4); use kernel=parallel"
    )
    assert op.unsupported(workload(mask="padding(0.5)")) == (
        "chunkwise is causal: mask=padding(0.5); use kernel=parallel"
    )


def test_a_chunk_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="chunk") as error:
        Retention(chunk=0)
    assert str(error.value) == "chunk must be at least 1: chunk=0; write 64 or more"

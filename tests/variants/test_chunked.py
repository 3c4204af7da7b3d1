"""Chunks: what is skipped, what is masked, what is refused, what is claimed."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch

from harness.inputs import make_inputs
from harness.mask import Mask
from harness.reference import softmax_attention
from tests.build import workload
from variants.chunked import Chunked
from variants.chunked.part import LOG2_E, MODERATE, parts

KERNELS: tuple[Literal["naive", "blocked"], ...] = ("naive", "blocked")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    "mask", ["causal", "window(5)", "causal+window(16)", "packed(3)", "padding(0.5)"]
)
def test_wholly_masked_chunks_are_not_read(mask: str, kernel: Literal["naive", "blocked"]) -> None:
    """NaN in a masked value shows unless its chunk is skipped: a weight of 0 does not hide it."""
    case = workload(batch=2, heads=2, q_len=64, head_dim=4, mask=mask)
    q, k, v = make_inputs(case)
    seen = case.build_mask().dense().view(-1, 4, 16, 4, 16).any(4).any(2).any(0)
    skipped = 0
    for chunk in range(4):
        hidden = ~seen[chunk].repeat_interleave(16)
        skipped += int(hidden.sum()) // 16
        poisoned = (x.masked_fill(hidden[:, None], torch.nan) for x in (k, v))
        out = Chunked(16, 16, kernel).prepare(case, case.build_mask())(q, *poisoned)
        assert out[:, :, 16 * chunk : 16 * (chunk + 1)].isfinite().all()
    assert skipped > 0


@pytest.mark.parametrize("kernel", KERNELS)
def test_only_chunks_that_are_partly_masked_are_masked(
    kernel: Literal["naive", "blocked"], monkeypatch: pytest.MonkeyPatch
) -> None:
    masked: list[tuple[slice, slice]] = []
    original = Mask.dense_block

    def noted(self: Mask, rows: slice, keys: slice) -> torch.Tensor:
        masked.append((rows, keys))
        return original(self, rows, keys)

    monkeypatch.setattr(Mask, "dense_block", noted)
    case = workload(q_len=64, head_dim=4, mask="causal")
    Chunked(16, 16, kernel).prepare(case, case.build_mask())(*make_inputs(case))
    diagonal = [slice(at, at + 16) for at in (0, 16, 32, 48)]
    assert masked == [(part, part) for part in diagonal]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("spread", [1e-3, 300.0])
def test_scores_of_any_size(spread: float, kernel: Literal["naive", "blocked"]) -> None:
    """Their differences may be beyond what a weight can hold: the peak keeps sums at 1 or more."""
    case = workload(q_len=40, head_dim=8, mask="causal", inputs=f"normal({spread})")
    q, k, v = make_inputs(case)
    mask = case.build_mask()
    found = Chunked(8, 8, kernel).prepare(case, mask)(q, k, v)
    doubles = (x.double() for x in (q, k, v))
    truth = softmax_attention(*doubles, mask=mask, scale=case.scale)
    # A score of size s is rounded by s eps, and its weight changes by that share.
    assert float((found - truth).abs().max()) < 8 * torch.finfo(torch.float32).eps * (
        4 * spread + 4
    )


@pytest.mark.parametrize("size", [0.99 * MODERATE, 1.01 * MODERATE])
@pytest.mark.parametrize("sign", [-1, 1])
def test_scores_at_the_limit_of_what_needs_no_peak(size: float, sign: int) -> None:
    """Each row's scores are all but one at the far end, above or below."""
    case = workload(q_len=48, head_dim=8)
    _, _, v = make_inputs(case)
    q, k = torch.zeros_like(v), torch.zeros_like(v)
    q[..., 0] = k[..., 0] = (size / LOG2_E / case.scale) ** 0.5
    k[..., 1:, 0] *= sign
    mask = case.build_mask()
    part = parts(case, mask, 16, 16)[0]
    assert part.moderate(q, k) == (size < MODERATE)
    truth = softmax_attention(q.double(), k.double(), v.double(), mask=mask, scale=case.scale)
    out = Chunked(16, 16, "blocked").prepare(case, mask)(q, k, v)
    torch.testing.assert_close(out.double(), truth, rtol=1e-5, atol=1e-6)


def test_what_is_not_a_number_is_not_moderate() -> None:
    case = workload(q_len=48, head_dim=8)
    q, k, _ = make_inputs(case)
    part = parts(case, case.build_mask(), 16, 16)[0]
    assert part.moderate(q, k)
    k[0, 0, 3, 2] = torch.nan
    assert not part.moderate(q, k)


@pytest.mark.parametrize("field", ["q_chunk", "kv_chunk"])
def test_chunks_are_at_least_one(field: str) -> None:
    with pytest.raises(ValueError, match=field) as error:
        Chunked(**{field: 0})  # type: ignore[arg-type]
    assert str(error.value) == f"{field} must be at least 1: {field}=0; write 256 or more"


@pytest.mark.parametrize(
    ("kernel", "fields", "reason"),
    [
        ("naive", {"compile": True}, None),
        ("blocked", {"dtype": "float16", "kv_heads": 1, "heads": 4}, None),
        (
            "blocked",
            {"compile": True},
            "kernel=blocked writes into memory that it reuses, which torch.compile cannot follow; "
            "use kernel=naive or compile: false",
        ),
    ],
)
def test_unsupported(kernel: Any, fields: dict[str, Any], reason: str | None) -> None:
    assert Chunked(kernel=kernel).unsupported(workload(**fields)) == reason


@pytest.mark.parametrize(
    ("mask", "growth"), [("none", 2.0), ("causal", 2.0), ("packed(3)", 2.0), ("window(9)", 1.0)]
)
def test_time_grows_with_the_pairs(mask: str, growth: float) -> None:
    cost = Chunked(kernel="blocked").cost(workload(q_len=64, mask=mask))
    assert (cost.time_growth, cost.memory_growth) == (growth, 1.0)

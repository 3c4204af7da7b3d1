from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness import softmax_attention
from harness.inputs import make_output_gradient
from harness.measure import truth
from tests.measure.gate import answer, judged, small, truth_for

LONG = 4 * truth.TILE + 10


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lengths above 64 count as long."""
    monkeypatch.setattr(truth, "ALL_ROWS", 64)


def test_all_rows_are_judged_up_to_4096() -> None:
    assert truth.ALL_ROWS == 4096
    rows = truth.judged_rows(small(q_len=4096), rowwise=True)
    assert rows.tolist() == list(range(4096))


@pytest.mark.usefixtures("sampled")
def test_long_inputs_are_judged_on_one_row_a_tile_and_the_last() -> None:
    rows = truth.judged_rows(small(q_len=LONG), rowwise=True).tolist()
    assert {row // truth.TILE for row in rows} == set(range(5))
    assert rows[-1] == LONG - 1
    assert [sum(row // truth.TILE == tile for row in rows[:-1]) for tile in range(4)] == [1] * 4
    assert len(rows) in (5, 6)  # the sampled row of the last tile may be the last one
    assert truth.judged_rows(small(q_len=64), rowwise=True).tolist() == list(range(64))


@pytest.mark.usefixtures("sampled")
def test_a_definition_whose_rows_depend_on_each_other_gets_them_all() -> None:
    assert len(truth.judged_rows(small(q_len=LONG), rowwise=False)) == LONG


@pytest.mark.usefixtures("sampled")
def test_a_sparse_output_gradient_makes_dk_and_dv_exact() -> None:
    asked = small(q_len=LONG, mask="causal", dtype="float64")
    found = truth_for(asked)
    whole = answer(softmax_attention, asked, found)  # every row, with the same output gradient
    assert whole.output is not None
    assert torch.allclose(found.output, whole.output[:, :, found.rows])
    dq, dk, dv = found.gradients
    assert torch.allclose(dk, whole.gradients[1], atol=1e-12)
    assert torch.allclose(dv, whole.gradients[2], atol=1e-12)
    assert torch.allclose(dq, whole.gradients[0][:, :, found.rows], atol=1e-12)
    upstream = make_output_gradient(asked, found.rows)
    others = torch.ones(LONG, dtype=torch.bool)
    others[found.rows] = False
    assert not bool(upstream[:, :, others].any())
    assert float(dk.abs().max()) > 0.01


@pytest.mark.usefixtures("sampled")
def test_the_whole_output_is_checked_to_be_finite() -> None:
    asked = small(q_len=LONG, **{"pass": "forward"})
    rows = truth.judged_rows(asked, rowwise=True).tolist()
    unseen = next(row for row in range(LONG) if row not in rows)

    def spoilt(*tensors: torch.Tensor, **given: object) -> torch.Tensor:
        output = softmax_attention(*tensors, **given)  # type: ignore[arg-type]
        output[0, 1, unseen] = torch.inf
        return output

    wrong = f"output is not finite, first at batch 0, head 1, row {unseen}"
    assert judged(spoilt, asked).wrong == wrong


def test_row_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = small(mask="causal+padding(0.7)", kv_heads=2)
    whole = truth_for(asked)
    monkeypatch.setattr(truth, "CHUNK_SCORES", 7 * 2 * 4 * 64)
    parts = truth_for(asked)
    assert torch.allclose(whole.output, parts.output)
    for a, b in zip(whole.gradients, parts.gradients, strict=True):
        assert torch.allclose(a, b)
    assert parts.gradients[1].shape == (2, 2, 64, 16)


def test_a_truth_reads_back_from_disk(tmp_path: Path) -> None:
    found = truth_for(small())
    truth.save(found, tmp_path / "truth.pt")
    again = truth.load(tmp_path / "truth.pt")
    assert again.own == found.own
    assert torch.equal(again.output, found.output)
    assert all(map(torch.equal, again.gradients, found.gradients))


def test_in_float64_a_definition_is_taken_to_err_as_in_float32() -> None:
    """The truth itself has no error to allow for; another right kernel has one."""
    single, double = (truth_for(small(dtype=dtype)).own for dtype in ("float32", "float64"))
    share = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
    for name in ("tensor", "row", "gradient"):
        assert getattr(double, name) == pytest.approx(share * getattr(single, name), rel=0.3)
    assert double.row > 0

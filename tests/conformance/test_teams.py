"""Every op of several processes against its definition: schedules, masks, workers, dtypes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from harness.variant import TeamOp, create
from harness.workload import Workload
from tests.build import workload
from tests.conformance.contract import MASKS, assert_matches, refusal, require
from variants.scheduled import rows

SIZES = {"q_len": 37, "batch": 2, "heads": 2, "head_dim": 8, "v_head_dim": 6, "threads": 1}

SOME = ("none", "causal+padding(0.5)", "causal+window(6)+packed(2)")


def case_for(team: TeamOp, **fields: Any) -> Workload:
    """A workload of these fields, with q and k shared where the op takes no others."""
    plain = workload(pass_="forward+backward", **{**SIZES, **fields})
    if "shared: qk" not in (refusal(team, plain) or ""):
        return plain
    return workload(pass_="forward+backward", shared="qk", **{**SIZES, **fields})


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    gc.collect()


@pytest.mark.parametrize("mask", MASKS)
def test_output_and_gradients(team: TeamOp, mask: str) -> None:
    case = case_for(team, mask=mask)
    if mask not in SOME and team.spec.params:
        pytest.skip("every mask is tried by the defaults")
    require(team, case)
    assert_matches(team, case)


@pytest.mark.parametrize("workers", [3, 4])
def test_more_workers(team: TeamOp, workers: int) -> None:
    more = create(team.name, {**dict(team.spec.params), "workers": workers})
    assert isinstance(more, TeamOp)
    case = case_for(more, mask="causal")
    require(more, case)
    assert_matches(more, case)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_dtypes(team: TeamOp, dtype: str) -> None:
    case = case_for(team, mask="causal", dtype=dtype)
    require(team, case)
    assert_matches(team, case)


def test_tiles(team: TeamOp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of several tiles, which they have of longer sequences alone."""
    monkeypatch.setattr(rows, "TILE", 8)
    case = case_for(team, mask="causal+padding(0.5)")
    require(team, case)
    assert_matches(team, case)

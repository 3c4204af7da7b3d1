"""Every op of several processes against its definition: schedules, masks, workers, dtypes."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from harness.variant import TeamOp, create
from tests.build import workload
from tests.conformance.contract import MASKS, assert_matches, require

SIZES = {"q_len": 37, "batch": 2, "heads": 2, "head_dim": 8, "v_head_dim": 6, "threads": 1}

SOME = ("none", "causal+padding(0.5)", "causal+window(6)+packed(2)")


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    gc.collect()


@pytest.mark.parametrize("mask", MASKS)
def test_output_and_gradients(team: TeamOp, mask: str) -> None:
    case = workload(pass_="forward+backward", mask=mask, **SIZES)
    require(team, case)
    if mask not in SOME and team.spec.params:
        pytest.skip("every mask is tried by the defaults")
    assert_matches(team, case)


@pytest.mark.parametrize("workers", [3, 4])
def test_more_workers(team: TeamOp, workers: int) -> None:
    more = create(team.name, {**dict(team.spec.params), "workers": workers})
    case = workload(pass_="forward+backward", mask="causal", **SIZES)
    assert isinstance(more, TeamOp)
    require(more, case)
    assert_matches(more, case)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_dtypes(team: TeamOp, dtype: str) -> None:
    case = workload(pass_="forward+backward", mask="causal", dtype=dtype, **SIZES)
    require(team, case)
    assert_matches(team, case)


def test_heads_that_share_keys(team: TeamOp) -> None:
    case = workload(pass_="forward+backward", mask="causal", **{**SIZES, "heads": 4, "kv_heads": 2})
    require(team, case)
    assert_matches(team, case)

"""What kernels that skip pairs or keep states say that they execute, beside what they multiply."""

from __future__ import annotations

from typing import Any

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.inputs import make_inputs
from tests.build import workload
from tests.variants.test_costs import MASKS, PASSES, counted
from variants.cosine import Cosine
from variants.differential import Differential
from variants.retention import Retention
from variants.window import Window

SIZES: dict[str, Any] = {"batch": 2, "heads": 2, "q_len": 150, "head_dim": 16}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("pass_", PASSES)
def test_the_window_counts_its_chunks(pass_: str, mask: str) -> None:
    case = workload(pass_=pass_, mask=mask, **SIZES)
    with sdpa_kernel(SDPBackend.MATH):  # whose products are written out, and so are counted
        assert Window(20, q_chunk=32).cost(case).flops == counted(Window(20, q_chunk=32), case)


@pytest.mark.parametrize("v_head_dim", [16, 48])
@pytest.mark.parametrize("op", [Cosine(kernel="sdpa"), Differential(kernel="sdpa")], ids=str)
@pytest.mark.parametrize("mask", ["causal", "window(40)"])
def test_kernels_on_sdpa_count_what_it_does(
    op: Cosine | Differential, mask: str, v_head_dim: int
) -> None:
    """Plain causal, a fused kernel skips what is masked, and half of the pairs are claimed."""
    case = workload(mask=mask, v_head_dim=v_head_dim, **SIZES)
    flops = case.flops() if op.cost(case).flops is None else op.cost(case).flops
    with sdpa_kernel(SDPBackend.MATH):
        found = counted(op, case)
    # Cosine's values of another width are left to the kernel that skips nothing.
    fused = isinstance(op, Differential) or v_head_dim == case.head_dim
    skips = fused and mask == "causal"
    attended = case.build_mask().pairs() / case.all_pairs if skips else 1.0
    assert flops == pytest.approx(attended * found)


@pytest.mark.parametrize("pass_", PASSES)
def test_values_of_another_width_are_left_to_the_kernel_that_computes_all(pass_: str) -> None:
    case = workload(pass_=pass_, mask="causal", v_head_dim=48, **SIZES)
    op = Cosine(kernel="sdpa")
    with sdpa_kernel(SDPBackend.MATH):
        assert op.cost(case).flops == counted(op, case)


def test_halves_are_as_wide_as_values_so_that_a_fused_kernel_takes_them() -> None:
    case = workload(v_head_dim=48, **SIZES)
    call = Differential(kernel="sdpa").prepare(case, case.build_mask())
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        call(*make_inputs(case))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("pass_", PASSES)
def test_parallel_retention_counts_every_pair(pass_: str, mask: str) -> None:
    case = workload(pass_=pass_, mask=mask, v_head_dim=24, **SIZES)
    assert Retention().cost(case).flops == counted(Retention(), case)


@pytest.mark.parametrize("kv_len", [150, 190, 100])
@pytest.mark.parametrize("pass_", PASSES)
def test_chunkwise_retention_counts_chunks_and_states(pass_: str, kv_len: int) -> None:
    op = Retention(kernel="chunkwise", chunk=32)
    case = workload(pass_=pass_, mask="causal", kv_len=kv_len, v_head_dim=24, **SIZES)
    assert op.cost(case).flops == counted(op, case)


def test_decoding_from_a_state_is_one_product_with_it() -> None:
    case = workload(pass_="decode", heads=3, q_len=1, kv_len=40, head_dim=8, v_head_dim=6)
    cost = Retention().cost(case)
    assert cost.flops == counted(Retention(), case) == 2 * 3 * 8 * 6
    assert cost.state_bytes == 4 * 3 * 8 * 6

"""What the built-in variants say that they execute, beside what their code really multiplies."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask
from torch.utils.flop_counter import FlopCounterMode

from harness.inputs import make_inputs, make_output_gradient
from harness.measure.calls import make_buffers, prepare
from harness.variant import AttentionOp, Cost, parse_spec
from harness.variant import create as created
from harness.workload import Workload
from tests.build import workload
from variants.flex import Flex, _visited_pairs

MASKS = ("none", "causal", "window(40)", "causal+window(70)", "padding(0.5)", "packed(3)")
WRITTEN_OUT = (
    "softmax", "polynomial", "sdpa(backend=math)", "chunked(q_chunk=32, kv_chunk=48)",
    "chunked(q_chunk=32, kv_chunk=48, kernel=blocked)",
    "sigmoid", "relu", "cosine", "alibi", "differential",
)  # fmt: skip
PASSES = ("forward", "backward", "forward+backward")


def _op(text: str) -> AttentionOp:
    spec = parse_spec(text)
    op = created(spec.name, dict(spec.params))
    assert isinstance(op, AttentionOp)
    return op


def _added(total: Any, a: tuple[int, ...], b: tuple[int, ...], **_: Any) -> int:
    """FLOPs of total += a @ b, from the shapes."""
    return 2 * math.prod(a) * b[-1]


def counted(op: AttentionOp, case: Workload) -> int:
    """FLOPs of the matrix products that torch is asked for in one timed call."""
    upstream = None
    if case.has_gradients:
        upstream = make_output_gradient(case, torch.arange(case.q_len))
    call = prepare(op, case, case.build_mask(), make_buffers(case, make_inputs(case), upstream))
    call.before()
    in_place = {torch.ops.aten.baddbmm_: _added}  # torch counts the others itself
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        call.run()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("pass_", PASSES)
@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_products_written_out_are_counted_to_the_flop(
    installed: None, name: str, pass_: str, mask: str
) -> None:
    case = workload(pass_=pass_, batch=2, heads=2, q_len=150, head_dim=16, v_head_dim=16, mask=mask)
    assert _op(name).cost(case).flops == counted(_op(name), case)


def test_heads_of_two_widths_are_counted_to_the_flop(installed: None) -> None:
    sizes = {"q_len": 20, "kv_len": 33, "head_dim": 8, "v_head_dim": 24}
    case = workload(pass_="forward+backward", **sizes)
    for name in WRITTEN_OUT[:5]:
        assert _op(name).cost(case).flops == counted(_op(name), case)


def test_fused_kernels_skip_what_plain_causal_masks_and_nothing_else(installed: None) -> None:
    plain, window = workload(mask="causal", q_len=64), workload(mask="window(4)", q_len=64)
    flash = _op("sdpa(backend=flash)")
    assert flash.cost(plain).flops is None
    assert flash.cost(window).flops == window.flops_of(64 * 64)
    assert _op("sdpa(backend=math)").cost(plain).flops == plain.flops_of(64 * 64)


def test_blocks_that_flex_visits_are_those_of_its_own_block_mask(installed: None) -> None:
    drawn = random.Random(5)
    sizes = itertools.product(MASKS, (1, 3))
    for mask, batch in sizes:
        length = drawn.randrange(2, 700)
        case = workload(mask=mask, batch=batch, q_len=length)
        built = case.build_mask()
        assert _visited_pairs(built) == _flex_pairs(built, batch), (mask, batch, length)


def _flex_pairs(mask: Any, batch: int) -> int:
    dense = mask.dense()[:, 0]

    def attends(b: Any, h: Any, i: Any, j: Any) -> Any:
        return dense[b % len(dense), i, j]

    blocks = create_block_mask(attends, batch, None, mask.q_len, mask.kv_len, device="cpu")
    visited = blocks.to_dense()[:, 0]
    rows = torch.full((visited.shape[1],), 128)
    rows[-1] = mask.q_len - 128 * (len(rows) - 1)
    keys = torch.full((visited.shape[2],), 128)
    keys[-1] = mask.kv_len - 128 * (len(keys) - 1)
    return int((visited * rows[:, None] * keys).sum())


@pytest.mark.parametrize("pass_", [*PASSES, "decode"])
@pytest.mark.parametrize("mask", MASKS[:4])
def test_nobody_executes_less_than_the_attended_pairs(
    installed: None, mask: str, pass_: str
) -> None:
    sizes: dict[str, Any] = {"kv_len": 300} if pass_ == "decode" else {"q_len": 300}
    case = Workload.model_validate({"pass": pass_, "mask": mask, **sizes})
    least = case.build_mask().pairs() * 2 * 128
    least *= {"backward": 2, "forward+backward": 3}.get(pass_, 1)
    for op in [_op(name) for name in (*WRITTEN_OUT, "chunked", "sdpa", "sdpa(backend=flash)")]:
        cost = op.cost(case)
        assert isinstance(cost, Cost)
        assert (case.flops() if cost.flops is None else cost.flops) >= least
    if pass_ in ("forward", "decode"):
        flops = Flex().cost(case).flops
        assert flops is not None
        assert flops >= least

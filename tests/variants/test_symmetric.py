"""The triangle: what it reads, what it saves, where its weights end, what it refuses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.device import CpuDevice
from harness.inputs import make_inputs
from harness.measure import kernels
from harness.measure.calls import make_buffers, prepare
from harness.variant import definition_key, family_of
from harness.workload import Workload
from tests.build import op_named, workload
from tests.measure.gate import judged
from tests.variants.test_costs import PASSES, counted
from variants.symmetric import Symmetric
from variants.symmetric.triangle import MARK
from variants.symmetric.two_sided import MARK as TWO_SIDED
from variants.symmetric.weights import SPREAD, Range

TRIANGLE = Symmetric(kernel="triangle", block=16)
CUBIC = Symmetric("polynomial", kernel="triangle", block=16)
GRADIENTS: dict[str, Any] = {"pass": "forward+backward"}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Shapes are tiny here: waking a second thread costs more than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _asked(**fields: Any) -> Workload:
    return workload(**{"heads": 2, "q_len": 50, "head_dim": 16, "shared": "qk", **fields})


def _attend(op: Symmetric, case: Workload) -> Any:
    """As the gate calls it: the same signature as a definition's."""

    def attend(q: Tensor, k: Tensor, v: Tensor, **_: Any) -> Tensor:
        return op.prepare(case, case.build_mask())(q, k, v)

    return attend


def _ran(op: Symmetric, case: Workload) -> tuple[tuple[str, ...], str | None]:
    """Kernels that ran in a call, and what the harness says of them."""
    call = prepare(op, case, case.build_mask(), make_buffers(case, make_inputs(case), None))
    found = CpuDevice().profile(call.run).kernels
    return found, kernels.fallback(op, case, found)


@pytest.mark.parametrize(
    ("inputs", "range_", "mark"),
    [
        ("normal(0.1)", Range.MODERATE, MARK),
        ("normal(2)", Range.MODERATE, MARK),
        ("normal(7)", Range.SHIFTED, MARK),
        ("normal(200)", Range.WIDE, TWO_SIDED),
    ],
)
@pytest.mark.parametrize("mask", ["none", "causal"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_scores_of_any_size_pass_the_gate(
    inputs: str, range_: Range, mark: str, mask: str, dtype: str
) -> None:
    case = _asked(**GRADIENTS, inputs=inputs, mask=mask, dtype=dtype)
    x = make_inputs(case)[0].float()
    own = x.square().sum(-1) * case.scale
    assert Range.of(own / torch.tensor(2.0).log()) is range_
    assert judged(_attend(TRIANGLE, case), case).wrong is None
    ran, fault = _ran(TRIANGLE, case.model_copy(update={"pass_": "forward"}))
    assert ({MARK, TWO_SIDED} & set(ran)) == {mark}
    if mark == MARK:
        assert fault is None
    else:
        assert fault is not None
        assert fault.startswith(f"asked for {MARK}, but the kernels that ran are {TWO_SIDED}")


def test_the_polynomial_never_falls_back() -> None:
    ran, fault = _ran(CUBIC, _asked(inputs="normal(200)"))
    assert MARK in ran
    assert fault is None


@pytest.mark.parametrize("length", [1.0, 8.0, 60.0])
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_tokens_of_one_length(length: float, mask: str) -> None:
    """However large the scores: where all s_ii are the same, the shifted weights are in range."""
    case = _asked(mask=mask, scale=1.0)
    x, _, v = make_inputs(case)
    x = torch.nn.functional.normalize(x, dim=-1) * length
    _assert_softmax(case, x, v)


@pytest.mark.parametrize("spread", [0.0, 0.99 * SPREAD, 1.01 * SPREAD])
@pytest.mark.parametrize("mask", ["none", "causal"])
@pytest.mark.parametrize("longest", [0, 25, 49])
def test_the_range_at_its_end(spread: float, mask: str, longest: int) -> None:
    """One token's score with itself is larger than those of the others by this much."""
    case = _asked(mask=mask, scale=1.0)
    x, _, v = make_inputs(case)
    x = torch.nn.functional.normalize(x, dim=-1) * 8
    x[..., longest, :] *= ((64 + spread) / 64) ** 0.5
    _assert_softmax(case, x, v)


def _assert_softmax(case: Workload, x: Tensor, v: Tensor) -> None:
    """Output and gradients, about as far off the truth as the plain form.

    Gradients may cancel to nothing where a row attends to itself alone, but not the rounding of
    their terms.
    """
    upstream = make_inputs(case, 1)[2]
    found, plain, truth = (
        _gradients(op, case, x.to(dtype), v.to(dtype), upstream.to(dtype))
        for op, dtype in (
            (TRIANGLE, torch.float32),
            (Symmetric(), torch.float32),
            (Symmetric(), torch.float64),
        )
    )
    sizes = (float(tensor.norm(dim=-1).max()) for tensor in (upstream, v, x))
    terms = 1e-6 * math.prod(sizes) * case.scale
    for got, usual, right in zip(found, plain, truth, strict=True):
        allowed = 4 * float((usual - right).abs().max()) + 1e-5 * float(right.abs().max()) + terms
        assert float((got - right).abs().max()) <= allowed


def _gradients(op: Symmetric, case: Workload, x: Tensor, v: Tensor, up: Tensor) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in (x, x, v)]
    out = op.prepare(case, case.build_mask())(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, up)]


def test_what_is_not_a_number_stays_in_its_own_sequence() -> None:
    case = _asked(batch=2)
    q, k, v = make_inputs(case)
    expected = TRIANGLE.prepare(case, case.build_mask())(q, k, v)
    q[0, 0, 3, 2] = torch.nan
    found = TRIANGLE.prepare(case, case.build_mask())(q, q, v)
    torch.testing.assert_close(found[1], expected[1])
    assert found[0, 0].isnan().all()


@pytest.mark.parametrize("mask", ["none", "causal"])
@pytest.mark.parametrize(
    "op", [TRIANGLE, CUBIC, Symmetric("polynomial", 2, "triangle", 5)], ids=str
)
def test_gradients_are_those_of_the_plain_form(op: Symmetric, mask: str) -> None:
    """Numerically, of x as q, k and v together, and of v alone."""
    fields = {"q_len": 7, "head_dim": 3, "v_head_dim": 3, "dtype": "float64", "mask": mask}
    for inputs in ("normal(2)", "normal(30)", "normal(200)"):
        case = _asked(**GRADIENTS, **fields, inputs=inputs)
        small = Symmetric(op.mechanism, op.degree, "triangle", 3)
        attend = small.prepare(case, case.build_mask())
        x, _, v = make_inputs(case)
        x, v = x.requires_grad_(), v.requires_grad_()
        with torch.no_grad():
            # Weights are steep where scores are large: tokens nearer to each other.
            x.div_(1 if inputs == "normal(2)" else 4).add_(1)
        assert torch.autograd.gradcheck(lambda x, v: attend(x, x, v), (x, v))  # noqa: B023


def test_it_reads_no_k() -> None:
    case = _asked()
    q, k, v = make_inputs(case)
    for op in (TRIANGLE, CUBIC):
        attend = op.prepare(case, case.build_mask())
        assert torch.equal(attend(q, k, v), attend(q, torch.full_like(k, torch.nan), v))


def test_definition_and_family_are_the_mechanisms() -> None:
    for op, plain in (
        (TRIANGLE, "softmax"),
        (CUBIC, "polynomial"),
        (Symmetric("polynomial", 2), "polynomial(degree=2)"),
    ):
        assert definition_key(op) == definition_key(op_named(plain))
        assert family_of(op) == family_of(op_named(plain))


@pytest.mark.parametrize("pass_", PASSES)
@pytest.mark.parametrize("mask", ["none", "causal"])
@pytest.mark.parametrize("op", [TRIANGLE, CUBIC, Symmetric(), Symmetric("polynomial")], ids=str)
def test_products_are_counted_to_the_flop(op: Symmetric, mask: str, pass_: str) -> None:
    case = _asked(pass_=pass_, batch=2, v_head_dim=12, mask=mask)
    assert op.cost(case).flops == counted(op, case)


def test_half_of_the_score_products_are_saved() -> None:
    case = _asked(q_len=4096, head_dim=64, heads=1)
    full = case.flops()
    saved = full - (Symmetric("polynomial", kernel="triangle", block=256).cost(case).flops or 0)
    # (g - 1) / 4g of all, g the number of blocks.
    assert saved / full == pytest.approx(15 / 64)


def test_bytes_leave_out_k() -> None:
    case = _asked(batch=3)
    k = make_inputs(case)[1]
    assert case.compulsory_bytes() - (TRIANGLE.cost(case).bytes or 0) == k.numel() * 4
    both = case.model_copy(update={"pass_": "forward+backward"})
    assert both.compulsory_bytes() - (TRIANGLE.cost(both).bytes or 0) == 2 * k.numel() * 4


@pytest.mark.parametrize(
    ("op", "fields", "reason"),
    [
        (TRIANGLE, {}, None),
        (TRIANGLE, {"mask": "causal", "dtype": "float16"}, None),
        (Symmetric(), {"mask": "causal+window(3)", "compile": True, "device": "cuda"}, None),
        (
            Symmetric(),
            {"shared": "none"},
            "symmetric needs q = k, and this workload has shared=none; write shared: qk",
        ),
        (
            TRIANGLE,
            {"mask": "window(4)"},
            "kernel=triangle takes mask none or causal, found window(4); use kernel=naive",
        ),
        (
            TRIANGLE,
            {"compile": True},
            "kernel=triangle writes into memory that it reuses, which torch.compile cannot "
            "follow; use kernel=naive or compile: false",
        ),
        (
            TRIANGLE,
            {"device": "cuda"},
            "kernel=triangle chooses by the range of the scores, which a GPU would be waited for; "
            "use kernel=naive or device: cpu",
        ),
        (
            CUBIC,
            {"dtype": "float16", "inputs": "normal(5)"},
            "float16 ends at 6.55e+04, which scores of standard deviation 5 to the power 3 pass; "
            "use bfloat16 or float32, a lower degree or smaller scores",
        ),
    ],
)
def test_unsupported(op: Symmetric, fields: dict[str, Any], reason: str | None) -> None:
    assert op.unsupported(_asked(**fields)) == reason


def test_it_takes_no_bias() -> None:
    assert not Symmetric.biased


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"degree": 2},
            "degree is read under mechanism=polynomial alone: degree=2; write "
            "mechanism=polynomial or leave degree out",
        ),
        ({"block": 0}, "block must be at least 1: block=0; write 256 or more"),
        (
            {"mechanism": "polynomial", "degree": 0},
            "degree must be at least 1: degree=0; write 1, 2, 3 or more",
        ),
    ],
)
def test_parameters(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"must be|is read") as error:
        Symmetric(**fields)
    assert str(error.value) == message

"""polynomial(kernel=linear): its features, its sums, what it costs and what it refuses."""

from __future__ import annotations

import pytest
import torch

from harness.device import CpuDevice
from harness.inputs import make_inputs
from harness.workload import Workload
from tests.build import workload
from tests.conformance.contract import MASKS, assert_matches
from tests.variants.test_costs import counted
from variants.polynomial import Polynomial, running, sums
from variants.polynomial.features import Features
from variants.polynomial.steps import steps, unpadded

LINEAR = {degree: Polynomial(degree, kernel="linear") for degree in (1, 2)}
SUMMED = [mask for mask in MASKS if "window" not in mask]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 8 rows, two heads, features of 10 vectors at once: short lengths have many."""
    monkeypatch.setattr(running, "CHUNK", 8)
    monkeypatch.setattr(running, "HEADS", 2)
    monkeypatch.setattr(sums, "ROWS", 10)


@pytest.mark.parametrize("head_dim", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("degree", [1, 2])
def test_products_of_features_are_powers(degree: int, head_dim: int) -> None:
    features = Features(degree, head_dim)
    x, y = torch.randn(2, 3, 7, head_dim, dtype=torch.float64)
    f, g = features.of(x), features.of(y)
    assert f.shape == (3, 7, features.width)
    torch.testing.assert_close(features.times * f @ g.mT, (x @ y.mT) ** degree)


@pytest.mark.parametrize("head_dim", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("degree", [1, 2])
def test_features_have_their_gradient(degree: int, head_dim: int) -> None:
    """With the upstream f(y), features have the product (x . y)^p / times to differentiate."""
    features = Features(degree, head_dim)
    x, y = torch.randn(2, 3, 5, head_dim, dtype=torch.float64)
    x.requires_grad_()
    product = (x * y).sum(-1) ** degree / features.times
    (expected,) = torch.autograd.grad(product.sum(), x)
    found = features.gradient(x.detach(), features.of(y).clone())
    torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("mask", SUMMED)
@pytest.mark.parametrize("degree", LINEAR)
def test_many_chunks(degree: int, mask: str) -> None:
    for q_len, kv_len in ((30, 30), (30, 47), (47, 30)):
        if "packed" in mask and q_len != kv_len:
            continue
        sizes = {"q_len": q_len, "kv_len": kv_len, "head_dim": 6, "v_head_dim": 5}
        case = workload(
            pass_="forward+backward", batch=2, heads=6, kv_heads=3, mask=mask, dtype="float64",
            **sizes,
        )  # fmt: skip
        assert_matches(LINEAR[degree], case)


@pytest.mark.parametrize("mask", ["none", "causal+padding(0.6)"])
@pytest.mark.parametrize("degree", LINEAR)
def test_gradcheck(degree: int, mask: str) -> None:
    case = workload(
        pass_="forward+backward", batch=2, heads=2, kv_heads=1, q_len=5, kv_len=6, head_dim=3,
        mask=mask, dtype="float64",
    )  # fmt: skip
    attend = LINEAR[degree].prepare(case, case.build_mask())
    inputs = tuple(tensor.requires_grad_() for tensor in make_inputs(case))
    assert torch.autograd.gradcheck(attend, inputs)


@pytest.mark.parametrize("mask", SUMMED)
def test_each_row_reads_what_the_mask_shows_it(mask: str) -> None:
    """Keys that have entered, and those near it that it sees; padded ones enter as 0."""
    case = workload(batch=2, q_len=50, mask=mask)
    whole = unpadded(case.build_mask())
    found = torch.zeros(50, 50, dtype=torch.bool)
    inside: set[int] = set()
    for step in steps(whole, 8):
        inside = (set() if step.fresh else inside) | set(range(50)[step.entering])
        found[step.rows, sorted(inside)] = True
        found[step.rows, step.near] |= whole.dense()[0, 0, step.rows, step.near]
        assert step.near.stop - step.near.start < 8 or mask != "causal"
    assert torch.equal(found, whole.dense()[0, 0])


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("mask", SUMMED)
@pytest.mark.parametrize("pass_", ["forward", "backward", "forward+backward", "decode"])
@pytest.mark.parametrize("degree", LINEAR)
def test_products_are_counted_to_the_flop(degree: int, pass_: str, mask: str) -> None:
    q_len, kv_len = (1, 50) if pass_ == "decode" else (50, 50)
    if q_len != kv_len and "packed" in mask:
        return
    sizes = {"q_len": q_len, "kv_len": kv_len, "head_dim": 6, "v_head_dim": 5}
    case = workload(pass_=pass_, batch=2, heads=4, kv_heads=2, mask=mask, **sizes)
    assert LINEAR[degree].cost(case).flops == counted(LINEAR[degree], case)


@pytest.mark.parametrize("pass_", ["forward", "forward+backward"])
@pytest.mark.parametrize("mask", ["none", "causal", "causal+packed(3)"])
@pytest.mark.parametrize("degree", LINEAR)
def test_work_is_linear_in_the_length(degree: int, mask: str, pass_: str) -> None:
    short, long = (
        LINEAR[degree].cost(workload(pass_=pass_, q_len=length, mask=mask)).flops
        for length in (4096, 32768)
    )
    assert short is not None
    assert long is not None
    assert long / short == pytest.approx(8, rel=0.05)  # the first chunk reads no sum


def _peak(op: Polynomial, case: Workload) -> int:
    inputs = [tensor.requires_grad_(case.has_gradients) for tensor in make_inputs(case)]
    attend = op.prepare(case, case.build_mask())

    def call() -> object:
        out = attend(*inputs)
        return torch.autograd.grad(out.sum(), inputs) if case.has_gradients else out

    return CpuDevice().profile(call).peak_bytes


@pytest.mark.parametrize("pass_", ["forward", "forward+backward"])
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_features_are_not_kept(mask: str, pass_: str) -> None:
    """They are 17 times as wide as a key: kept, they would be most of the memory."""
    cases = [workload(pass_=pass_, q_len=length, head_dim=32, mask=mask) for length in (2048, 4096)]
    short, long = (_peak(LINEAR[2], case) for case in cases)
    assert 0 < long - short < 2048 * 4 * Features(2, 32).width


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("degree", LINEAR)
def test_decoding_step_by_step_is_the_causal_forward(degree: int, dtype: str) -> None:
    op = Polynomial(degree, norm="fixed", kernel="linear")
    case = workload(batch=2, heads=4, kv_heads=2, q_len=9, head_dim=6, mask="causal", dtype=dtype)
    q, k, v = make_inputs(case)
    expected = op.prepare(case, case.build_mask())(q, k, v)
    for at in range(9):
        one = case.model_copy(update={"pass_": "decode", "q_len": 1, "kv_len": at + 1})
        recurrence = op.recurrence(one, one.build_mask())
        assert recurrence is not None
        state = recurrence.prefill(k[:, :, :at], v[:, :, :at])
        before = state.clone()
        new = slice(at, at + 1)
        out = recurrence.step(q[:, :, new], k[:, :, new], v[:, :, new], state)
        assert torch.equal(state, before)
        torch.testing.assert_close(out, expected[:, :, new])


def test_a_state_is_kept_where_every_key_is_seen() -> None:
    def recurrence(op: Polynomial, **fields: object) -> object:
        case = workload(pass_="decode", q_len=1, kv_len=40, **fields)
        return op.recurrence(case, case.build_mask())

    assert recurrence(LINEAR[2], mask="causal") is not None
    assert recurrence(LINEAR[2], mask="padding(0.5)") is None
    assert recurrence(Polynomial(2)) is None
    sizes = {"heads": 4, "kv_heads": 2, "head_dim": 8, "v_head_dim": 6}
    case = workload(pass_="decode", q_len=1, kv_len=40, **sizes)
    # In float64, see `recurrence`.
    assert LINEAR[2].cost(case).state_bytes == 8 * 2 * 36 * 6
    assert LINEAR[1].cost(case).state_bytes == 4 * 2 * 8 * 6
    assert LINEAR[2].cost(case).time_growth == 0


@pytest.mark.parametrize(
    ("degree", "fields", "reason"),
    [
        (
            3,
            {},
            "kernel=linear takes degree 1 or 2, found 3, whose features are about head_dim^3; "
            "use kernel=blocked",
        ),
        (
            2,
            {"mask": "causal+window(8)"},
            "kernel=linear adds keys to a sum, and causal+window(8) takes them out again; use "
            "kernel=blocked",
        ),
        (
            1,
            {"compile": True},
            "kernel=linear loops over chunks, which torch.compile unrolls; use kernel=naive",
        ),
    ],
)
def test_reasons(degree: int, fields: dict[str, object], reason: str) -> None:
    assert Polynomial(degree, kernel="linear").unsupported(workload(**fields)) == reason

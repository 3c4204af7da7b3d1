"""Linformer: what is projected, when that is softmax attention, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness import softmax_attention
from harness.inputs import make_inputs
from harness.measure.truth import softmax_rows
from harness.workload import Workload
from tests.build import workload
from tests.variants.looped import computed
from tests.variants.test_costs import counted
from variants import linformer, segments
from variants.linformer import Linformer, gaussian


def small(**fields: object) -> Workload:
    """Grouped heads, float64."""
    sizes = {"batch": 2, "heads": 4, "kv_heads": 2, "q_len": 21, "kv_len": 30, "head_dim": 6}
    return workload(**{**sizes, "dtype": "float64", **fields})


def test_a_projection_that_changes_nothing_gives_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    def identity(rows: int, length: int, seed: int) -> torch.Tensor:
        return torch.eye(rows, length, dtype=torch.float64)

    monkeypatch.setattr(linformer, "gaussian", identity)
    torch.testing.assert_close(computed(Linformer(k_proj=30), small()), softmax_rows(small()))
    assert not torch.allclose(computed(Linformer(k_proj=29), small()), softmax_rows(small()))


def test_means_over_single_keys_are_the_keys() -> None:
    op = Linformer(k_proj=30, projection="mean")
    torch.testing.assert_close(computed(op, small()), softmax_rows(small()))


def test_means_over_equal_keys_are_softmax() -> None:
    """Five keys and values, each six times: projecting to five rows loses nothing."""
    case = small()
    q, k, v = make_inputs(case)
    k, v = (x[:, :, :5].repeat_interleave(6, 2) for x in (k, v))
    found = Linformer(k_proj=5, projection="mean").prepare(case, case.build_mask())(q, k, v)
    k, v = (x.repeat_interleave(2, 1) for x in (k, v))
    expected = softmax_attention(q, k, v, mask=case.build_mask(), scale=case.scale)
    torch.testing.assert_close(found, expected)


def test_the_projection_is_drawn_from_its_seed_with_variance_one_over_its_rows() -> None:
    drawn = gaussian(50, 4000, seed=1)
    assert torch.equal(drawn, gaussian(50, 4000, seed=1))
    assert abs(float((drawn * gaussian(50, 4000, seed=2)).sum(0).mean())) < 0.02
    assert float(drawn.square().sum(0).mean()) == pytest.approx(1, abs=0.02)


def test_a_gaussian_projection_keeps_products_on_average() -> None:
    """E E^T E = 1 (Johnson and Lindenstrauss): what the paper's theorems rest on."""
    drawn = torch.stack([gaussian(8, 12, seed) for seed in range(4000)])
    mean = (drawn.mT @ drawn).mean(0)
    torch.testing.assert_close(mean, torch.eye(12, dtype=torch.float64), atol=0.03, rtol=0)


@pytest.mark.parametrize("projection", ["gaussian", "mean"])
def test_hidden_keys_count_as_zero(projection: str) -> None:
    case = small(kv_len=21, mask="padding(0.5)")
    op = Linformer(k_proj=4, projection=projection)  # type: ignore[arg-type]
    mask = case.build_mask()
    assert mask.lengths is not None
    q, k, v = make_inputs(case)
    seen = (torch.arange(21) < mask.lengths[:, None])[:, None, :, None]
    plain = case.model_copy(update={"mask": "none"})
    zeroed = op.prepare(plain, plain.build_mask())(q, k * seen, v * seen)
    torch.testing.assert_close(op.prepare(case, mask)(q, k, v), zeroed)


@pytest.mark.parametrize(
    ("segments_", "length"), [(1, 1), (1, 7), (7, 7), (3, 7), (4, 8), (5, 23), (16, 33)]
)
def test_means_over_segments_are_the_product_with_their_matrix(segments_: int, length: int) -> None:
    x = torch.randn(2, 3, length, 4, dtype=torch.float64)
    matrix = segments.averaging(segments_, length)
    torch.testing.assert_close(segments.means(x, segments_), matrix @ x)
    assert torch.equal((matrix > 0).sum(0), torch.ones(length, dtype=torch.long))
    assert (matrix > 0).sum(1).max() - (matrix > 0).sum(1).min() <= 1


def test_masks_that_hide_other_keys_from_each_query_are_refused() -> None:
    op = Linformer()
    for mask in ("causal", "window(4)", "packed(3)", "causal+padding(0.5)"):
        assert op.unsupported(workload(q_len=20, mask=mask)) == (
            "linformer projects all keys together, so that every query must see the same keys; "
            f"mask={mask} hides other keys from each: use none or padding(f)"
        )
    for mask in ("none", "padding(0.5)", "window(20)", "packed(1)"):
        assert op.unsupported(workload(q_len=20, mask=mask)) is None
    # One query sees what it sees.
    assert op.unsupported(workload(pass_="decode", q_len=1, kv_len=20, mask="causal")) is None


@pytest.mark.parametrize("projection", ["gaussian", "mean"])
@pytest.mark.parametrize("pass_", ["forward", "backward", "forward+backward"])
def test_products_are_counted(pass_: str, projection: str) -> None:
    op = Linformer(k_proj=12, projection=projection)  # type: ignore[arg-type]
    case = small(**{"pass": pass_, "q_len": 90, "kv_len": 150})
    flops = op.cost(case).flops
    assert flops is not None
    with sdpa_kernel(SDPBackend.MATH):
        found = counted(op, case)
    # Fused, backward makes the scores again: a quarter more than written out.
    assert found <= flops <= 1.25 * found
    assert pass_ != "forward" or flops == found


def test_k_proj_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="k_proj") as error:
        Linformer(k_proj=0)
    assert str(error.value) == "k_proj must be at least 1: k_proj=0; write 64 or more"

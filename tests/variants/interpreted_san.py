"""Vector attention's Triton kernels under Triton's interpreter, on images of several tiles.

test_san_triton.py runs this file in a process of its own, and with it some conformance tests.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from harness.variant import create, measured
from harness.workload import Workload
from tests.conformance.contract import assert_matches
from variants.san import triton
from variants.san.relations import PAIRWISE, PATCHWISE
from variants.san.tiles import windows

RELATIONS = [("pairwise", name) for name in PAIRWISE] + [("patchwise", name) for name in PATCHWISE]


@pytest.mark.parametrize(("kind", "relation"), RELATIONS)
def test_relations(kind: str, relation: str) -> None:
    layer = create(f"san_{kind}", {"relation": relation, "kernel": "triton"})
    image = {"level": "layer", "batch": 2, "heads": 2, "channels": 32, "height": 5, "width": 7}
    given = {**image, "footprint": 3, "dtype": "float64", "pass": "forward+backward"}
    assert_matches(*measured(layer, Workload.model_validate(given)))


def _plainly(weights: Tensor, values: Tensor, footprint: int) -> Tensor:
    around = windows(values, footprint)
    shared = torch.unflatten(around, 1, (-1, weights.shape[1]))
    return (weights[:, None] * shared).sum(3).flatten(1, 2).view(values.shape)


def _given(batch: int, sizes: tuple[int, int], footprint: int, dtype: Any) -> tuple[Tensor, ...]:
    """Weights of two channels, values of 16, and a gradient of what comes out."""
    torch.manual_seed(3)
    height, width = sizes
    weights = torch.randn(batch, 2, footprint**2, height * width, dtype=dtype)
    values, upstream = torch.randn(2, batch, 16, height, width, dtype=dtype)
    return weights.requires_grad_(), values.requires_grad_(), upstream


def _assert_same(footprint: int, weights: Tensor, values: Tensor, upstream: Tensor) -> None:
    found, expected = triton.aggregated(weights, values), _plainly(weights, values, footprint)
    of_found, of_expected = (
        torch.autograd.grad(out, (weights, values), upstream) for out in (found, expected)
    )
    for one, other in zip((found, *of_found), (expected, *of_expected), strict=True):
        torch.testing.assert_close(one, other)


# The last tile is in part, of the image or of the image with margins; 9 x 6 is of more than one.
# 3 x 4 is as small as its window allows: all rows are mirrored, one of them at both edges.
@pytest.mark.parametrize(
    ("sizes", "footprint", "batch", "dtype", "block"),
    [
        ((9, 6), 3, 2, torch.float64, 32),
        ((5, 7), 5, 2, torch.float32, 64),
        ((3, 4), 5, 1, torch.float64, 64),
    ],
)
def test_sums_and_their_gradients(
    monkeypatch: pytest.MonkeyPatch, sizes: Any, footprint: int, batch: int, dtype: Any, block: int
) -> None:
    monkeypatch.setattr(triton, "BLOCK", block)
    _assert_same(footprint, *_given(batch, sizes, footprint, dtype))


def test_of_any_strides() -> None:
    weights, values, upstream = _given(2, (3, 5), 3, torch.float64)
    turned = weights.detach().mT.contiguous().mT.requires_grad_()
    last = values.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    _assert_same(3, turned, last, upstream[:1, :, :1].expand_as(upstream))


def test_sums_of_half_precision_are_in_float32() -> None:
    weights, values, upstream = _given(1, (4, 5), 3, torch.float16)
    wide = tuple(tensor.detach().float().requires_grad_() for tensor in (weights, values))
    out, expected = triton.aggregated(weights, values), _plainly(wide[0], wide[1], 3)
    found = torch.autograd.grad(out, (weights, values), upstream)
    of_wide = torch.autograd.grad(expected, wide, upstream.float())
    for one, other in zip((out, *found), (expected, *of_wide), strict=True):
        # One rounding of the result, and none of what was added up.
        torch.testing.assert_close(one.float(), other, rtol=2**-11, atol=1e-5)

"""Layers with kernels of their own on a GPU, against their definitions in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.device import CudaDevice
from harness.inputs import make_inputs
from harness.variant import AttentionOp, measured
from harness.workload import Workload
from tests.build import variant_named
from tests.conformance.contract import defined, run

UNAVAILABLE = CudaDevice().unavailable()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(UNAVAILABLE is not None, reason=f"needs a GPU: {UNAVAILABLE}"),
]
# Error relative to the norm of the reference, as for ops: roundings, TF32 of convolutions.
BOUNDS = {"float32": 5e-3, "bfloat16": 3e-2}
LAYERS = ("san_pairwise(kernel=triton)", "san_patchwise(kernel=triton)")
IMAGES = ((5, 7, 3), (28, 28, 7), (12, 20, 11))


def _measured(text: str, sizes: tuple[int, int, int], dtype: str) -> tuple[AttentionOp, Workload]:
    image = dict(zip(("height", "width", "footprint"), sizes, strict=True))
    common = {"level": "layer", "device": "cuda", "batch": 2, "channels": 128, "threads": 1}
    passed = {"dtype": dtype, "pass": "forward+backward"}
    return measured(variant_named(text), Workload.model_validate({**common, **image, **passed}))


@pytest.mark.parametrize("sizes", IMAGES, ids=str)
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("text", LAYERS)
def test_output_and_gradient_are_the_definitions(
    text: str, dtype: str, sizes: tuple[int, int, int]
) -> None:
    op, shapes = _measured(text, sizes, dtype)
    # The output and the gradient of x: of what else an op takes, a layer reads nothing.
    found, truth = run(op, shapes)[:2], defined(op, shapes, torch.float64)[:2]
    for part, expected in zip(found, truth, strict=True):
        assert part.dtype == shapes.torch_dtype
        assert float((part.double() - expected).norm() / expected.norm()) < BOUNDS[dtype]


@pytest.mark.parametrize("text", LAYERS)
def test_the_kernels_it_promises_run(text: str) -> None:
    op, shapes = _measured(text, IMAGES[0], "bfloat16")
    q, k, v = make_inputs(shapes)
    module: Any = op.prepare(shapes, shapes.build_mask())
    module.to(device="cuda", dtype=torch.bfloat16)
    device = CudaDevice()
    device.start(threads=1)
    module(q, k, v)
    kernels = device.profile(lambda: module(q, k, v)).kernels
    expected = op.expected_kernels(shapes)
    assert any(part in name for part in expected for name in kernels), kernels

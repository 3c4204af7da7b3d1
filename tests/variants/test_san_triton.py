"""san_pairwise and san_patchwise with kernel=triton: reasons, kernels interpreted and compiled."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.variant import hindrance
from harness.workload import Workload
from tests.variants.interpreting import interpreted, needs_triton, ptx
from variants.san import SanPairwise, SanPatchwise

IMAGE: dict[str, Any] = {"level": "layer", "height": 9, "width": 9, "channels": 32}
CUDA: dict[str, Any] = {**IMAGE, "device": "cuda", "dtype": "bfloat16"}
# The part of the contract that is run here. All of it:
# TRITON_INTERPRET=1 pytest tests/conformance -k "san_p and triton"
CONTRACT = (
    "test_runs_float32 or test_dtypes or test_gradients_of_parameters or test_inputs_are_not "
    "or (test_holds_what_it_claims and none-forward)"
)


@needs_triton
def test_the_kernels_under_the_interpreter() -> None:
    """Images of several tiles and the contract; nothing is skipped."""
    files = ["tests/variants/interpreted_san.py", "tests/conformance/test_layers.py"]
    passed, skipped = interpreted(files, f"interpreted_san or (san_p and triton and ({CONTRACT}))")
    assert passed >= 25
    assert skipped == set()


@needs_triton
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")  # since 3.9, at every compilation
# A whole number that is 1 is a constant to Triton's compiler.
@pytest.mark.parametrize("count", [None, 1])
@pytest.mark.parametrize("name", ["forward", "backward_weights", "backward_values"])
def test_a_kernel_compiles_for_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, count: int | None
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernels = importlib.import_module("variants.san.triton_kernels")
    kernel = getattr(kernels, f"san_{name}")
    constants = {"footprint": 7, "shared": 8, "block": 64, "sums": kernels.tl.float32}
    if count is not None:
        constants["count"] = count
    types = dict.fromkeys(("count", "height", "width"), "i32") | {"dvalues": "*fp32"}
    types |= dict.fromkeys(constants, "constexpr")
    signature = {name: types.get(name, "*bf16") for name in kernel.arg_names}
    values = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    assert f"san_{name}" in ptx(kernel, signature, values)


@needs_triton
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (CUDA, None),
        ({**CUDA, "dtype": "float64", "pass": "backward"}, None),
        (IMAGE, "kernel=triton needs an NVIDIA GPU, found device=cpu; use another kernel"),
        (
            {**CUDA, "footprint": 19},
            "its footprint reaches 9 pixels past the edge, the image has not so many",
        ),
    ],
)
@pytest.mark.parametrize("layer", [SanPairwise(kernel="triton"), SanPatchwise(kernel="triton")])
def test_unsupported(layer: SanPairwise, fields: dict[str, Any], reason: str | None) -> None:
    assert hindrance(layer, Workload.model_validate(fields)) == reason


def test_a_missing_package_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    reason = str(SanPairwise(kernel="triton").unsupported(Workload.model_validate(CUDA)))
    assert reason.startswith("triton does not import: ModuleNotFoundError: ")


def test_other_kernels_need_no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    assert SanPatchwise(kernel="fused").unsupported(Workload.model_validate(IMAGE)) is None


def test_a_kernel_of_its_own_name_is_expected_on_a_gpu() -> None:
    on_gpu, on_cpu = (Workload.model_validate(fields) for fields in (CUDA, IMAGE))
    assert SanPairwise(kernel="triton").expected_kernels(on_gpu) == ("san_",)
    assert SanPairwise(kernel="triton").expected_kernels(on_cpu) == ()
    assert SanPairwise().expected_kernels(on_gpu) == ()

"""polynomial(kernel=triton): its tiles, its reasons, its kernels interpreted and compiled."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.build import workload
from tests.conformance.contract import MASKS
from tests.variants.interpreting import interpreted, needs_triton, ptx
from variants.polynomial import Polynomial, triton_tiles
from variants.polynomial.triton_tiles import Tiles, spans, tiles_of, visited_pairs

TRITON = Polynomial(kernel="triton")


# The part of the contract that is run here, in half a minute. All of it takes four:
# TRITON_INTERPRET=1 pytest tests/conformance -k triton
CONTRACT = (
    "test_dtypes or test_head_dims or test_decode or test_scale_is_the_workloads "
    "or test_fully_masked_rows or (test_strided_inputs and window) "
    "or test_a_prepared_call_keeps_no_values or (claims_holds and everything and float32)"
)


@needs_triton
def test_the_kernels_under_the_interpreter() -> None:
    """Lengths of several tiles and the contract; what is skipped, and why, is known."""
    files = ["tests/variants/interpreted_triton.py", "tests/conformance"]
    passed, skipped = interpreted(files, f"interpreted_triton or (triton and ({CONTRACT}))")
    assert passed >= 40
    assert skipped == {
        "polynomial(kernel=triton): kernel=triton takes float32, bfloat16, float16, found float64",
        # Of workloads where q and k are the same: a score of a token with itself is large.
        "polynomial(kernel=triton): float16 ends at 6.55e+04, which scores of standard deviation 2 "
        "to the power 3 pass; use bfloat16 or float32, a lower degree or smaller scores",
    }


@needs_triton
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")  # since 3.9, at every compilation
@pytest.mark.parametrize("name", ["forward", "backward_q", "backward_kv"])
def test_a_kernel_compiles_for_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernels = importlib.import_module("variants.polynomial.triton_kernels")
    kernel = getattr(kernels, f"polynomial_{name}")
    assert f"polynomial_{name}" in ptx(kernel, *_signature(kernel))


def _signature(kernel: Any) -> tuple[dict[str, Any], dict[Any, Any]]:
    """Types and constants of a launch on bfloat16 heads; small tiles, to compile in seconds."""
    constants = {
        "group": 2, "degree": 3, "head_dim": 32, "v_head_dim": 20, "padded": 32, "v_padded": 32,
        "block_q": 32, "block_kv": 32,
    }  # fmt: skip
    types = dict.fromkeys(("start", "stop", "spans"), "*i32") | {"factor": "*fp32"}
    types |= dict.fromkeys(("row_stride", "span_stride", "heads", "q_len", "kv_len"), "i32")
    types |= dict.fromkeys(constants, "constexpr")
    strides = ("i32", "i32", "i32", "constexpr")
    signature: dict[str, Any] = {}
    values: dict[Any, Any] = {}
    for position, name in enumerate(kernel.arg_names):
        signature[name] = strides if name.endswith("strides") else types.get(name, "*bf16")
        if name.endswith("strides"):
            values[position, 3] = 1
        elif name in constants:
            values[position,] = constants[name]
    return signature, values


def _seen(mask: str, tiles: Tiles, batch: int) -> Tensor:
    """(B', tiles of queries, tiles of keys, pairs of a tile) bool, False beyond the lengths."""
    dense = workload(q_len=150, kv_len=150, batch=batch, mask=mask).build_mask().dense()[:, 0]
    short = (0, -150 % tiles.block_kv, 0, -150 % tiles.block_q)
    padded = torch.nn.functional.pad(dense, short)
    blocks = padded.unfold(1, tiles.block_q, tiles.block_q)
    return blocks.unfold(2, tiles.block_kv, tiles.block_kv).flatten(3)


# The two windows end one key before a tile and one after.
@pytest.mark.parametrize("mask", [*MASKS, "window(15)", "window(17)"])
@pytest.mark.parametrize("tiles", [Tiles(32, 16, 4, 1), Tiles(16, 64, 4, 1)])
def test_spans_hold_every_pair_and_whole_tiles_alone(tiles: Tiles, mask: str) -> None:
    batch = 3 if "padding" in mask else 1
    seen = _seen(mask, tiles, batch)
    built = workload(q_len=150, batch=batch, mask=mask).build_mask()
    for span, tile in zip(spans(built, tiles), (seen, seen.transpose(1, 2)), strict=True):
        begin, end, inner, outer = span[..., None].unbind(-2)
        at = torch.arange(tile.shape[2])
        met, whole = tile.any(-1), tile.all(-1)
        assert torch.equal((at >= begin) & (at < end), met), "no mask here leaves a gap"
        assert torch.equal((at >= inner) & (at < outer), whole)


def test_whole_tiles_with_a_gap_are_masked_anew() -> None:
    mask = workload(q_len=48, kv_len=16).build_mask()
    mask.stop[:, 16:32] = 0
    by_key = spans(mask, Tiles(16, 16, 4, 1))[1]
    assert by_key.tolist() == [[[0, 3, 0, 0]]]


def test_masked_tiles_are_not_counted() -> None:
    tiles = Tiles(16, 16, 4, 1)
    pairs = {
        mask: visited_pairs(workload(q_len=100, heads=2, batch=3, mask=mask), tiles)
        for mask in ("none", "causal", "window(4)", "padding(0.4)")
    }
    assert pairs["none"] == 6 * 100 * 100
    # Tiles of keys up to the one on the diagonal, the last of 4 keys and 4 rows.
    assert pairs["causal"] == 6 * (16 * 16 * sum(range(1, 7)) + 4 * 100)
    assert pairs["window(4)"] < pairs["causal"]
    lengths = workload(q_len=100, batch=3, mask="padding(0.4)").build_mask().lengths
    assert lengths is not None
    assert pairs["padding(0.4)"] == 2 * sum(100 * -(-int(n) // 16) * 16 for n in lengths)


@pytest.mark.parametrize("pass_", ["forward", "backward", "forward+backward", "decode"])
@pytest.mark.parametrize("mask", ["none", "causal", "window(40)", "padding(0.5)"])
def test_cost_is_at_least_the_attended_pairs(mask: str, pass_: str) -> None:
    sizes: dict[str, Any] = {"q_len": 1, "kv_len": 300} if pass_ == "decode" else {"q_len": 300}
    case = workload(**{"pass": pass_}, **sizes, heads=2, mask=mask)
    products = {"forward": 2, "decode": 2, "backward": 7, "forward+backward": 9}[pass_]
    flops = TRITON.cost(case).flops
    assert flops is not None
    assert flops >= products * 2 * 64 * case.build_mask().pairs()
    if mask == "none":
        assert flops == products * 2 * 64 * case.all_pairs


def test_tiles_fit_every_width_and_dtype() -> None:
    for dtype in ("float32", "bfloat16", "float16"):
        for width in (1, 17, 64, 65, 128, 200, 256):
            assert set(tiles_of(workload(q_len=4096, head_dim=width, dtype=dtype))) == {
                "forward",
                "backward_q",
                "backward_kv",
            }
    assert triton_tiles.padded(1) == 16
    assert triton_tiles.padded(65) == 128


CUDA: dict[str, Any] = {"device": "cuda", "dtype": "bfloat16"}


@needs_triton
@pytest.mark.parametrize(
    ("degree", "fields", "reason"),
    [
        (3, CUDA, None),
        (1, {**CUDA, "dtype": "float32", "mask": "causal+padding(0.5)", "head_dim": 200}, None),
        (
            3,
            {},
            "kernel=triton needs an NVIDIA GPU, found device=cpu; use another kernel",
        ),
        (4, CUDA, "kernel=triton takes degree 1, 2 or 3, found 4; use kernel=naive"),
        (
            2,
            {**CUDA, "dtype": "float64"},
            "kernel=triton takes float32, bfloat16, float16, found float64",
        ),
        (
            2,
            {**CUDA, "v_head_dim": 300},
            "kernel=triton takes head_dim and v_head_dim up to 256, found 300",
        ),
    ],
)
def test_unsupported(degree: int, fields: dict[str, Any], reason: str | None) -> None:
    assert Polynomial(degree=degree, kernel="triton").unsupported(workload(**fields)) == reason


def test_a_missing_package_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    reason = str(TRITON.unsupported(workload(**CUDA)))
    assert reason.startswith("triton does not import: ModuleNotFoundError: ")


def test_a_kernel_of_its_own_name_is_expected_on_a_gpu() -> None:
    assert TRITON.expected_kernels(workload(**CUDA)) == ("polynomial_",)
    assert TRITON.expected_kernels(workload()) == ()
    assert Polynomial().expected_kernels(workload(**CUDA)) == ()

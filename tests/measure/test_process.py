from __future__ import annotations

import builtins
import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import _C, Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from harness import AttentionOp, Mask, register
from harness.device import cpu
from harness.measure import timed
from harness.measure.process import ProcessSettings

_Function: Any = TorchFunctionMode
_Dispatch: Any = TorchDispatchMode


def _enter_function_mode() -> None:
    _Function().__enter__()


def _enter_dispatch_mode() -> None:
    _Dispatch().__enter__()


CHANGES: dict[str, tuple[Callable[[], object], str]] = {
    "threads": (lambda: torch.set_num_threads(torch.get_num_threads() + 1), "threads from"),
    "matmul precision": (
        lambda: torch.set_float32_matmul_precision("medium"),
        "precision from highest to medium",
    ),
    "precision of one backend": (
        lambda: torch._C._set_fp32_precision_setter("mkldnn", "matmul", "bf16"),
        "float32 precision of mkldnn products from ",
    ),
    "dtype": (lambda: torch.set_default_dtype(torch.float64), "to torch.float64"),
    "device": (lambda: torch.set_default_device("meta"), "default device from cpu to meta"),
    "grad mode": (lambda: torch._C._set_grad_enabled(False), "grad mode from True to False"),
    "deterministic": (
        lambda: torch.use_deterministic_algorithms(True),
        "deterministic algorithms from False to True",
    ),
    "flash": (lambda: torch.backends.cuda.enable_flash_sdp(False), "flash SDPA allowed from"),
    "autocast": (lambda: torch.set_autocast_enabled("cpu", True), "autocast on cpu from False"),
    "denormals": (lambda: torch.set_flush_denormal(True), "flushing of denormals from False"),
    "function mode": (
        _enter_function_mode,
        "active torch function modes from 0 to 1",
    ),
    "dispatch mode": (
        _enter_dispatch_mode,
        "active torch dispatch modes from 0 to 1",
    ),
    "stance": (
        lambda: torch.compiler.set_stance("force_eager"),
        "stance of torch.compile from default to force_eager",
    ),
    "compiler": (
        lambda: setattr(torch._dynamo.config, "disable", True),
        "torch._dynamo.config.disable from False to True",
    ),
    "float16 sums": (
        lambda: _C._set_cublas_allow_fp16_accumulation(True),
        "float16 sums of float16 products from False to True",
    ),
    "bfloat16 sums": (
        lambda: _C._set_cublas_allow_bf16_reduced_precision_reduction(False, False),
        "reduced sums of bfloat16 products from (True, True) to (False, False)",
    ),
    "order of kernels": (
        lambda: _C._set_sdp_priority_order([0, 1, 2, 3, 4]),
        "order of SDPA kernels from [1, 2, 0, 3, 4] to [0, 1, 2, 3, 4]",
    ),
    "tracing": (lambda: sys.setprofile(lambda *_: None), "profile hook from"),
    "collection": (gc.disable, "garbage collection from True to False"),
    "sdpa": (
        lambda: setattr(functional, "scaled_dot_product_attention", torch.matmul),
        "torch.nn.functional.scaled_dot_product_attention replaced",
    ),
    "seldom used": (lambda: setattr(torch.linalg, "svd", torch.matmul), "torch.linalg.svd rep"),
    "inherited method": (
        lambda: setattr(torch.Tensor, "exp", torch.exp),
        "torch.Tensor.exp replaced",
    ),
    "operator": (
        lambda: setattr(torch.Tensor, "__matmul__", torch.matmul),
        "torch.Tensor.__matmul__ replaced",
    ),
    "builtin": (lambda: setattr(builtins, "sum", max), "sum replaced"),
    "clock": (lambda: setattr(time, "monotonic", time.time), "time.monotonic replaced"),
    "our clock": (
        lambda: setattr(cpu, "perf_counter", time.monotonic),
        "harness.device.cpu.perf_counter replaced",
    ),
    "our method": (
        lambda: setattr(Mask, "softmax", Mask.zero),
        "harness.mask.Mask.softmax replaced",
    ),
    "our constant": (lambda: setattr(timed, "HELD_BYTES", 0), "timed.HELD_BYTES replaced"),
}
OFTEN = ("threads", "matmul precision", "dtype", "grad mode", "deterministic", "flash", "stance",
         "sdpa", "operator", "clock")  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_named_and_put_back(name: str) -> None:
    change, named = CHANGES[name]
    settings = ProcessSettings()
    assert settings.restore() is None
    change()
    found = settings.restore()
    assert found is not None
    assert found.startswith("changes what every variant here is timed under: ")
    assert named in found
    assert found.endswith("; leave the process as it is, or put that back before the call returns")
    assert settings.restore() is None
    assert settings.restore_often() is None


@pytest.mark.parametrize("name", OFTEN)
def test_what_is_changed_most_is_seen_after_every_call(name: str) -> None:
    change, named = CHANGES[name]
    settings = ProcessSettings()
    assert settings.restore_often() is None
    change()
    assert named in (settings.restore_often() or "")
    assert settings.restore() is None


def test_what_is_new_is_no_change() -> None:
    settings = ProcessSettings()
    torch.something_new = 1  # type: ignore[attr-defined]
    try:
        assert settings.restore() is None
    finally:
        del torch.something_new  # type: ignore[attr-defined]


def test_many_replacements_are_counted() -> None:
    settings = ProcessSettings()
    for name in ("svd", "qr", "lu", "inv", "det", "eig"):
        setattr(torch.linalg, name, torch.matmul)
    found = settings.restore() or ""
    assert found.count("replaced") == 5
    assert "2 more replaced" in found


def test_a_variant_that_is_registered_later_can_be_held(installed: None) -> None:
    settings = ProcessSettings()

    @register("held_later")
    @dataclass(frozen=True)
    class HeldLater(AttentionOp):
        def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
            return v

    globals()["HeldLater"] = HeldLater
    settings.extend()
    HeldLater.forward = lambda *_, **__: 1  # type: ignore[assignment]
    try:
        assert "HeldLater.forward replaced" in (settings.restore() or "")
    finally:
        del globals()["HeldLater"]

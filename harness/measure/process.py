"""What belongs to the whole process, which one variant may change and all are then timed under."""

from __future__ import annotations

import gc
import os
import random
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch._dynamo
from torch._dynamo import eval_frame
from torch.overrides import _pop_mode as _pop_function_mode
from torch.utils._python_dispatch import _pop_mode as _pop_dispatch_mode

from harness.measure.patches import Functions

_C: Any = torch._C
_cuda: Any = torch.cuda
_config: Any = torch._dynamo.config


class _Setting(NamedTuple):
    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]


def _matmul_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # set for one backend only, where this name no longer says all
        return "mixed"


def _default_device() -> str:
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return "cpu" if context is None else str(context.device)


def _flushes_denormals(least: float = sys.float_info.min) -> bool:
    return least / 2 == 0.0


def _set_affinity(cpus: set[int]) -> None:
    os.sched_setaffinity(0, cpus)


def _popping(pop: Callable[[], Any], depth: Callable[[], int]) -> Callable[[int], None]:
    def write(held: int) -> None:
        while depth() > held:
            pop()

    return write


def _of_compiler(name: str) -> _Setting:
    return _Setting(
        f"torch._dynamo.config.{name}",
        lambda: getattr(_config, name),
        lambda held: setattr(_config, name, held),
    )


def _of_products(backend: str) -> _Setting:
    return _Setting(
        f"float32 precision of {backend} products",
        lambda: _C._get_fp32_precision_getter(backend, "matmul"),
        lambda held: _C._set_fp32_precision_setter(backend, "matmul", held),
    )


def _of_cuda(what: str, name: str) -> tuple[_Setting, ...]:
    """A setting of products or attention on GPUs, where this torch has it."""
    read, write = getattr(_C, f"_get_{name}", None), getattr(_C, f"_set_{name}", None)
    if read is None or write is None:
        return ()

    def put_back(held: Any) -> None:
        # Some are pairs, which their setter takes apart.
        write(*(held if isinstance(held, tuple) else (held,)))

    return (_Setting(what, read, put_back),)


# First, since an active mode may answer for every torch function that the rest is read by.
_MODES = (
    _Setting("default device", _default_device, lambda _: torch.set_default_device(None)),
    _Setting(
        "active torch function modes",
        _C._len_torch_function_stack,
        _popping(_pop_function_mode, _C._len_torch_function_stack),
    ),
    _Setting(
        "active torch dispatch modes",
        _C._len_torch_dispatch_stack,
        _popping(_pop_dispatch_mode, _C._len_torch_dispatch_stack),
    ),
)
# Read after every call: all together they must cost a few microseconds.
_OFTEN = (
    *_MODES[1:],
    _Setting("threads", torch.get_num_threads, torch.set_num_threads),
    _Setting("float32 matmul precision", _matmul_precision, torch.set_float32_matmul_precision),
    _Setting("default dtype", torch.get_default_dtype, torch.set_default_dtype),
    _Setting("grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
    _Setting(
        "deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    _Setting("flash SDPA allowed", _C._get_flash_sdp_enabled, _C._set_sdp_use_flash),
    _Setting("math SDPA allowed", _C._get_math_sdp_enabled, _C._set_sdp_use_math),
    _Setting(
        "memory-efficient SDPA allowed",
        _C._get_mem_efficient_sdp_enabled,
        _C._set_sdp_use_mem_efficient,
    ),
    _Setting("cuDNN SDPA allowed", _C._get_cudnn_sdp_enabled, _C._set_sdp_use_cudnn),
    _Setting(
        "stance of torch.compile",
        lambda: eval_frame._stance.stance,
        lambda held: torch.compiler.set_stance(held),
    ),
)
_SELDOM = (
    *(_of_products(backend) for backend in ("mkldnn", "cuda")),
    *(
        _Setting(
            f"autocast on {kind}",
            lambda kind=kind: torch.is_autocast_enabled(kind),  # type: ignore[misc]
            lambda held, kind=kind: torch.set_autocast_enabled(kind, held),  # type: ignore[misc]
        )
        for kind in ("cpu", "cuda")
    ),
    *_of_cuda("float16 sums of float16 products", "cublas_allow_fp16_accumulation"),
    *_of_cuda("reduced sums of float16 products", "cublas_allow_fp16_reduced_precision_reduction"),
    *_of_cuda("reduced sums of bfloat16 products", "cublas_allow_bf16_reduced_precision_reduction"),
    *_of_cuda("reduced sums of math SDPA", "math_sdp_allow_fp16_bf16_reduction"),
    *_of_cuda("BLAS library on GPUs", "blas_preferred_backend"),
    *_of_cuda("order of SDPA kernels", "sdp_priority_order"),
    _Setting("mkldnn allowed", _C._get_mkldnn_enabled, _C._set_mkldnn_enabled),
    _Setting("cuDNN benchmark", _C._get_cudnn_benchmark, _C._set_cudnn_benchmark),
    _Setting("flushing of denormals", _flushes_denormals, torch.set_flush_denormal),
    *(
        _of_compiler(name)
        for name in ("disable", "suppress_errors", "fail_on_recompile_limit_hit", "recompile_limit")
    ),
    _Setting("trace hook", sys.gettrace, sys.settrace),
    _Setting("profile hook", sys.getprofile, sys.setprofile),
    _Setting("thread switch interval", sys.getswitchinterval, sys.setswitchinterval),
    _Setting(
        "garbage collection", gc.isenabled, lambda held: gc.enable() if held else gc.disable()
    ),
    *(
        (_Setting("allowed CPUs", lambda: os.sched_getaffinity(0), _set_affinity),)
        if hasattr(os, "sched_setaffinity")
        else ()
    ),
)


class ProcessSettings:
    """What the process was like when this was made, to be compared after each call.

    Make it before a file of the user's is loaded: what was replaced by then is not seen.
    """

    def __init__(self) -> None:
        self._often = [(setting, setting.read()) for setting in _OFTEN]
        self._modes = [(setting, setting.read()) for setting in _MODES]
        self._seldom = [(setting, setting.read()) for setting in _SELDOM]
        self._functions = Functions()

    def extend(self) -> None:
        """Hold also the functions of variants that were registered since."""
        self._functions.extend()

    def restore(self) -> str | None:
        """Put back whatever has changed since; names it, None where nothing has."""
        changes = _put_back(self._modes) + _put_back([*self._often, *self._seldom])
        return _told(changes, self._functions.restore())

    def restore_often(self) -> str | None:
        """The same for what is changed most, in a few microseconds."""
        for setting, held in self._often:
            if setting.read() != held:
                return self.restore()
        replaced = self._functions.restore(often=True)
        return _told([], replaced) if replaced else None


def _put_back(settings: list[tuple[_Setting, Any]]) -> list[str]:
    # All are read before any is written: some settings stand in two places.
    found = [(setting, held, setting.read()) for setting, held in settings]
    changes = []
    for setting, held, now in found:
        if now != held:
            changes.append(f"{setting.name} from {held} to {now}")
            setting.write(held)
    for setting, held, now in found:
        if now == held and setting.read() != held:
            setting.write(held)
    return changes


def _told(changes: list[str], replaced: list[str]) -> str | None:
    if not changes and not replaced:
        return None
    shown = [*changes, *(f"{name} replaced" for name in replaced[:4])]
    shown += [f"{len(replaced) - 4} more replaced"] if len(replaced) > 4 else []
    return (
        f"changes what every variant here is timed under: {', '.join(shown)}; leave the process "
        "as it is, or put that back before the call returns"
    )


class GlobalGenerators:
    """The global random generators of torch, numpy and Python: whether a call drew from them."""

    def __init__(self) -> None:
        self._marked = self._states()

    def mark(self) -> None:
        """Take their states as those before a call."""
        self._marked = self._states()

    def drawn(self) -> str | None:
        """Which of them moved since they were marked, and what to do instead."""
        names = ("torch's", "numpy's", "Python's", "CUDA's")
        pairs = zip(names, self._marked, self._states(), strict=True)
        moved = [name for name, before, now in pairs if before != now]
        if not moved:
            return None
        return (
            f"a call draws from {' and '.join(moved)} global random generator, so it depends on "
            "what ran before it; draw in prepare, from a generator with a seed of its own"
        )

    def _states(self) -> tuple[Any, ...]:
        held = np.random.get_state(legacy=False)
        numbers: Any = held["state"]
        offset = None
        if _cuda.is_initialized():
            offset = _cuda.default_generators[_cuda.current_device()].get_offset()
        return (
            torch.default_generator.get_state().numpy().tobytes(),
            (numbers["key"].tobytes(), numbers["pos"]),
            random.getstate(),
            offset,
        )

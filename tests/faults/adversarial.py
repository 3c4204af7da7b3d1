"""A user's file of variants that look fast and are not; tests copy it beside their suite.

Each is softmax attention with a trick, played at every call or only where it is timed.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from harness import Attention, AttentionOp, Mask, Workload, register, softmax_attention

HERE = Path(__file__).parent
HONEST_CALLS = 8  # so that even the shortest race has two calls after them
Trick = Callable[[Attention], Attention]
_disable: Any = torch.compiler.disable


def later(name: str) -> bool:
    """True in every process but the first that asks: the probe's comes before the races'."""
    marker = HERE / f"{name}.pid"
    if not marker.exists():
        marker.write_text(str(os.getpid()))
    return marker.read_text() != str(os.getpid())


def _caching(key: Callable[[Tensor], int]) -> Trick:
    def trick(honest: Attention) -> Attention:
        known: dict[tuple[int, ...], Tensor] = {}

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            at = key(q), key(k), key(v)
            if at not in known:
                known[at] = honest(q, k, v)
            return known[at]

        return attend

    return trick


def _stale_after(calls: int) -> Trick:
    def trick(honest: Attention) -> Attention:
        given: list[Tensor] = []

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if len(given) < calls:
                given.append(honest(q, k, v))
            return given[-1].clone()

        return attend

    return trick


def _in_turn_after(calls: int) -> Trick:
    """What the last two honest calls gave, in turn."""

    def trick(honest: Attention) -> Attention:
        given: list[Tensor] = []
        count = 0

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            nonlocal count
            count += 1
            if count <= calls:
                given.append(honest(q, k, v))
                return given[-1]
            return given[-2 + (count - calls - 1) % 2].clone()

        return attend

    return trick


def _shared_after(calls: int) -> Trick:
    def trick(honest: Attention) -> Attention:
        kept: list[Tensor] = []
        count = 0

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            nonlocal count
            count += 1
            output = honest(q, k, v)
            if count <= calls:
                return output
            if not kept:
                kept.append(torch.empty_like(output))
            return kept[0].copy_(output).view(output.shape)

        return attend

    return trick


def _in_thread(seconds: float) -> Trick:
    def trick(honest: Attention) -> Attention:
        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            output = torch.zeros_like(q)

            def work() -> None:
                time.sleep(seconds)
                output.copy_(honest(q, k, v))

            threading.Thread(target=work, daemon=True).start()
            return output

        return attend

    return trick


def _in_quick_thread(honest: Attention) -> Attention:
    """A worker that waits for nothing but the work."""
    jobs: queue.SimpleQueue[tuple[Tensor, ...]] = queue.SimpleQueue()

    def work() -> None:
        while True:
            q, k, v, output = jobs.get()
            output.copy_(honest(q, k, v))

    threading.Thread(target=work, daemon=True).start()

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        output = torch.zeros_like(q)
        jobs.put((q, k, v, output))
        return output

    return attend


def _last_row_in_thread(honest: Attention) -> Attention:
    """All but the last row is there at once."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        output = honest(q, k, v)
        last = output[:, :, -1].clone()
        output[:, :, -1] = 0

        def work() -> None:
            time.sleep(0.0005)
            output[:, :, -1] = last

        threading.Thread(target=work, daemon=True).start()
        return output

    return attend


class Lazy(Tensor):
    """Computed when something is done with it."""

    work: Callable[[], Tensor]

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            done = [one.work() if isinstance(one, Lazy) else one for one in args]
            return func(*done, **(kwargs or {}))


def _lazily(honest: Attention) -> Attention:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        output = torch.empty_like(q).as_subclass(Lazy)
        output.work = lambda: honest(q.clone(), k.clone(), v.clone())
        return output

    return attend


def _before(deed: Callable[..., Any]) -> Trick:
    """The right answer, after something else was done."""

    def trick(honest: Attention) -> Attention:
        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            output = honest(q, k, v)
            deed(q, k, v)
            return output

        return attend

    return trick


def _write(q: Tensor, k: Tensor, v: Tensor) -> None:
    with torch.no_grad():
        k[..., 0] += 1.0


def _write_unseen(q: Tensor, k: Tensor, v: Tensor) -> None:
    v.data[..., -1, :].zero_()


def _spoilt(bad: Callable[[], bool]) -> Trick:
    def trick(honest: Attention) -> Attention:
        return lambda q, k, v: honest(q, k, v) * (1.01 if bad() else 1.0)

    return trick


def _noisy(honest: Attention) -> Attention:
    """Hangs on the global generator, and leaves its state as it was."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            return honest(q, k, v) * (1 + 0.05 * torch.rand(()))

    return attend


class _StaleKeyGradients(torch.autograd.Function):
    """dQ is worked out at each call; dK and dV are what they were at the first."""

    @staticmethod
    def forward(ctx: Any, honest: Attention, kept: list[Tensor], *inputs: Tensor) -> Tensor:
        ctx.honest, ctx.kept = honest, kept
        ctx.save_for_backward(*inputs)
        return honest(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        leaves = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
        with torch.enable_grad():
            output = ctx.honest(*leaves)
        dq, dk, dv = torch.autograd.grad(output, leaves, gradients[0])
        if not ctx.kept:
            ctx.kept.extend((dk, dv))
        return None, None, dq, ctx.kept[0].clone(), ctx.kept[1].clone()


def _stale_key_gradients(honest: Attention) -> Attention:
    kept: list[Tensor] = []
    apply: Any = _StaleKeyGradients.apply
    return lambda q, k, v: apply(honest, kept, q, k, v)


class _Hidden:
    """Called where torch.compile looks for nothing to compile."""

    def __init__(self, honest: Attention) -> None:
        self.honest = honest

    @_disable  # type: ignore[untyped-decorator]
    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.honest(q, k, v)


def _broken_graph(honest: Attention) -> Attention:
    """A part of it that torch.compile may not see."""
    hidden: Attention = _disable(honest)
    return lambda q, k, v: hidden(q, k, v) + 0.0


def _counting(honest: Attention) -> Attention:
    """Hangs on a number that is another at every call: compiled anew each time."""
    count = 0

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return honest(q, k, v) + 0.0 * count

    return attend


def _twice(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **options: function(*args, **options)


def replace(owner: Any, name: str) -> Callable[..., None]:
    """Put another function that does the same in the place of one."""
    return lambda *_: setattr(owner, name, _twice(getattr(owner, name)))


def _slow_clock(*_: Any) -> None:
    """A clock that goes at a tenth of the speed."""
    clock, begin = time.perf_counter, time.perf_counter()
    time.perf_counter = lambda: begin + 0.1 * (clock() - begin)


def _clock_that_undoes_itself(*_: Any) -> None:
    clock, begin = time.perf_counter, time.perf_counter()

    def once() -> float:
        time.perf_counter = clock
        return begin

    time.perf_counter = once


def _undone_in_the_call(honest: Attention) -> Attention:
    """Replaced and put back before the call returns, the clocks stopped meanwhile."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        held = time.perf_counter, time.monotonic, torch.softmax
        time.perf_counter, time.monotonic = lambda: 0.0, lambda: 0.0
        torch.softmax = _twice(torch.softmax)
        try:
            return honest(q, k, v)
        finally:
            time.perf_counter, time.monotonic, torch.softmax = held

    return attend


PATCHES: dict[str, Callable[..., None]] = {
    "perf_counter": _slow_clock,
    "perf_counter_once": _clock_that_undoes_itself,
    "perf_counter_ns": replace(time, "perf_counter_ns"),
    "monotonic": replace(time, "monotonic"),
    "softmax": replace(torch, "softmax"),
    "matmul": replace(torch, "matmul"),
    "tensor_matmul": replace(torch.Tensor, "matmul"),
    "tensor_softmax": replace(torch.Tensor, "softmax"),
    "sdpa": replace(functional, "scaled_dot_product_attention"),
    "autograd_grad": replace(torch.autograd, "grad"),
    "cuda_synchronize": replace(torch.cuda, "synchronize"),
    "seldom_used": replace(torch.linalg, "svd"),
    "rival": lambda *_: setattr(_baseline(), "forward", _twice(_baseline().forward)),
}
SETTINGS: dict[str, Callable[..., None]] = {
    "threads": lambda *_: torch.set_num_threads(torch.get_num_threads() + 1),
    "matmul_precision": lambda *_: torch.set_float32_matmul_precision("medium"),
    "default_dtype": lambda *_: torch.set_default_dtype(torch.float64),
    "grad_mode": lambda *_: torch._C._set_grad_enabled(not torch.is_grad_enabled()),
    "deterministic": lambda *_: torch.use_deterministic_algorithms(True),
}
DEEDS = {**PATCHES, **SETTINGS}
TRICKS: dict[str, Trick] = {
    "honest": lambda honest: honest,
    "caches_by_id": _caching(id),
    "caches_by_pointer": _caching(lambda tensor: tensor.data_ptr()),
    "computes_once": _stale_after(1),
    "stale_later": _stale_after(HONEST_CALLS),
    "in_turn_later": _in_turn_after(HONEST_CALLS),
    "shares_buffer": _shared_after(0),
    "shares_buffer_later": _shared_after(HONEST_CALLS),
    "thread_1ms": _in_thread(0.001),
    "thread_5ms": _in_thread(0.005),
    "quick_thread": _in_quick_thread,
    "thread_for_last_row": _last_row_in_thread,
    "lazy": _lazily,
    "writes_inputs": _before(_write),
    "writes_unseen": _before(_write_unseen),
    "draws_torch": _before(lambda *_: torch.rand(1)),
    "draws_numpy": _before(lambda *_: np.random.random()),
    "draws_python": _before(lambda *_: random.random()),
    "noisy": _noisy,
    "wrong_without_grad": _spoilt(lambda: not torch.is_grad_enabled()),
    "wrong_with_grad": _spoilt(torch.is_grad_enabled),
    "stale_key_gradients": _stale_key_gradients,
    "undone_in_the_call": _undone_in_the_call,
    **{f"call_{name}": _before(deed) for name, deed in DEEDS.items()},
}

COMPILED: dict[str, Trick] = {
    "hidden": _Hidden,
    "broken_graph": _broken_graph,
    "compiled_anew": _counting,
}


def _baseline() -> Any:
    import variants.softmax

    return variants.softmax.Softmax


@register("adversarial")
@dataclass(frozen=True)
class Adversarial(AttentionOp):
    """Softmax attention with a trick: in `attend`, or as `prepare_NAME` in prepare."""

    family: ClassVar[str] = "softmax"
    trick: str = "honest"
    when: Literal["always", "race"] = "always"

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """What each of these should give."""
        return softmax_attention(q, k, v, mask=mask, scale=scale)

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Softmax attention, tricked where it is time to."""

        def honest(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return softmax_attention(q, k, v, mask=mask, scale=workload.scale)

        place, _, name = self.trick.partition("_")
        if self.when == "race" and not later(f"{self.trick}-{workload.pass_}"):
            return honest
        if place == "prepare":
            DEEDS[name]()
            return honest
        return (TRICKS | COMPILED)[self.trick](honest)

"""Ceilings: the best rates that the machine reaches beside a race, in the race's own process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from harness.device import Device
from harness.roofline import Ceilings
from harness.workload import Workload

# Bound before any variant is loaded: one that replaces torch.mm would set its own ceiling.
_multiply, _smallest = torch.mm, torch.neg
LEAST_BYTES = 64 << 10
MOST_BYTES = {"cpu": 64 << 20, "cuda": 256 << 20}
"""Of the copied buffer. On a CPU making one costs 0.4 ms a MiB; a larger cache than this makes the
ceiling too high, the side on which nothing true is called impossible."""
SIZES = {
    "cpu": (128, 192, 256, 384, 512, 768, 1024, 1536, 2048),
    "cuda": (1024, 2048, 4096),
}
"""Rows of the square product, tried in turn until one takes LONG_ENOUGH_S: one core is at its peak
from 256 on, and a float16 product that has no kernel takes 2 s at 1024."""
LONG_ENOUGH_S = 1e-3
SLICE_S = 2e-3
LEAST_SAMPLES, MOST_SAMPLES = 2, 20
HOPELESS = 0.1
"""A product this far below the best one is not tried again."""
NEAR = 0.9
SHARED = 0.5
"""Of the rate of one core times their number: what several reach at least, if nobody else runs.
Below it threads wait for a core that another program has, up to 1,000 times as long as they
compute, and a kernel that waits less would seem to be beyond the ceiling."""


@dataclass
class _Product:
    """A square product of one dtype, under one precision of float32, and its best rate."""

    dtype: torch.dtype
    precision: str | None
    size: int
    multiply: Callable[[], Any]
    flops_per_s: float = 0.0


class CeilingMeter:
    """Measures the ceilings of a workload's race, a few milliseconds each time it is asked.

    All is timed as calls are, by `device.time`: where the device's rule is a cold cache, the
    copy's is cold as well. Rates are the highest of all samples, since a ceiling is what the
    machine can do. Products are made in the workload's dtype; for 16-bit also in float32, which
    kernels may compute in; on CUDA also in TF32, since a kernel can be as exact as float32 in
    three TF32 products and be faster than one in float32. The copy is of the workload's compulsory
    bytes, so that what fits in a cache is judged by that cache, and beside it the same bytes are
    only read, as a decode step does. On the CPU one thread is measured before all of them.
    """

    def __init__(self, workload: Workload, device: Device, allowance_s: float) -> None:
        self._workload, self._device, self._allowance_s = workload, device, allowance_s
        several = workload.device == "cpu" and workload.threads > 1
        self._teams = (1, workload.threads) if several else (workload.threads,)
        self._products: dict[int, list[_Product]] = {}
        self._moved: Tensor | None = None
        self._bytes_per_s = self._spent_s = 0.0
        self._call_s = float("inf")
        self._failed = False

    def measure(self) -> None:
        """Take a few samples of each ceiling, unless the allowance is spent."""
        if self._failed or self._spent():
            return
        try:
            for threads in self._teams:
                with _settings(threads if len(self._teams) > 1 else None, None):
                    self._measure_products(threads)
                    self._measure_memory()
            small = torch.ones(1, device=self._workload.device)
            self._call_s = min(self._call_s, self._fastest(lambda: _smallest(small)))
        except RuntimeError:
            # No memory beside what the entrants hold, or a product that the device lacks: the
            # race goes on, and its records have no ceilings.
            self._failed = True

    def best(self) -> Ceilings | None:
        """The best of all samples; None where there are none."""
        if self._failed or not self._products:
            return None
        rates = {
            threads: max(product.flops_per_s for product in products)
            for threads, products in self._products.items()
        }
        alone = SHARED * self._workload.threads * rates[1] if len(self._teams) > 1 else 0.0
        return Ceilings(max(alone, *rates.values()), self._bytes_per_s, self._call_s)

    def products(self) -> dict[str, float]:
        """FLOP/s of each kind of product that was measured: `bfloat16`, `float32`, `tf32`."""
        rates: dict[str, float] = {}
        for product in (one for products in self._products.values() for one in products):
            name = "tf32" if product.precision else str(product.dtype).removeprefix("torch.")
            rates[name] = max(rates.get(name, 0.0), product.flops_per_s)
        return {} if self._failed else rates

    def _measure_products(self, threads: int) -> None:
        if threads not in self._products:
            self._products[threads] = self._made(threads)
        products = self._products[threads]
        fastest = max(product.flops_per_s for product in products)
        for product in products:
            if product.flops_per_s >= HOPELESS * fastest:
                self._rate(product)

    def _made(self, threads: int) -> list[_Product]:
        if threads == self._teams[0]:
            return [self._searched(dtype, precision) for dtype, precision in self._kinds()]
        sizes = SIZES[self._workload.device]
        products = []
        for found in self._products[self._teams[0]]:
            enough = (size for size in sizes if size**3 >= threads * found.size**3)
            size = next(enough, sizes[-1])
            multiply = _square(found.dtype, size, self._workload.device)
            products.append(replace(found, size=size, multiply=multiply, flops_per_s=0.0))
        return products

    def _searched(self, dtype: torch.dtype, precision: str | None) -> _Product:
        """The largest of the fast sizes up to the first that takes long enough."""
        found: list[_Product] = []
        for size in SIZES[self._workload.device]:
            product = _Product(dtype, precision, size, _square(dtype, size, self._workload.device))
            with _settings(None, precision):
                self._time(product.multiply)  # which loads the kernel and touches the memory
            self._rate(product, most=LEAST_SAMPLES)
            found.append(product)
            if 2 * size**3 / product.flops_per_s >= LONG_ENOUGH_S:
                break
        fastest = max(product.flops_per_s for product in found)
        return [product for product in found if product.flops_per_s >= NEAR * fastest][-1]

    def _kinds(self) -> list[tuple[torch.dtype, str | None]]:
        own = self._workload.torch_dtype
        kinds: list[tuple[torch.dtype, str | None]] = [(own, None)]
        if own.itemsize == 2:
            kinds.append((torch.float32, None))
        if self._workload.device == "cuda" and own != torch.float64:
            kinds.append((torch.float32, "high"))
        return kinds

    def _rate(self, product: _Product, most: int = MOST_SAMPLES) -> None:
        with _settings(None, product.precision):
            seconds = self._fastest(product.multiply, most)
        product.flops_per_s = max(product.flops_per_s, 2 * product.size**3 / seconds)

    def _measure_memory(self) -> None:
        if self._moved is None:
            most = MOST_BYTES[self._workload.device]
            size = min(max(self._workload.compulsory_bytes(), LEAST_BYTES), most)
            self._moved = torch.ones((2, size // 8), device=self._workload.device)
        whole, (target, source) = self._moved, self._moved.unbind()
        for move in (lambda: target.copy_(source), whole.sum):
            if self._spent() and self._bytes_per_s:
                return
            self._bytes_per_s = max(self._bytes_per_s, whole.nbytes / self._fastest(move))

    def _fastest(self, call: Callable[[], Any], most: int = MOST_SAMPLES) -> float:
        """Seconds of the fastest of some calls: SLICE_S of them, LEAST_SAMPLES at least."""
        times: list[float] = []
        while len(times) < LEAST_SAMPLES or (len(times) < most and sum(times) < SLICE_S):
            times.append(self._time(call))
        return min(times)

    def _time(self, call: Callable[[], Any]) -> float:
        seconds = max(self._device.time(call).seconds, 1e-9)  # two readings of a clock may agree
        self._spent_s += seconds
        return seconds

    def _spent(self) -> bool:
        return self._spent_s > self._allowance_s


def _square(dtype: torch.dtype, size: int, device: str) -> Callable[[], Any]:
    # A generator of its own: what a variant draws must not hang on what is measured beside it.
    # Random values, since a GPU multiplies zeros at a higher clock than numbers.
    seeded = torch.Generator().manual_seed(size)
    values = torch.randn((size, size), generator=seeded).to(dtype=dtype, device=device)
    product = torch.empty_like(values)
    return lambda: _multiply(values, values, out=product)


@contextlib.contextmanager
def _settings(threads: int | None, precision: str | None) -> Iterator[None]:
    """Threads and float32 precision of the process, put back at the end; None leaves one as is."""
    held = torch.get_num_threads(), torch.get_float32_matmul_precision()
    if threads is not None:
        torch.set_num_threads(threads)
    if precision is not None:
        torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        if threads is not None:
            torch.set_num_threads(held[0])
        if precision is not None:
            torch.set_float32_matmul_precision(held[1])

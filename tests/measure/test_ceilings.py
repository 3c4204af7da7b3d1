"""Ceilings: what is timed, what is kept of it, what is left as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from harness.device import CpuDevice, Timing
from harness.measure import ceilings
from harness.measure.ceilings import CeilingMeter
from harness.roofline import Ceilings
from tests.build import workload


@dataclass(frozen=True)
class Product:
    """What a faked product says of itself when it is timed."""

    dtype: torch.dtype
    size: int
    threads: int
    precision: str


Rate = Callable[[Product], float]


@dataclass
class FakeDevice(CpuDevice):
    """Products take their FLOPs over `rate`; everything else takes `other_s`."""

    rate: Rate
    other_s: float = 1e-4
    products: list[Product] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)

    def time(self, call: Callable[[], Any]) -> Timing:
        result = call()
        seconds = self.other_s
        if isinstance(result, Product):
            self.products.append(result)
            seconds = 2 * result.size**3 / self.rate(result)
        elif result.numel() > 1:
            self.moved.append(2 * result.nbytes)
        return Timing(result, seconds, seconds)


@pytest.fixture(autouse=True)
def _faked(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    def square(dtype: torch.dtype, size: int, device: str) -> Callable[[], Product]:
        return lambda: Product(
            dtype, size, torch.get_num_threads(), torch.get_float32_matmul_precision()
        )

    if "real" not in request.node.name:
        monkeypatch.setattr(ceilings, "_square", square)


def measured(rate: Rate, times: int = 1, **fields: Any) -> tuple[Ceilings, FakeDevice]:
    device = FakeDevice(rate)
    meter = CeilingMeter(workload(**{"threads": 1, **fields}), device, allowance_s=1e9)
    for _ in range(times):
        meter.measure()
    best = meter.best()
    assert best is not None
    return best, device


def test_the_highest_rate_and_the_shortest_call_are_kept() -> None:
    rates = iter([1e9, 5e9, 2e9, *[3e9] * 1000])
    device = FakeDevice(lambda product: next(rates))
    meter = CeilingMeter(workload(threads=1), device, allowance_s=1e9)
    found = []
    for other_s in (2e-4, 1e-4, 5e-4):
        device.other_s = other_s
        meter.measure()
        found.append(meter.best())
    size = ceilings.LEAST_BYTES
    assert found[0] == pytest.approx(Ceilings(5e9, size / 2e-4, 2e-4))
    assert found[2] == found[1] == pytest.approx(Ceilings(5e9, size / 1e-4, 1e-4))


def test_products_grow_until_one_takes_long_enough() -> None:
    _, device = measured(lambda product: 1e11)
    sizes = [product.size for product in device.products]
    assert max(sizes) == 384  # 2 * 384^3 / 1e11 is the first above a millisecond
    _, device = measured(lambda product: 1e9)
    assert {product.size for product in device.products} == {128}


def test_sixteen_bits_have_the_better_of_their_own_product_and_that_of_float32() -> None:
    def slow_half(product: Product) -> float:
        return 3e9 if product.dtype == torch.float16 else 1e11

    best, device = measured(slow_half, times=3, dtype="float16")
    assert best.matmul_flops_per_s == 1e11
    # Hopeless after the first try: it alone would take most of the time.
    first = [product.dtype for product in device.products].index(torch.float32)
    assert all(product.dtype == torch.float32 for product in device.products[first:])
    best, _ = measured(lambda product: 2e11 if product.dtype == torch.bfloat16 else 1e11,
                       dtype="bfloat16")  # fmt: skip
    assert best.matmul_flops_per_s == 2e11
    _, device = measured(lambda product: 1e10, dtype="float64")
    assert {product.dtype for product in device.products} == {torch.float64}


def test_threads_that_wait_for_each_other_do_not_lower_the_ceiling() -> None:
    held = torch.get_num_threads()
    best, device = measured(lambda p: 1e11 if p.threads == 1 else 1e8, threads=4)
    assert best.matmul_flops_per_s == ceilings.SHARED * 4 * 1e11
    assert {product.threads for product in device.products} == {1, 4}
    best, _ = measured(lambda p: 1e11 * p.threads**0.9, threads=4)
    assert best.matmul_flops_per_s == pytest.approx(1e11 * 4**0.9)
    assert torch.get_num_threads() == held


def test_several_threads_have_a_product_as_much_larger() -> None:
    _, device = measured(lambda product: 1e11 * product.threads, threads=4)
    largest = {threads: max(p.size for p in device.products if p.threads == threads)
               for threads in (1, 4)}  # fmt: skip
    assert largest == {1: 384, 4: 768}


def test_tensor_cores_are_a_ceiling_of_float32_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda size, *, device: ones(size))
    best, device = measured(
        lambda product: 5e14 if product.precision == "high" else 6e13, device="cuda"
    )
    assert best.matmul_flops_per_s == pytest.approx(5e14)
    assert {product.precision for product in device.products} == {"highest", "high"}
    assert torch.get_float32_matmul_precision() == "highest"


def test_nothing_is_measured_once_the_allowance_is_spent() -> None:
    device = FakeDevice(lambda product: 1e11)
    meter = CeilingMeter(workload(threads=1), device, allowance_s=1e-4)
    meter.measure()
    taken, best = len(device.products), meter.best()
    meter.measure()
    assert len(device.products) == taken
    assert meter.best() == best is not None


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"q_len": 8}, ceilings.LEAST_BYTES),
        ({"q_len": 1024}, 4 * 1024 * 64 * 4),
        ({"q_len": 4096, "batch": 64}, ceilings.MOST_BYTES["cpu"]),
    ],
)
def test_the_copy_is_of_the_workloads_bytes_within_bounds(
    fields: dict[str, Any], size: int
) -> None:
    _, device = measured(lambda product: 1e11, **fields)
    assert set(device.moved) == {size}


def test_a_product_that_fails_costs_the_ceilings_and_not_the_race(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def square(dtype: torch.dtype, size: int, device: str) -> Callable[[], Any]:
        raise RuntimeError("not implemented for 'Half'")

    monkeypatch.setattr(ceilings, "_square", square)
    meter = CeilingMeter(workload(threads=2), FakeDevice(lambda product: 1.0), allowance_s=1.0)
    held = torch.get_num_threads()
    meter.measure()
    meter.measure()
    assert meter.best() is None
    assert torch.get_num_threads() == held


def test_without_samples_there_is_no_ceiling() -> None:
    meter = CeilingMeter(workload(threads=1), FakeDevice(lambda product: 1.0), allowance_s=1.0)
    assert meter.best() is None


def test_real_ones_are_rates_and_leave_the_random_numbers_alone() -> None:
    before = torch.random.get_rng_state()
    meter = CeilingMeter(workload(threads=1, q_len=64), CpuDevice(), allowance_s=0.0)
    meter.measure()
    best = meter.best()
    assert best is not None
    assert all(0 < value < float("inf") for value in (best.matmul_flops_per_s, best.call_s))
    assert 0 < best.copy_bytes_per_s < float("inf")
    assert torch.equal(torch.random.get_rng_state(), before)

"""Races in this process of calls that look fast and are not: each leaves with its reason."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness import softmax_attention
from harness.device import CpuDevice, Timing
from harness.execute import checker
from harness.execute.checker import APART_DRAWS, CHECKED_ROWS, Checker, Pool
from harness.measure import timed
from harness.measure.calls import Call
from harness.measure.latency import Entrant, Race, Rules
from harness.measure.process import GlobalGenerators, ProcessSettings
from harness.measure.timed import Inspector
from harness.workload import Workload
from tests.build import workload
from tests.faults.bench import load_tricks
from variants.softmax import Softmax

Attend = Callable[[Tensor, Tensor, Tensor], Any]
OWN = {"tensor": 2e-7, "row": 1e-6, "gradient": 1e-6, "largest_v": 4.0}
WRONG = "a timed call was wrong: "


@pytest.fixture
def tricks(installed: None) -> Iterator[Any]:
    """The module of the adversarial variants; what they leave behind is put back."""
    settings, state = ProcessSettings(), torch.get_rng_state()
    yield load_tricks()
    settings.restore()
    torch.set_rng_state(state)


def honest(shape: Workload) -> Attend:
    mask = shape.build_mask()
    return lambda q, k, v: softmax_attention(q, k, v, mask=mask, scale=shape.scale)


def raced(
    attend: Attend,
    shape: Workload,
    device: CpuDevice | None = None,
    first_call: bool = True,
    pool: Pool | None = None,
) -> tuple[Entrant, Entrant]:
    """Race an honest softmax against this one until each has 32 samples."""
    pool, settings = pool or Pool(shape), ProcessSettings()
    entrants = [
        Entrant(name, Call(Softmax(), shape, pool.buffers, one))
        for name, one in (("honest", honest(shape)), ("tricked", attend))
    ]
    judges = Checker(pool, [{"name": entrant.name, "own": OWN} for entrant in entrants])
    if first_call:
        for entrant in entrants:
            entrant.call.before()
            entrant.call.run()
            settings.restore()
    Race(
        entrants=entrants,
        device=device or CpuDevice(),
        rules=Rules(margin=0.02, alpha=0.05, budget_s=60.0),
        refill=pool.refill,
        inspector=Inspector(judges, pool.written, pool.held(), settings),
        running=lambda index: None,
        has_baseline=False,
        controls=frozenset(),
        draws=pool.draws,
        apart=pool.apart,
    ).run()
    return entrants[0], entrants[1]


@pytest.fixture(params=["all rows", "few rows"])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How many rows are checked: all, as of a small workload, or some, as of a large one."""
    if request.param == "few rows":
        monkeypatch.setattr(checker, "ALL_ROWS_SCORES", 0)
    return str(request.param)


def small(**fields: Any) -> Workload:
    return workload(**{"heads": 2, "q_len": 24, "head_dim": 8, "threads": 1, **fields})


REASONS = {
    "caches_by_id": ("incorrect", WRONG + "batch 0, head 0, judged row"),
    "caches_by_pointer": ("incorrect", WRONG + "batch 0, head 0, judged row"),
    "computes_once": ("incorrect", WRONG + "batch 0, head 0, judged row"),
    "stale_later": ("incorrect", WRONG + "batch 0, head 0, judged row"),
    "in_turn_later": ("incorrect", WRONG + "batch 0, head 0, judged row"),
    "shares_buffer": ("incorrect", WRONG + "returns the same memory at every call"),
    "shares_buffer_later": ("incorrect", WRONG + "returns the same memory at every call"),
    "thread_1ms": ("incorrect", WRONG),
    "thread_5ms": ("incorrect", WRONG),
    "quick_thread": ("incorrect", WRONG),
    "thread_for_last_row": ("incorrect", WRONG + "its output still changed after"),
    "lazy": ("incorrect", WRONG + "returned Lazy, a subclass of torch.Tensor that may not"),
    "writes_inputs": ("incorrect", "it writes its inputs: k changed; work on a copy"),
    "writes_unseen": ("incorrect", "it writes its inputs: v changed; work on a copy"),
    "draws_torch": ("error", "a call draws from torch's global random generator"),
    "draws_numpy": ("error", "a call draws from numpy's global random generator"),
    "draws_python": ("error", "a call draws from Python's global random generator"),
    "noisy": ("incorrect", WRONG + "batch 0, head 0, judged row"),
    "wrong_without_grad": ("incorrect", WRONG + "batch 0, head 0, judged row"),
    "call_perf_counter": ("error", "time.perf_counter replaced"),
    "call_perf_counter_once": ("error", "time.perf_counter replaced"),
    "call_seldom_used": ("error", "torch.linalg.svd replaced"),
    "call_rival": ("error", "variants.softmax.Softmax.forward replaced"),
    "call_deterministic": ("error", "deterministic algorithms from False to True"),
}


@pytest.mark.parametrize("trick", REASONS)
def test_a_trick_takes_its_entrant_out(tricks: Any, trick: str) -> None:
    shape, (status, reason) = small(), REASONS[trick]
    plain, tricked = raced(tricks.TRICKS[trick](honest(shape)), shape)
    assert tricked.fault is not None
    assert (tricked.fault[0], reason in tricked.fault[1]) == (status, True), tricked.fault
    assert (plain.fault, len(plain.rounds)) == (None, 32)


@pytest.mark.parametrize("pass_", ["backward", "forward+backward"])
def test_stale_key_gradients_are_found(tricks: Any, pass_: str, rows: str) -> None:
    shape = small(pass_=pass_)
    assert shape.pass_ == pass_
    plain, tricked = raced(tricks.TRICKS["stale_key_gradients"](honest(shape)), shape)
    assert tricked.fault is not None
    assert tricked.fault[1].startswith(WRONG + "gradient of k: error")
    assert plain.fault is None


def test_two_results_in_turn_are_found_among_the_fewest_draws(
    tricks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker, "POOL_BYTES", 0)
    shape = small()
    assert Pool(shape).draws == checker.LEAST_DRAWS
    _, tricked = raced(tricks.TRICKS["in_turn_later"](honest(shape)), shape)
    assert tricked.fault is not None


@pytest.mark.parametrize("name", ["honest", "undone_in_the_call"])
def test_what_harms_nobody_is_timed(tricks: Any, name: str) -> None:
    plain, other = raced(tricks.TRICKS[name](honest(small())), small())
    assert (plain.fault, other.fault) == (None, None)
    assert len(other.rounds) == 32
    assert min(other.rounds) > 1e-7


@pytest.mark.parametrize(
    "fields",
    [
        {"pass_": "forward+backward", "dtype": "bfloat16", "mask": "causal"},
        {"pass_": "forward+backward", "mask": "causal+padding(0.4)", "batch": 3},
        {"pass_": "backward", "kv_heads": 1, "q_len": 40, "kv_len": 24, "mask": "causal"},
        {"dtype": "float16", "mask": "window(3)"},
        {"pass_": "forward+backward", "mask": "window(1)"},  # one key each: no gradient of q
    ],
    ids=str,
)
def test_an_honest_variant_is_never_suspected(fields: dict[str, Any], rows: str) -> None:
    shape = small(**fields)
    attend = honest(shape)
    if shape.kv_heads != shape.heads:
        attend = _with_repeated_heads(attend, shape.heads // shape.kv_heads)
    own = {**OWN, "tensor": 0.01, "row": 0.02, "gradient": 0.02} if "dtype" in fields else OWN
    pool = Pool(shape)
    judges = Checker(pool, [{"name": "honest", "own": own}])
    entrant = Entrant("honest", Call(Softmax(), shape, pool.buffers, attend))
    inspector = Inspector(judges, pool.written, pool.held())
    care = timed.Care(checked=True, searched=True, awaited=True, held=True)
    assert bool(pool.apart) == (rows == "few rows" and shape.has_gradients)
    for draw in [*range(pool.draws), *pool.apart, 0]:
        pool.refill(draw)
        inspector.before(care)
        entrant.call.before()
        assert inspector.after(entrant, entrant.call.run(), draw, 0.0, care) is None


def test_a_fifth_of_a_gradient_is_missed_in_no_dtype(rows: str) -> None:
    """A kernel that passed the probe, and later drops terms of dV."""
    shape = small(pass_="forward+backward", dtype="bfloat16", kv_len=24)
    own = {**OWN, "tensor": 0.004, "row": 0.01, "gradient": 0.004}
    keys = torch.ones(24).index_fill(0, torch.arange(0, 24, 5), 0.0)[:, None]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        # The values are all there; the gradient of every fifth is not.
        seen = v * keys.to(v) + (v * (1 - keys).to(v)).detach()
        return softmax_attention(q, k, seen, mask=shape.build_mask(), scale=shape.scale)

    pool = Pool(shape)
    judges = Checker(pool, [{"name": "drops", "own": own}])
    entrant = Entrant("drops", Call(Softmax(), shape, pool.buffers, attend))
    draw = (pool.apart or range(pool.draws))[0]
    pool.refill(draw)
    entrant.call.before()
    found = judges(entrant, entrant.call.produced(entrant.call.run()), draw)
    assert found is not None
    assert found.startswith("gradient of v: error 0.4")


def _with_repeated_heads(attend: Attend, times: int) -> Attend:
    return lambda q, k, v: attend(q, k.repeat_interleave(times, 1), v.repeat_interleave(times, 1))


def test_a_result_that_is_a_view_of_its_inputs_is_no_shared_buffer() -> None:
    shape = small(kv_len=24)
    pool = Pool(shape)
    entrant = Entrant("same", Call(Softmax(), shape, pool.buffers, lambda q, k, v: v))
    inspector = Inspector(lambda *_: None, pool.written, pool.held())
    care = timed.Care(checked=True, held=True)
    for draw in (0, 1, 0):
        pool.refill(draw)
        assert inspector.after(entrant, entrant.call.run(), draw, 0.0, care) is None


def test_draws_differ_and_those_apart_are_sparse(rows: str) -> None:
    pool = Pool(small(pass_="forward+backward"))
    gradients = [upstream for upstream in pool.upstream if upstream is not None]
    dense = [int((upstream != 0).any(-1).any(0).any(0).sum()) for upstream in gradients]
    few = [CHECKED_ROWS] * APART_DRAWS if rows == "few rows" else []
    assert dense == [24] * pool.draws + few
    assert pool.draws >= checker.LEAST_DRAWS
    assert len({float(upstream.sum()) for upstream in gradients}) == len(gradients)
    assert torch.equal(pool.buffers.q, pool.inputs[pool.draws - 1][0])
    drawn = pool.inputs[: pool.draws]
    assert not any(torch.equal(a[0], b[0]) for a in drawn for b in drawn if a is not b)


@pytest.mark.parametrize("pass_", ["backward", "forward+backward"])
def test_what_is_timed_has_a_dense_output_gradient(pass_: str, rows: str) -> None:
    """A GPU multiplies zeros at a higher clock than numbers: no sample may be taken of them."""
    shape = small(pass_=pass_)
    pool = Pool(shape)
    calls: list[bool] = []

    class Watching(CpuDevice):
        def time(self, call: Callable[[], Any]) -> Timing:
            assert pool.buffers.output_gradient is not None
            calls.append(bool((pool.buffers.output_gradient != 0).all()))
            return super().time(call)

    plain, other = raced(honest(shape), shape, Watching(), pool=pool)
    assert (plain.fault, other.fault) == (None, None)
    timed_calls = sum(len(one.warmup) + len(one.rounds) for one in (plain, other))
    # Not timed: in the warm-up, in the first rounds, and before each of three looks.
    assert calls.count(False) == (2 * 5 if rows == "few rows" else 0)
    assert calls.count(True) == timed_calls


def test_checked_rows_mean_something() -> None:
    # Its first 40 rows see no key, and most of the rest is padded.
    pool = Pool(workload(heads=1, q_len=64, kv_len=24, head_dim=8, mask="causal"))
    assert all(int(rows.min()) >= 40 for rows in pool.rows)
    padded = workload(batch=2, heads=1, q_len=200, head_dim=8, mask="padding(0.1)")
    judged = padded.build_mask().judged.any(0)
    assert all(bool(judged[rows].all()) for rows in Pool(padded).rows)


def test_an_output_that_comes_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Tensor] = []

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        given.append(torch.zeros_like(q))
        return given[-1]

    pool = Pool(small())
    entrant = Entrant("late", Call(Softmax(), pool.workload, pool.buffers, attend))
    inspector = Inspector(lambda *_: None, pool.written, pool.held())
    monkeypatch.setattr(timed, "_sleep", lambda seconds: given[-1].fill_(1.0))
    pool.refill(0)
    for awaited, found in ((False, None), (True, WRONG + "its output still changed after")):
        care = timed.Care(checked=True, awaited=awaited)
        fault = inspector.after(entrant, entrant.call.run(), 0, 0.0, care)
        assert (fault and fault[1][: len(found or "")]) == found


def test_what_is_copied_is_of_one_moment() -> None:
    values, stopped = torch.zeros(4 << 20), threading.Event()
    written = values.numpy()

    def write() -> None:
        for number in itertools.count(1):
            # Between the two, the interpreter may be taken away; a copy may not begin.
            written[0] = number
            written[-1] = number
            time.sleep(0)
            if stopped.is_set():
                return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(10):
            time.sleep(0.001)
            copy = timed._copy(values)
            assert 0 <= float(copy[0]) - float(copy[-1]) <= 1
    finally:
        stopped.set()
        thread.join()


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 1), (2, 0, 4, 5)])
def test_a_copy_has_the_values_and_strides_of_its_original(shape: tuple[int, ...]) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        given = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        for tensor in (given, given.mT, given[..., 1:3], given[:, :1].expand(shape)):
            copy = timed._copy(tensor)
            assert torch.equal(copy, tensor)
            assert copy.dtype == dtype


def test_a_change_is_put_back_though_the_call_raised(tricks: Any) -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        torch.set_num_threads(torch.get_num_threads() + 1)
        raise ValueError("no such head")

    before = torch.get_num_threads()
    plain, tricked = raced(attend, small(), first_call=False)
    assert tricked.fault == ("error", "ValueError: no such head")
    assert plain.fault is None
    assert torch.get_num_threads() == before


class Counting(CpuDevice):
    """Counts what happens between two timed calls."""

    def __init__(self) -> None:
        self.timed = 0

    def time(self, call: Callable[[], Any]) -> Timing:
        self.timed += 1
        return super().time(call)


def test_no_call_is_made_but_the_timed_ones() -> None:
    device = Counting()
    calls = 0

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Any:
        nonlocal calls
        calls += 1
        return honest(small())(q, k, v)

    plain, counted = raced(attend, small(), device, first_call=False)
    assert calls == len(counted.warmup) + len(counted.rounds)
    assert device.timed == 2 * calls
    assert plain.fault is None


def test_generators_are_told_apart() -> None:
    generators = GlobalGenerators()
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    assert generators.drawn() is None
    torch.rand(1)
    np.random.random()
    random.random()
    assert (generators.drawn() or "").startswith("a call draws from torch's and numpy's and Py")
    generators.mark()
    assert generators.drawn() is None
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])


def test_the_clock_is_out_of_reach(tricks: Any) -> None:
    def stop_the_clock() -> None:
        time.perf_counter = lambda: 0.0
        time.sleep(0.002)

    timing = CpuDevice().time(stop_the_clock)
    assert timing.seconds >= 0.002

"""What a case costs, and cases that are faster than any machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import AttentionOp, Cost, Mask, Recurrence, variant
from harness.execute import block as module
from harness.execute.block import BlockRun
from harness.execute.cost import beyond_limits, cost_of
from harness.execute.workers import Outcome, Workers
from harness.records import CaseRecord, ControlRecord, Store
from harness.records.frame import block_rows
from harness.records.schema import CostResult, Launch
from harness.suite import Block, Measure
from harness.variant import parse_spec
from harness.workload import Case, Workload
from tests.build import workload
from tests.execute.asking import FAR, Pretended, described

LAZY = Path(__file__).parent / "lazy.py"
COST = CostResult(executed_flops=1000, compulsory_bytes=100)
LIMITS = {"matmul_flops_per_s": 1000.0, "copy_bytes_per_s": 1000.0, "call_s": 1e-6}


def launch(*rounds_s: float, **limits: float) -> Launch:
    ceilings: Any = {**LIMITS, **limits}
    return Launch(rounds_s=rounds_s, warmup_s=(), ceilings=ceilings)


def test_beyond_limits_takes_the_best_ceilings_and_the_median() -> None:
    slow, fast = launch(1.0, 0.9, 0.1), launch(0.1, 0.2, 0.3)
    assert beyond_limits([slow], COST) is None
    assert "5e+03 FLOP/s, where this machine's best" in str(beyond_limits([fast], COST))
    assert beyond_limits([fast, launch(0.2, matmul_flops_per_s=3400.0)], COST) is None
    assert "bytes/s" in str(beyond_limits([launch(0.01, matmul_flops_per_s=1e9)], COST))


def test_without_ceilings_or_cost_nothing_is_impossible() -> None:
    without = Launch(rounds_s=(1e-9,), warmup_s=())
    assert beyond_limits([without], COST) is None
    assert beyond_limits([launch(1e-9)], None) is None
    assert beyond_limits([launch()], COST) is None
    assert beyond_limits([], COST) is None


class Stateful(AttentionOp):
    """Decodes from a state of its own."""

    claims = Cost()

    def recurrence(self, workload: Workload, mask: Mask) -> Recurrence:
        return Recurrence(prefill=lambda k, v: k, step=lambda q, k, v, state: q)

    def cost(self, workload: Workload) -> Cost:
        return self.claims


def test_costs_are_the_workloads_where_a_variant_claims_none() -> None:
    case = workload(mask="causal")
    found = cost_of(AttentionOp(), case)
    assert found["executed_flops"] == case.flops()
    assert found["compulsory_bytes"] == case.compulsory_bytes()
    assert CostResult(**found).time_growth is None


def test_a_state_is_read_in_place_of_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[str, Any] = {"heads": 4, "head_dim": 8, "v_head_dim": 2, "dtype": "float64"}
    case = workload(pass_="decode", q_len=1, kv_len=500, **sizes)
    found = cost_of(Stateful(), case)
    assert found["executed_flops"] == 4 * 2 * (8 + 2)
    assert found["compulsory_bytes"] == 4 * (8 + 8 + 2 + 2) * 8
    monkeypatch.setattr(Stateful, "claims", Cost(flops=7, state_bytes=50))
    assert cost_of(Stateful(), case)["compulsory_bytes"] == 4 * 20 * 8 + 50
    assert cost_of(Stateful(), case)["executed_flops"] == 7
    prefill = workload(q_len=500, **sizes)
    assert cost_of(Stateful(), prefill)["compulsory_bytes"] == prefill.compulsory_bytes()


@pytest.mark.parametrize(
    ("tells", "text"),
    [
        ("raise", "cost() failed: KeyError: 'on purpose'"),
        ("nothing", "cost() returned 'two'; return a Cost"),
        ("fraction", "flops must be a whole number, 0 or more: flops=1.5; round it"),
        ("negative", "bytes must be a whole number, 0 or more: bytes=-1"),
        ("endless", "time_growth must be an exponent of the length: time_growth=inf"),
    ],
)
def test_a_cost_that_is_none_is_an_error_of_that_case(
    installed: None, workers: Workers, tells: str, text: str
) -> None:
    lying, honest = described("mean_lying", tells=tells), described("mean_honest")
    cases = [{"variant": one, "workload": workload().as_dict()} for one in (lying, honest)]
    outcome = workers.run("survey", {"files": [str(LAZY)], "cases": cases}, FAR)
    first, second = outcome.result
    assert first["status"] == "error"
    assert text in first["reason"]
    assert second["cost"]["executed_flops"] == 16 * 64


def run(
    workers: Workers, surveyed: Sequence[dict[str, Any]], *names: str, files: Sequence[str] = ()
) -> tuple[dict[str, CaseRecord], ControlRecord | None]:
    """One block on one thread: its cases by variant, and its control."""
    shape = workload(heads=1, q_len=2048, threads=1)
    specs = [parse_spec(name) for name in names]
    cases = tuple(Case(spec, shape) for spec in specs)
    measure = Measure(budget_s=0.4)
    made = BlockRun(Block(shape, cases, specs[0]), surveyed, measure, workers, files).run(0.4)
    found = {record.variant.text: record for record in made if isinstance(record, CaseRecord)}
    controls = [record for record in made if isinstance(record, ControlRecord)]
    return found, controls[0] if controls else None


def test_who_skips_the_work_it_claims_is_impossible(installed: None, workers: Workers) -> None:
    names = ("sdpa", "mean_silent", "mean_boasting", "mean_honest")
    variant.load_file(LAZY)
    shape = workload(heads=1, q_len=2048, threads=1).as_dict()
    asked = [{"variant": described(name), "workload": shape} for name in names]
    survey = workers.run("survey", {"files": [str(LAZY)], "cases": asked}, FAR)
    found, control = run(workers, survey.result, *names, files=[str(LAZY)])
    told = {name: (found[name].status, found[name].reason) for name in names}
    assert told["sdpa"] == told["mean_honest"] == ("ok", None)
    for name in ("mean_silent", "mean_boasting"):
        assert found[name].status == "impossible", told
        assert "FLOP/s, where this machine's best matrix product reaches" in str(told[name][1])
        assert len(found[name].launches) == 2
    assert control is not None
    rows = block_rows(list(found.values()), Measure().model_dump())
    by_name = {row["variant"]: row for row in rows}
    assert by_name["mean_silent"]["latency_s"] is by_name["mean_silent"]["verdict"] is None
    assert 0 < by_name["sdpa"]["attainable_fraction"] < 1.5
    assert by_name["sdpa"]["bound_by"] == "compute"
    assert by_name["mean_honest"]["bound_by"] in ("memory", "overhead")


SURVEYED = [{"definition": "d", "own": False, "family": "softmax", "cost": COST.model_dump()}] * 2
OWN = {"tensor": 1e-7, "row": 1e-7, "gradient": 1e-7, "largest_v": 3.0}
PROBE = {
    "probe": {"prepare_s": 0.1, "first_call_s": 0.2, "peak_bytes": 9, "output_bytes": 4},
    "numerics": {"error": 1e-7, "error_bound": 1e-6, "rows": 16, "wrong": None},
    "fallback": None,
}


def pretended(tmp_path: Path, times: dict[str, float], again: dict[str, float] | None) -> Pretended:
    """Each case takes its time beside LIMITS; ceilings measured again are as told, or fail."""

    def answer(task: str, payload: dict[str, Any]) -> Outcome:
        if task == "truth":
            return Outcome(result={"own": OWN, "gate": {"killed": ["zeros"]}})
        if task == "probe":
            return Outcome(result=PROBE)
        if task == "limits":
            return Outcome(signal="SIGKILL") if again is None else Outcome(result=again)
        energy: dict[str, Any] = {
            "joules": 1.0,
            "resolution_joules": 0.1,
            "idle_watts": 9.0,
            "calls": 5,
        }
        kept: dict[str, Any] = {"warmup_s": [], "ceilings": LIMITS, "throttled": [1]}
        if payload["energy"]:
            kept["energy"] = {**energy, "counter": "fake"}
        return Outcome(
            result=[
                {"name": one["name"], "rounds_s": [times.get(one["name"], 1.0)] * 8, **kept}
                for one in payload["entrants"]
            ]
        )

    return Pretended(tmp_path, answer)


def test_an_impossible_baseline_leaves_latencies_without_ratios(
    installed: None, tmp_path: Path
) -> None:
    workers = pretended(tmp_path / "scratch", {"softmax": 0.01, "control": 0.01}, None)
    workers.scratch.mkdir()
    found, control = run(workers, SURVEYED, "softmax", "sdpa")
    assert (found["softmax"].status, found["sdpa"].status) == ("impossible", "ok")
    assert (len(found["softmax"].launches), len(found["sdpa"].launches)) == (2, 2)
    assert control is None
    assert workers.count("race") == 2
    rows = {row["variant"]: row for row in block_rows(list(found.values()), Measure().model_dump())}
    assert rows["softmax"]["latency_s"] is None
    assert rows["softmax"]["ratio"] is None
    assert (rows["sdpa"]["latency_s"], rows["sdpa"]["ratio"]) == (1.0, None)
    with Store(tmp_path / "run") as store:
        store.append(list(found.values()))


def test_ceilings_are_measured_again_before_a_case_is_impossible(
    installed: None, tmp_path: Path
) -> None:
    times = {"sdpa": 0.2}
    higher = {**LIMITS, "matmul_flops_per_s": 6000.0}
    workers = pretended(tmp_path, times, higher)
    found, _ = run(workers, SURVEYED, "softmax", "sdpa")
    assert {record.status for record in found.values()} == {"ok"}
    assert workers.count("limits") == 1
    for record in found.values():
        assert record.limits is not None
        assert record.limits.matmul_flops_per_s == 6000.0
        # What was measured beside the race stays as it was: `compare` judges machines by it.
        assert {
            launch.ceilings.matmul_flops_per_s for launch in record.launches if launch.ceilings
        } == {1000.0}
    rows = block_rows(list(found.values()), Measure().model_dump())
    assert all(row["attainable_fraction"] <= 1 for row in rows)
    found, _ = run(pretended(tmp_path, times, LIMITS), SURVEYED, "softmax", "sdpa")
    assert found["sdpa"].status == "impossible"
    assert (found["sdpa"].energy, found["softmax"].energy is None) == (None, False)


def test_nothing_is_measured_again_where_all_is_possible(installed: None, tmp_path: Path) -> None:
    workers = pretended(tmp_path, {}, None)
    found, control = run(workers, SURVEYED, "softmax", "sdpa")
    assert workers.count("limits") == 0
    assert control is not None
    assert [payload["energy"] for task, payload in workers.asked if task == "race"] == [False, True]
    record = found["sdpa"]
    assert record.cost == COST
    assert record.energy is not None
    assert record.energy.counter == "fake"
    assert [launch.throttled for launch in record.launches] == [(1,), (1,)]
    assert module.CONTROL not in found


def test_ceilings_can_be_asked_for_alone(installed: None, workers: Workers) -> None:
    asked = {"files": [], "workload": workload(threads=1).as_dict()}
    found = workers.run("limits", asked, FAR).result
    assert set(found) == set(LIMITS)
    assert all(value > 0 for value in found.values())

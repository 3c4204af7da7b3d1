"""A block: what it asks of the workers, who is blamed, what it records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import AttentionOp, register
from harness.errors import VariantError
from harness.execute import block as block_module
from harness.execute.block import BlockRun
from harness.execute.workers import Outcome, Workers
from harness.records import CaseRecord, ControlRecord
from harness.suite import Block, Measure
from harness.variant import parse_spec
from harness.workload import Case
from tests.build import workload
from tests.execute.asking import Pretended

Answer = Callable[[str, dict[str, Any]], Outcome]
OWN = {"tensor": 1e-7, "row": 1e-7, "gradient": 1e-7, "largest_v": 3.0}
GATE = {"killed": ["zeros"], "survived": ["scale_off"], "not_applicable": {"nan_row": "why"}}
PROBE = {
    "probe": {"prepare_s": 0.1, "first_call_s": 0.2, "peak_bytes": 9, "output_bytes": 4},
    "numerics": {"error": 1e-7, "error_bound": 1e-6, "rows": 16, "wrong": None},
    "fallback": None,
}
SAMPLES = {"rounds_s": [1.0, 2.0], "warmup_s": [3.0], "host_s": []}
NAMES = ("softmax", "sdpa", "polynomial(degree=2)", "polynomial(degree=1)")


def well(task: str, payload: dict[str, Any]) -> Outcome:
    """Every task answers as it would for right variants."""
    if task == "truth":
        return Outcome(result={"own": OWN, "gate": GATE})
    if task == "probe":
        return Outcome(result=PROBE)
    return Outcome(result=[{"name": one["name"], **SAMPLES} for one in payload["entrants"]])


@pytest.fixture
def block(installed: None) -> Block:
    specs = [parse_spec(name) for name in NAMES]
    shape = workload(heads=1)
    return Block(shape, tuple(Case(spec, shape) for spec in specs), specs[0])


SURVEYED = [
    {"definition": "softmax", "own": False, "family": "softmax"},
    {"definition": "softmax", "own": False, "family": "softmax"},
    {"definition": "polynomial 2", "own": False, "family": "polynomial"},
    {
        "definition": "polynomial 1",
        "own": True,
        "family": "polynomial",
        "approximates": "softmax",
    },
]


def run(block: Block, tmp_path: Path, answer: Answer, **measure: Any) -> tuple[Any, Pretended]:
    """The case records by variant, the control under "control", and what was asked."""
    workers = Pretended(tmp_path, answer)
    rules = Measure.model_validate(measure)
    records = BlockRun(block, SURVEYED, rules, workers, ()).run(10.0)
    cases = [record for record in records if isinstance(record, CaseRecord)]
    assert [record.variant.text for record in cases] == list(NAMES)
    found: dict[str, Any] = {record.variant.text: record for record in cases}
    controls = [record for record in records if isinstance(record, ControlRecord)]
    return {**found, "control": controls[0] if controls else None}, workers


def races(workers: Pretended) -> list[dict[str, Any]]:
    return [payload for task, payload in workers.asked if task == "race"]


def test_a_truth_is_found_once_for_each_definition(block: Block, tmp_path: Path) -> None:
    found, workers = run(block, tmp_path, well)
    counts = {task: workers.count(task) for task in ("truth", "probe", "race")}
    assert counts == {"truth": 3, "probe": 4, "race": 2}
    paths = [payload["path"] for task, payload in workers.asked if task == "truth"]
    assert len(set(paths)) == 3
    used = [payload["truth"] for task, payload in workers.asked if task == "probe"]
    assert used == [paths[0], paths[0], paths[1], paths[2]]
    assert {record.status for record in found.values() if record is not found["control"]} == {"ok"}
    against = {name: found[name].numerics.checked_against for name in NAMES}
    assert against == dict(zip(NAMES, ["definition"] * 3 + ["itself"], strict=True))
    stands_in = {name: found[name].variant.approximates for name in NAMES}
    assert stands_in == dict(zip(NAMES, ["", "", "", "softmax"], strict=True))
    assert len(found["control"].launches) == 2
    assert all(found[name].gate.survived == ("scale_off",) for name in NAMES)
    assert all(found[name].gate.vacuous for name in NAMES)


@pytest.mark.parametrize(
    ("measure", "alpha", "budgets"),
    [
        ({"launches": 2}, 0.025, [5.0, 5.0]),
        ({"launches": 4, "alpha": 0.1}, 0.025, [2.5] * 4),
        ({"launches": 2, "familywise": True}, 0.05 / 2 / 3, [5.0, 5.0]),
    ],
)
def test_budget_and_alpha_are_shared_by_the_launches(
    block: Block, tmp_path: Path, measure: dict[str, Any], alpha: float, budgets: list[float]
) -> None:
    _, workers = run(block, tmp_path, well, **measure)
    rules = [payload["rules"] for payload in races(workers)]
    assert [rule["budget_s"] for rule in rules] == budgets
    assert [rule["alpha"] for rule in rules] == pytest.approx([alpha] * len(budgets))
    assert len({payload["seed"] for payload in races(workers)}) == len(budgets)


@pytest.mark.parametrize(("within_s", "raced_s"), [(9.0, 5.0), (100.0, 10.0), (2.0, 0.0)])
def test_races_are_cut_short_by_what_checking_took(
    block: Block,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    within_s: float,
    raced_s: float,
) -> None:
    now = [0.0]

    def slowly(task: str, payload: dict[str, Any]) -> Outcome:
        now[0] += 1.0 if task == "probe" else 0.0  # of which there are four
        return well(task, payload)

    monkeypatch.setattr(block_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    workers = Pretended(tmp_path, slowly)
    BlockRun(block, SURVEYED, Measure(launches=2), workers, ()).run(10.0, within_s)
    assert [race["rules"]["budget_s"] for race in races(workers)] == [raced_s / 2] * 2


def test_the_baseline_comes_first_and_its_copy_second(block: Block, tmp_path: Path) -> None:
    _, workers = run(block, tmp_path, well)
    for payload in races(workers):
        names = [entrant["name"] for entrant in payload["entrants"]]
        assert names == ["softmax", block_module.CONTROL, *NAMES[1:]]
        assert (payload["has_baseline"], payload["controls"]) == (True, [block_module.CONTROL])


def once_in_the_race(outcome: Outcome) -> Answer:
    """The second race of a block ends so; all else goes well."""
    seen = [0]

    def answer(task: str, payload: dict[str, Any]) -> Outcome:
        seen[0] += task == "race"
        return outcome if task == "race" and seen[0] == 2 else well(task, payload)

    return answer


def test_who_was_called_is_blamed_and_the_rest_race_again(block: Block, tmp_path: Path) -> None:
    died = Outcome(signal="SIGSEGV", running=2)
    found, workers = run(block, tmp_path, once_in_the_race(died))
    assert workers.count("race") == 3
    assert (found["sdpa"].status, found["sdpa"].launches) == ("crashed", ())
    assert found["sdpa"].reason == "while racing: the process was killed by SIGSEGV"
    assert found["sdpa"].failure.signal == "SIGSEGV"
    for name in ("softmax", "polynomial(degree=2)", "polynomial(degree=1)"):
        assert (found[name].status, len(found[name].launches)) == ("ok", 2)
    assert len(found["control"].launches) == 2


def test_a_death_of_the_copy_is_the_baselines(block: Block, tmp_path: Path) -> None:
    died = Outcome(exit_code=3, running=1)
    found, workers = run(block, tmp_path, once_in_the_race(died))
    assert found["softmax"].status == "crashed"
    assert found["control"] is None
    assert found["sdpa"].status == "ok"
    assert races(workers)[-1]["has_baseline"] is False


def test_a_death_while_none_was_called_is_nobodys_once(block: Block, tmp_path: Path) -> None:
    found, workers = run(block, tmp_path, once_in_the_race(Outcome(exit_code=3, running=-1)))
    assert workers.count("race") == 3
    assert {(found[name].status, len(found[name].launches)) for name in NAMES} == {("ok", 2)}


def test_all_are_blamed_when_it_happens_again(block: Block, tmp_path: Path) -> None:
    died = Outcome(exit_code=3, running=-1)
    found, workers = run(
        block, tmp_path, lambda task, payload: died if task == "race" else well(task, payload)
    )
    assert workers.count("race") == 2
    assert {found[name].status for name in NAMES} == {"crashed"}


def test_a_fault_in_the_race_keeps_the_samples_of_the_others(block: Block, tmp_path: Path) -> None:
    def answer(task: str, payload: dict[str, Any]) -> Outcome:
        outcome = well(task, payload)
        if task == "race":
            told = [one for one in outcome.result if one["name"] != "sdpa"]
            fault = {"name": "sdpa", "status": "incorrect", "reason": "a timed call was wrong"}
            present = len(told) < len(outcome.result)
            return Outcome(result=[*told, fault] if present else told)
        return outcome

    found, workers = run(block, tmp_path, answer)
    assert workers.count("race") == 2
    assert (found["sdpa"].status, found["sdpa"].launches) == ("incorrect", ())
    assert len(found["softmax"].launches) == 2


def test_a_definition_that_fails_takes_out_who_shares_it(block: Block, tmp_path: Path) -> None:
    def answer(task: str, payload: dict[str, Any]) -> Outcome:
        if task == "truth" and payload["variant"]["name"] == "softmax":
            return Outcome(timed_out=True, signal="SIGKILL")
        return well(task, payload)

    found, workers = run(block, tmp_path, answer, timeout_s=7)
    for name in ("softmax", "sdpa"):
        assert found[name].status == "timeout"
        assert found[name].reason.startswith("its definition: gave no answer within 7 s")
        assert found[name].failure.where == "truth"
    assert found["polynomial(degree=1)"].status == "ok"
    assert (found["sdpa"].gate, found["polynomial(degree=1)"].gate.killed) == (None, ("zeros",))
    assert races(workers)[0]["has_baseline"] is False


def test_wrong_and_fallen_back_cases_are_not_raced(block: Block, tmp_path: Path) -> None:
    def answer(task: str, payload: dict[str, Any]) -> Outcome:
        if task != "probe":
            return well(task, payload)
        if payload["variant"]["name"] == "sdpa":
            return Outcome(result={**PROBE, "fallback": "asked for flash"})
        wrong = {**PROBE["numerics"], "wrong": "off"}  # type: ignore[dict-item]
        is_wrong = payload["variant"]["params"] == {"degree": 1}
        return Outcome(result={**PROBE, "numerics": wrong} if is_wrong else PROBE)

    found, workers = run(block, tmp_path, answer)
    told = {name: (found[name].status, found[name].reason) for name in NAMES}
    assert told["sdpa"] == ("fallback", "asked for flash")
    assert told["polynomial(degree=1)"] == ("incorrect", "off")
    assert found["polynomial(degree=1)"].gate.killed == ("zeros",)
    names = {entrant["name"] for payload in races(workers) for entrant in payload["entrants"]}
    assert names == {"softmax", block_module.CONTROL, "polynomial(degree=2)"}


def test_one_block_for_real(block: Block, workers: Workers) -> None:
    names = ("softmax", "sdpa(backend=flash)", "polynomial")
    shape = workload(heads=1, q_len=64, head_dim=16, compile=True)
    specs = [parse_spec(name) for name in names]
    cases = tuple(Case(spec, shape) for spec in specs)
    surveyed = [SURVEYED[0], SURVEYED[1], SURVEYED[2]]
    measure = Measure(budget_s=0.3)
    made = BlockRun(Block(shape, cases, specs[0]), surveyed, measure, workers, ()).run(0.3)
    found = {record.variant.text: record for record in made if isinstance(record, CaseRecord)}
    assert {name: (found[name].status, found[name].reason) for name in names} == dict.fromkeys(
        names, ("ok", None)
    )
    softmax = found["softmax"].probe
    assert softmax is not None
    # torch.compile turns plain softmax attention into SDPA's flash kernel without a word.
    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in softmax.kernels
    assert softmax.compiled_frames == 1
    assert all(len(found[name].launches[0].rounds_s) >= 1 for name in names)


def test_a_workload_too_large_to_count_is_recorded_without_flops(
    installed: None, tmp_path: Path
) -> None:
    spec, shape = parse_spec("softmax"), workload(q_len=10**15)
    block = Block(shape, (Case(spec, shape),), spec)
    told = {"status": "oom", "reason": "its inputs need more than there is"}
    workers = Pretended(tmp_path, well)
    (record,) = BlockRun(block, [told], Measure(), workers, ()).run(10.0)
    assert isinstance(record, CaseRecord)
    assert (record.status, record.flops, workers.asked) == ("oom", None, [])


def test_no_variant_is_called_what_the_copy_is() -> None:
    with pytest.raises(VariantError, match="a name is small letters"):
        register(block_module.CONTROL)(type("Mine", (AttentionOp,), {}))

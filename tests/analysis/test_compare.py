"""Two runs compared: which cases are matched, and what is said of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.advice import enough_launches, remedy
from harness.analysis.compare import Comparison, Options, compare, remarks
from harness.errors import RunError
from harness.records import CaseRecord
from harness.records.schema import Launch, NumericsResult
from harness.roofline import Ceilings
from tests.records.made import case, control, probe, write_run

SHIPPED = Path(__file__).parents[2] / "results" / "quick-20261125T002048Z-amd-epyc-2c"
OLD = Path(__file__).parents[1] / "data" / "records-v1"
RATES = Ceilings(1e10, 1e9, 1e-6)


def times(around_s: float, ceilings: Ceilings | None = RATES, launches: int = 2) -> Any:
    """Launches of 64 rounds that stray by 0.5% in a fixed order, each a little apart."""
    return {
        "launches": tuple(
            Launch(
                rounds_s=tuple(
                    around_s * (1 + 0.0005 * number + 0.0005 * ((7 * i) % 11 - 5))
                    for i in range(64)
                ),
                warmup_s=(around_s,),
                ceilings=ceilings,
            )
            for number in range(launches)
        )
    }


def numerics(error: float, bound: float = 1e-6, **given: Any) -> NumericsResult:
    return NumericsResult(
        error=error, error_bound=bound, rows=16, checked_against="definition", **given
    )


def block(**variants: Any) -> list[CaseRecord]:
    """The baseline `softmax` at 1 s, and these variants."""
    base = {"softmax": {"is_baseline": True, **times(1.0)}}
    return [case(name, **given) for name, given in {**base, **variants}.items()]


@pytest.fixture
def compared(tmp_path: Path) -> Any:
    def compared(
        a: Sequence[CaseRecord], b: Sequence[CaseRecord], options: Options | None = None
    ) -> Comparison:
        for name, records in (("a", a), ("b", b)):
            (tmp_path / name / "records.jsonl").unlink(missing_ok=True)
            write_run(tmp_path / name, [*records, control()], launches=2)
        return compare(tmp_path / "a", tmp_path / "b", options)

    return compared


def verdicts(found: Comparison) -> dict[str, str]:
    return {pair.a.variant.text: pair.verdict for pair in found.pairs}


def test_times_that_moved_beside_a_baseline_that_did_not(compared: Any) -> None:
    a = block(sdpa=times(0.5), chunked=times(0.8), mine=times(0.7))
    b = block(sdpa=times(0.56), chunked=times(0.72), mine=times(0.7001))
    found = compared(a, b)
    assert verdicts(found) == {
        "softmax": "same", "sdpa": "slower", "chunked": "faster", "mine": "same",
    }  # fmt: skip
    assert found.counts()["slower"] == 1
    regressed = {kind: count for kind, count in found.regressions().items() if count}
    assert regressed == {"slower": 1}
    assert next(p for p in found.pairs if p.a.variant.text == "sdpa").regressions == ("slower",)


def test_a_machine_that_was_slower_cannot_show_a_smaller_slowdown(compared: Any) -> None:
    slow = Ceilings(1e10 / 1.3, 1e9, 1e-6)
    a, b = block(sdpa=times(0.5)), block(sdpa=times(0.6, slow))
    found = compared(a, b)
    (pair,) = (p for p in found.pairs if p.a.variant.text == "sdpa")
    assert (pair.verdict, pair.timing.why) == ("undecided", "machine")
    assert pair.timing.evidence.yardstick.furthest == pytest.approx(1.3)
    assert verdicts(compared(a, block(sdpa=times(0.6))))["sdpa"] == "slower"
    assert verdicts(compared(a, block(sdpa=times(0.8, slow))))["sdpa"] == "slower"


def test_without_a_yardstick_a_block_that_moves_together_is_drift(compared: Any) -> None:
    def old(base: float, sdpa: float) -> list[CaseRecord]:
        return [
            case("softmax", is_baseline=True, **times(base, None)),
            case("sdpa", **times(sdpa, None)),
        ]

    found = compared(old(1.0, 0.5), old(1.3, 0.65))
    assert verdicts(found) == {"softmax": "undecided", "sdpa": "undecided"}
    assert [pair.timing.why for pair in found.pairs] == ["alone", "baseline"]
    assert [folder.name for folder in found.no_yardstick] == ["a", "b"]
    assert verdicts(compared(old(1.0, 0.5), old(1.0, 0.65)))["sdpa"] == "slower"


def test_another_baseline_is_no_witness(compared: Any) -> None:
    a = [case("softmax", is_baseline=True, **times(1.0, None)), case("sdpa", **times(0.5, None))]
    b = [case("softmax", **times(1.0, None)), case("sdpa", is_baseline=True, **times(0.6, None))]
    found = compared(a, b)
    assert all(pair.timing.evidence.relative is None for pair in found.pairs)
    assert "slower" not in verdicts(found).values()


def test_one_measurement_read_twice_is_the_same(compared: Any) -> None:
    # Eight rounds are far from an interval inside 2%.
    few = [case("softmax", is_baseline=True), case("sdpa")]
    found = compared(few, few)
    assert set(verdicts(found).values()) == {"same"}
    assert found.mean() == (1.0, 2)


def test_a_case_that_fails_now_is_a_regression_and_has_no_latency(compared: Any) -> None:
    wrong = {"status": "incorrect", "reason": "row 3 is off"}
    a = block(sdpa=times(0.5), chunked=wrong, mine=wrong)
    b = block(sdpa=wrong, chunked=times(0.5), mine={"status": "oom", "reason": "8 GiB"})
    found = compared(a, b)
    assert verdicts(found) == {
        "softmax": "same", "sdpa": "failed", "chunked": "fixed", "mine": "not run",
    }  # fmt: skip
    assert found.regressions()["failed"] == 1
    assert found.mean() == (1.0, 1)


@pytest.mark.parametrize(
    ("peaks", "verdict"),
    [((1000, 1010), "same"), ((1000, 1030), "larger"), ((1030, 1000), "smaller")],
)
def test_memory_is_exact_so_that_only_the_margin_counts(
    compared: Any, peaks: tuple[int, int], verdict: str
) -> None:
    a, b = ([case("softmax", probe=probe(peak_bytes=peak))] for peak in peaks)
    (pair,) = compared(a, b).pairs
    assert pair.memory.verdict == verdict
    assert pair.memory.ratio == peaks[1] / peaks[0]
    assert ("larger" in pair.regressions) == (verdict == "larger")


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ((2e-7, 3e-7), "same"),  # by the order of sums
        ((2e-7, 5e-7), "worse"),
        ((5e-7, 2e-7), "better"),
        ((1e-9, 1.2e-7), "same"),  # one rounding of the output
        ((1e-9, 3e-7), "worse"),
    ],
)
def test_errors_differ_where_rounding_does_not_explain_it(
    compared: Any, errors: tuple[float, float], verdict: str
) -> None:
    a, b = ([case("softmax", numerics=numerics(error))] for error in errors)
    (pair,) = compared(a, b).pairs
    assert pair.error.verdict == verdict


def test_the_worse_of_output_and_gradients_counts(compared: Any) -> None:
    gradients = ({"gradient_error": e, "gradient_error_bound": 1e-5} for e in (2e-6, 8e-6))
    a, b = (
        [case("softmax", numerics=numerics(error, **gradient))]
        for error, gradient in zip((5e-7, 1e-7), gradients, strict=True)
    )
    (pair,) = compared(a, b).pairs
    assert (pair.error.verdict, pair.error.ratio) == ("worse", 4.0)
    assert pair.regressions == ("worse",)


def test_what_only_one_run_has_stands_in_no_mean(compared: Any) -> None:
    # The variant's large block is missing in B, where it was slow.
    a = [*block(sdpa=times(1.0)), *_large(sdpa=times(9.0))]
    b = [*block(sdpa=times(0.5)), *_large()]
    found = compared(a, b)
    assert [one.case_id for one in found.only_a] == ["b2-sdpa"]
    assert found.only_b == ()
    mean, count = found.mean()
    assert count == 3
    assert mean == pytest.approx(0.5 ** (1 / 3), rel=0.01)


def _large(**variants: Any) -> list[CaseRecord]:
    return [
        one.model_copy(update={"block_id": "b2", "case_id": f"b2-{one.variant.text}"})
        for one in block(**variants)
    ]


def test_undecided_cases_stand_in_no_mean(compared: Any) -> None:
    few = [case("softmax", is_baseline=True), case("sdpa")]
    more = [case("softmax", is_baseline=True), case("sdpa", **times(5.0))]
    found = compared(few, more)
    assert verdicts(found)["sdpa"] == "undecided"
    assert found.mean() == (1.0, 1)


def test_the_margin_is_a_s_unless_told(compared: Any) -> None:
    a, b = block(sdpa=times(0.5)), block(sdpa=times(0.56))
    assert compared(a, b).rules.margin == 0.02
    assert verdicts(compared(a, b, Options(margin=0.5)))["sdpa"] == "same"


def test_new_source_is_noticed(compared: Any, tmp_path: Path) -> None:
    compared(block(sdpa=times(0.5)), block(sdpa=times(0.5)))
    for name, sources in (
        ("a", {"softmax": "1", "sdpa": "1"}),
        ("b", {"softmax": "1", "sdpa": "2"}),
    ):
        path = tmp_path / name / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "sources": sources}))
    found = compare(tmp_path / "a", tmp_path / "b")
    assert [pair.has_new_source for pair in found.pairs] == [False, True]


def test_unlike_runs_are_compared_only_when_told_and_it_is_said(
    compared: Any, tmp_path: Path
) -> None:
    compared(block(), block())
    path = tmp_path / "b" / "manifest.json"
    other = {"machine_name": "m2", "versions": {"torch": "3"}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **other}))
    with pytest.raises(RunError, match=r"unlike machines or their settings \(the machine: m1"):
        compare(tmp_path / "a", tmp_path / "b")
    with pytest.raises(RunError, match=r"unlike versions .* add --across-versions"):
        compare(tmp_path / "a", tmp_path / "b", Options(across_machines=True))
    both = Options(across_machines=True, across_versions=True)
    found = compare(tmp_path / "a", tmp_path / "b", both)
    assert found.unlike == "other machine, other versions"


def test_runs_without_a_case_in_common_are_refused(compared: Any) -> None:
    with pytest.raises(RunError, match="no timed case in common; name two runs of one suite that"):
        compared(block(), _large())


def test_a_case_that_a_run_holds_twice_is_refused(compared: Any) -> None:
    with pytest.raises(RunError, match=r"b: holds the case b1-softmax \(softmax\) twice"):
        compared(block(), [*block(), *block()])


def test_runs_of_schema_1_are_compared_and_lack_a_yardstick() -> None:
    found = compare(SHIPPED, SHIPPED)
    assert found.counts()["same"] == len(found.pairs) == 96
    assert found.no_yardstick == (SHIPPED,)
    assert set(verdicts(compare(OLD, OLD)).values()) == {"same", "not run"}


def test_control_beyond_chance_is_remarked_on() -> None:
    run = {"ended_utc": "x", "suite": {"measure": {"alpha": 0.05}}}
    # P(Binomial(20, 0.05) >= 3) = 0.075, >= 4: 0.016
    assert not remarks(Path("r"), {**run, "control": {"blocks": 20, "different": 3}})
    assert remarks(Path("r"), {**run, "control": {"blocks": 20, "different": 4}})


def test_launches_that_tell_runs_apart() -> None:
    # 2 / C(8, 4) = 0.029; 2 / C(6, 3) = 0.1
    assert enough_launches(0.05) == 4
    assert enough_launches(0.01) == 5


def test_remedies_name_the_setting_that_helps(compared: Any, tmp_path: Path) -> None:
    found = compared(block(), block())
    assert remedy("margin", found) == "run both again with --set measure.launches=4"
    for name in ("a", "b"):
        write_run(tmp_path / f"{name}4", block(), launches=4, budget_s=3.0)
    more = compare(tmp_path / "a4", tmp_path / "b4")
    assert "--set measure.budget_s=6, or take a wider --margin" in remedy("rounds", more)
    assert "quieter machine" in remedy("launches", found)
    assert "one right after the other" in remedy("machine", found)
    assert "one baseline that runs in both" in remedy("alone", found)
    blind = compared([case("softmax", is_baseline=True)], [case("softmax", is_baseline=True)])
    assert "again: this version measures the machine" in remedy("alone", blind)

from __future__ import annotations

import json
import math
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.records import CaseRecord, ControlRecord
from harness.records.schema import (
    Failure,
    Launch,
    NumericsResult,
    ProbeResult,
    Status,
    Variant,
)
from tests.records.made import EIGHT, case, launch, probe

FAILED = [status for status in get_args(Status) if status != "ok"]
WRONG = {"rows": 1, "wrong": "row 3 is off", "checked_against": "definition"}


@pytest.mark.parametrize(
    "given",
    [
        {"reason": "all is well"},
        {"launches": ()},
        {"probe": None},
        {"numerics": None},
        {"numerics": WRONG},
    ],
)
def test_ok_needs_all_its_payload_and_no_reason(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="ok needs a probe, right numerics, launches, and no"):
        case("a", **given)


@pytest.mark.parametrize("status", FAILED)
def test_what_is_not_ok_has_a_reason_and_no_latency(status: str) -> None:
    assert case("a", status=status, reason="why").launches == ()
    with pytest.raises(ValidationError, match=f"{status} needs a reason"):
        case("a", status=status)
    if status == "impossible":  # keeps the samples that show it
        assert case("a", status=status, reason="why", launches=(launch(*EIGHT),)).launches
        return
    with pytest.raises(ValidationError, match=f"{status} has no latency"):
        case("a", status=status, reason="why", launches=(launch(*EIGHT),))


def test_an_incorrect_case_keeps_what_its_probe_saw() -> None:
    record = case("a", status="incorrect", reason="row 3 is off", probe=probe(), numerics=WRONG)
    assert record.numerics is not None
    assert record.numerics.wrong == "row 3 is off"


def test_unknown_statuses_and_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="status"):
        case("a", status="fine", reason="why")
    with pytest.raises(ValidationError, match="Extra inputs"):
        case("a", latency_s=1.0)


seconds = st.floats(1e-9, 1e4)
texts = st.text(min_size=1, max_size=12)
maybe_error = st.none() | st.floats(0, 1e6)
values = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | texts
contents = st.dictionaries(texts, values, max_size=3)
samples = st.lists(seconds, max_size=4).map(tuple)
launches = st.builds(Launch, rounds_s=samples, warmup_s=samples, host_s=samples)
probes = st.builds(
    ProbeResult,
    prepare_s=seconds,
    first_call_s=seconds,
    peak_bytes=st.integers(0, 2**60),
    output_bytes=st.integers(0, 2**60),
    rss_peak_bytes=st.none() | st.integers(0, 2**60),
    kernels=st.lists(texts, max_size=2).map(tuple),
)
numerics = st.builds(
    NumericsResult,
    error=maybe_error,
    gradient_error=maybe_error,
    rows=st.integers(0, 9),
    wrong=st.none(),
    checked_against=st.sampled_from(["definition", "itself"]),
)
named: dict[str, Any] = {
    "block_id": texts,
    "case_id": texts,
    "variant": st.builds(Variant, name=texts, params=contents, text=texts, family=texts),
    "workload": contents,
    "is_baseline": st.booleans(),
    "flops": st.integers(0, 2**60),
    "ended_utc": texts,
}
ok_cases = st.builds(
    CaseRecord,
    **named,
    status=st.just("ok"),
    reason=st.none(),
    probe=probes,
    numerics=numerics,
    launches=st.lists(launches, min_size=1, max_size=2).map(tuple),
    failure=st.none(),
)
failed_cases = st.builds(
    CaseRecord,
    **named,
    status=st.sampled_from(FAILED),
    reason=texts,
    probe=st.none() | probes,
    numerics=st.none() | numerics,
    launches=st.just(()),
    failure=st.none()
    | st.builds(Failure, where=st.sampled_from(["probe", "race"]), signal=st.none() | texts),
)
controls = st.builds(
    ControlRecord, block_id=texts, launches=st.lists(launches, max_size=2).map(tuple)
)


@settings(max_examples=60, deadline=None)
@given(record=ok_cases | failed_cases | controls)
def test_a_record_reads_back_from_its_line(record: CaseRecord | ControlRecord) -> None:
    line = record.model_dump_json(exclude_none=True)
    assert "\n" not in line
    assert type(record).model_validate(json.loads(line)) == record


def test_an_error_that_is_not_finite_reads_back_as_not_measured() -> None:
    checked = {"error": math.inf, "rows": 1, "wrong": "off", "checked_against": "definition"}
    record = case("a", status="incorrect", reason="off", numerics=checked)
    line = record.model_dump_json(exclude_none=True)
    found = CaseRecord.model_validate_json(line)
    assert found.numerics is not None
    assert found.numerics.error is None

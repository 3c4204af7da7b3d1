"""Every field of a manifest is read by a check, or declared decorative."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.compare import compare, remarks
from harness.errors import RunError
from harness.execute import local
from harness.execute.local import Listeners, Request
from harness.machine import describe_machine
from harness.machine.software import harness_hash
from harness.records import Store, load, read_manifest
from harness.records.manifest import FIELDS, Field, differences, lacking, undeclared
from harness.report.claims import sheets
from harness.suite import Suite, load_suite
from tests.records.made import case, write_run

TEXT = """\
name: small
variants: [softmax]
baseline: softmax
workloads: [{heads: 1, q_len: 8, head_dim: 8, threads: 1}]
schedules: [{schedule: ring, vectors: 4, elements: 2}]
"""
SAY = "harness/records/manifest.py: name the check that reads it, or declare it decorative"
UNTOLD = set(
    "frequency on_battery gpu allocator_variables thread_variables energy container numa".split()
)
"""What not every machine tells."""
Manifest = dict[str, Any]


@pytest.fixture
def suite(tmp_path: Path, installed: None) -> Suite:
    (tmp_path / "small.yaml").write_text(TEXT)
    return load_suite(str(tmp_path / "small.yaml"))


@pytest.fixture
def written(suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """The manifest of a run to its end, in which no block says anything."""

    class Silent:
        def __init__(self, *_: Any) -> None: ...

        def run(self, budget_s: float, within_s: float) -> list[Any]:
            return []

    monkeypatch.setattr(local, "BlockRun", Silent)
    monkeypatch.setattr(
        local, "survey_cases", lambda *_: {c.id: {} for b in suite.blocks() for c in b.cases}
    )
    local.run_suite(Request(suite, tmp_path / "run"), Listeners(lambda *_: None, lambda *_: None))
    return read_manifest(tmp_path / "run")


def test_a_run_writes_the_declared_fields_and_no_other(written: Manifest) -> None:
    assert undeclared(written) == (), SAY
    declared = {field.path for field in FIELDS}
    found = {"suite." + name for name in written["suite"]} | set(written) - {"suite", "machine"}
    assert {path for path in declared if not path.startswith("machine.")} == found
    told = {"machine." + name for name in written["machine"]}
    assert {path for path in declared if path.startswith("machine.")} - told <= {
        "machine." + name for name in UNTOLD
    }


def test_a_field_that_nobody_declared_is_found() -> None:
    extra = {"new": 1, "suite": {"name": "s", "new": 1}, "machine": {"new": {"a": 1}}}
    assert undeclared(extra) == ("new", "suite.new", "machine.new")


def test_the_machine_tells_nothing_undeclared() -> None:
    assert undeclared({"machine": describe_machine()}) == (), SAY


def _changed(manifest: Manifest, field: Field) -> Manifest:
    """The manifest with another value in a field, of the same kind."""
    made = copy.deepcopy(manifest)
    *outer, name = field.path.split(".")
    inside = made
    for part in outer:
        inside = inside[part]
    inside[name] = _other(inside.get(name), field)
    return made


def _other(value: Any, field: Field) -> Any:
    if isinstance(value, dict):
        name = next((key for key in value if not field.keys or key in field.keys), "OTHER")
        return {**value, name: "other"}
    return {"OTHER": "other"} if value is None else f"{value}x"


def _checked(check: str) -> list[Any]:
    return [pytest.param(f, id=f.path) for f in FIELDS if check in f.checks]


FULL: Manifest = {
    "schema": 2,
    "run": "small-a",
    "machine_name": "m1",
    "started_utc": "2026-01-02T03:04:05+00:00",
    "ended_utc": "2026-01-02T03:05:05+00:00",
    "versions": {"torch": "2.13.0"},
    "sources": {"softmax": "a" * 64},
    "allocator": {"MALLOC_TRIM_THRESHOLD_": "1"},
    "suite": {
        "name": "small",
        "hash": "0123456789ab",
        "measure": {"margin": 0.02, "alpha": 0.05, "launches": 1, "familywise": False},
    },
    "machine": {
        "platform": "Linux-6",
        "python": "3.11.7",
        "torch": "2.13.0+cpu",
        "usable_cpus": 2,
        "cpu": {"model": "Example 3000"},
        "frequency": {"governor": "performance", "now_mhz": 3000},
        "numa": {"nodes": 1},
        "memory": {"total_bytes": 8, "available_bytes": 4},
        "container": {"cpus": 2.0},
        "virtual": {"machine": True, "steal": 0.1},
        "load_average": [0.1, 0.1, 0.1],
        "on_battery": False,
        "gpu": {"model": "Example GPU", "temperature_celsius": 30},
        "threads": {"torch": 2},
        "thread_variables": {"OMP_NUM_THREADS": "2"},
        "allocator_variables": {"MALLOC_ARENA_MAX": "1"},
        "libraries": {"mkl": "2024.2"},
        "packages": {"torch": "2.13.0"},
    },
}


def _run(folder: Path, manifest: Manifest) -> Path:
    write_run(folder, [case("softmax", is_baseline=True)])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize("check", ["machine", "versions"])
def test_compare_refuses_each_field_that_it_checks(check: str, tmp_path: Path) -> None:
    a = _run(tmp_path / "a", FULL)
    for number, field in enumerate(f for f in FIELDS if check in f.checks):
        b = _run(tmp_path / f"b{number}", _changed(FULL, field))
        option = "--across-machines" if check == "machine" else "--across-versions"
        with pytest.raises(RunError, match=rf"unlike .*{field.what}.*add {option}"):
            compare(a, b)
    assert compare(a, _run(tmp_path / "b", FULL)).pairs


@pytest.mark.parametrize("field", _checked("resume"))
def test_resuming_refuses_each_field_that_it_checks(
    field: Field, suite: Suite, tmp_path: Path
) -> None:
    request = Request(suite, tmp_path / "run", resume=True)
    with Store(tmp_path / "run") as store:
        begun = local._manifest(request)
        store.write_manifest(begun)
        assert local._open(store, request) == json.loads(json.dumps(begun))
        other = 1 if field.path == "schema" else None
        changed = _changed(begun, field) if other is None else {**begun, "schema": other}
        store.write_manifest(changed)
        with pytest.raises(RunError) as refused:
            local._open(store, request)
    said = "holds another run" if field.path == "suite.hash" else f"cannot resume, .*{field.what}"
    assert refused.match(said)


@pytest.mark.parametrize("field", _checked("load"))
def test_loading_refuses_a_manifest_without_a_field_that_it_reads(
    field: Field, tmp_path: Path
) -> None:
    lacks = copy.deepcopy(FULL)
    inside: Any = lacks["suite"] if field.path.startswith("suite.") else lacks
    del inside[field.path.split(".")[-1]]
    with pytest.raises(
        RunError,
        match="schema None is not 2"
        if field.path == "schema"
        else (f"manifest.json: lacks {field.path}; take the run from a copy"),
    ):
        load(_run(tmp_path / "run", lacks))


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("ended_utc", None, "has not ended"),
        ("control", {"blocks": 12, "different": 4}, "different in 4 of 12 blocks"),
    ],
)
def test_compare_remarks_on_each_field_that_it_reads(field: str, value: Any, text: str) -> None:
    assert not remarks(Path("r"), {**FULL, "control": {"blocks": 12, "different": 1}})
    assert text in remarks(Path("r"), {**FULL, field: value})[0]
    assert {f.path for f in FIELDS if "remark" in f.checks} == {"ended_utc", "control"}


def test_a_report_audits_the_claims_of_the_manifest() -> None:
    claims = [{"claim": "x is exact", "source": "Table 1", "not_testable": "needs a GPU"}]
    made = {**FULL, "suite": {**FULL["suite"], "claims": claims}}
    (sheet,) = sheets(load([]), {"small-a": made})
    assert [line.said for line in sheet.lines] == ["not testable here: needs a GPU"]
    assert sheets(load([]), {"small-a": FULL}) == []
    assert {f.path for f in FIELDS if "audit" in f.checks} == {"suite.claims"}


def test_each_check_has_a_test_here_and_each_field_its_name() -> None:
    assert {check for field in FIELDS for check in field.checks} == {
        "load",
        "resume",
        "machine",
        "versions",
        "remark",
        "audit",
    }
    assert all(field.what for field in FIELDS if field.checks)
    assert len({field.path for field in FIELDS}) == len(FIELDS)


def test_decorative_parts_of_a_description_are_not_compared() -> None:
    for path, name in (("memory", "available_bytes"), ("frequency", "now_mhz")):
        other = copy.deepcopy(FULL)
        other["machine"][path][name] = 1
        assert differences(FULL, other, "machine") == ()


def test_runs_of_another_harness_are_not_taken_for_alike(
    written: Manifest, suite: Suite, tmp_path: Path
) -> None:
    assert written["versions"]["harness"] == harness_hash()
    changed = {**written["versions"], "harness": "0123456789ab"}
    a, b = (
        _run(tmp_path / name, {**FULL, "versions": found})
        for name, found in (("a", written["versions"]), ("b", changed))
    )
    with pytest.raises(RunError, match=f"harness {harness_hash()} -> 0123456789ab"):
        compare(a, b)
    other = Request(suite, tmp_path / "run", resume=True)
    with Store(tmp_path / "run") as store:
        store.write_manifest({**written, "versions": changed})
        with pytest.raises(RunError, match=f"harness 0123456789ab -> {harness_hash()}; start"):
            local._open(store, other)


def test_a_difference_names_the_entries_with_both_values() -> None:
    other = {**FULL, "versions": {"torch": "2.14.0", "triton": "3"}}
    (found,) = differences(FULL, other, "versions")
    assert str(found) == ("the versions of packages: torch 2.13.0 -> 2.14.0 and triton unset -> 3")


def test_a_setting_that_only_one_run_has_is_a_difference() -> None:
    other = copy.deepcopy(FULL)
    del other["machine"]["thread_variables"]  # what is empty is not written
    (found,) = differences(FULL, other, "machine")
    assert str(found).endswith("threads and devices: OMP_NUM_THREADS 2 -> unset")


def test_what_schema_1_did_not_tell_is_not_compared() -> None:
    old = {**FULL, "schema": 1, "machine": {"cpu": "Example 3000"}}
    assert differences(old, FULL, "machine") == ()
    assert differences(old, FULL, "versions") == ()


def test_lacking_names_fields_by_path() -> None:
    assert [f.path for f in lacking({"schema": 2, "suite": {}}, "load")] == [
        "run",
        "suite.name",
        "suite.measure",
        "machine_name",
    ]

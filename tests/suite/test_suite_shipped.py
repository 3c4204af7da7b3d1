"""The suites that ship, and the schema that editors check suite files with."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
import yaml

from harness import variant
from harness.suite import load_suite, schema, shipped
from harness.suite.model import Measure
from harness.workload import Workload

KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def is_kind(value: object, kind: str) -> bool:
    return isinstance(value, KINDS[kind]) and (isinstance(value, bool) == (kind == "boolean"))


def conforms(value: Any, rule: dict[str, Any]) -> bool:
    """The keywords of JSON Schema that the suite's schema uses, and no others."""
    if "anyOf" in rule and not any(conforms(value, option) for option in rule["anyOf"]):
        return False
    kinds = rule.get("type", [])
    if kinds and not any(is_kind(value, k) for k in ([kinds] if isinstance(kinds, str) else kinds)):
        return False
    if "enum" in rule and value not in rule["enum"]:
        return False
    if "const" in rule and value != rule["const"]:
        return False
    if isinstance(value, str) and not re.search(rule.get("pattern", ""), value):
        return False
    if isinstance(value, list):
        enough = len(value) >= rule.get("minItems", 0)
        return enough and all(conforms(item, rule.get("items", {})) for item in value)
    if isinstance(value, dict):
        return conforms_mapping(value, rule)
    return isinstance(value, str) or within(value, rule)


def within(value: Any, rule: dict[str, Any]) -> bool:
    return value is None or (
        rule.get("minimum", value) <= value <= rule.get("maximum", value)
        and not value <= rule.get("exclusiveMinimum", value - 1)
        and not value >= rule.get("exclusiveMaximum", value + 1)
    )


def conforms_mapping(value: dict[str, Any], rule: dict[str, Any]) -> bool:
    known, more = rule.get("properties", {}), rule.get("additionalProperties", True)
    parts = all(
        conforms(item, known[name])
        if name in known
        else (conforms(item, more) if isinstance(more, dict) else more)
        for name, item in value.items()
    )
    size = rule.get("minProperties", 0) <= len(value) <= rule.get("maxProperties", len(value))
    needed = [*rule.get("required", ())]
    for name, others in rule.get("dependentRequired", {}).items():
        needed += others if name in value else ()
    return parts and size and all(name in value for name in needed)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_shipped_suite_loads_and_conforms(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name.rsplit("/", 1)[-1]
    assert suite.description.endswith((".", "?")), "say what question it answers"
    assert suite.counts()[1] == sum(len(block.cases) for block in suite.blocks())
    assert conforms(yaml.safe_load(shipped()[name].read_text()), schema())


def test_suites_in_folders_have_the_folder_in_their_name() -> None:
    assert {"quick", "compiled", "decode", "masks", "dtypes", "gpu/quick-gpu"} <= set(shipped())


def test_quick_covers_what_it_promises() -> None:
    suite = load_suite("quick", cuda=True, device="cpu")
    workloads = list(suite.workloads())
    assert len(suite.variants) >= 8
    assert {w.mask for w in workloads} == {"none", "causal"}
    longest = {p: max(w.q_len for w in workloads if w.pass_ == p) for p in ("forward",)}
    assert longest == {"forward": 4096}
    assert min(w.q_len for w in workloads) == 256
    assert max(w.q_len for w in workloads if w.pass_ == "forward+backward") == 2048
    assert {w.device for w in workloads} == {"cpu"}


def test_models_has_the_shapes_it_names() -> None:
    workloads = list(load_suite("models", device="cpu").workloads())
    shapes = {(w.heads, w.kv_heads, w.head_dim, w.q_len, w.kv_len) for w in workloads}
    assert shapes == {
        (12, 12, 64, 512, 512),
        (16, 16, 64, 512, 512),
        (12, 12, 64, 1024, 1024),
        (12, 12, 64, 197, 197),
        (32, 8, 128, 1024, 1024),
        (8, 8, 40, 4096, 77),
        (32, 8, 128, 1, 8192),
    }
    assert {w.mask for w in workloads if w.heads == 32 and w.pass_ == "forward"} == {"causal"}


def test_approximation_crosses_length_spread_and_rank() -> None:
    workloads = list(load_suite("approximation", device="cpu").workloads())
    axes: list[set[Any]] = [{w.q_len for w in workloads}, {w.logit_std for w in workloads}]
    axes.append({w.logit_rank for w in workloads})
    assert axes == [{512, 2048}, {0.5, 2.0, 4.0}, {4, 16, 64}]
    assert len(workloads) == math.prod(len(values) for values in axes)


def test_field_has_every_variant_that_is_no_kernel_of_softmax_attention() -> None:
    suite = load_suite("field", device="cpu")
    asked = Workload.model_validate({"q_len": 512})
    classes = variant.registered().values()
    names = [cls.name for cls in classes if cls.__module__.startswith("variants.")]
    made = [variant.create(name, {}) for name in names]
    ops = [op for op in made if isinstance(op, variant.AttentionOp)]
    own = {op.name for op in ops if op.family != "softmax" and op.unsupported(asked) is None}
    assert own == {one.name for one in suite.variants} - {"softmax", "sdpa"}


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"name": "a/b"},
        {"variants": []},
        {"variants": [{"a": {}, "b": {}}]},
        {"baseline": {"a": {"x": [1]}}},
        {"workloads": [{"q_len": 0}]},
        {"workloads": [{"q_len": []}]},
        {"workloads": [{"q_len": [8, "x"]}]},
        {"workloads": [{"haeds": 1}]},
        {"workloads": [{"dtype": "float31"}]},
        {"workloads": [{"compile": 1}]},
        {"measure": {"margin": 1}},
        {"measure": {"budget_s": 0}},
        {"schedules": []},
        {"schedules": [{"schedule": "ring", "vectors": 8}]},
        {"schedules": [{"schedule": "rign", "vectors": 8, "elements": 2}]},
        {"schedules": [{"schedule": "ring", "vectors": 0, "elements": 2}]},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(change: dict[str, Any]) -> None:
    good = {"name": "x", "variants": ["a"], "baseline": "a", "workloads": [{"q_len": [8, 16]}]}
    assert conforms(good, schema())
    assert not conforms({**good, **change}, schema())
    assert not conforms({key: good[key] for key in list(good)[1:]}, schema())


def test_the_schema_takes_schedules_alone_but_nothing_timed_by_halves() -> None:
    alone = {"name": "x", "schedules": [{"schedule": "ring", "vectors": [4, 8], "elements": 2}]}
    assert conforms(alone, schema())
    assert conforms({**alone, "description": "?", "measure": {"margin": 0.1}}, schema())
    parts: list[dict[str, Any]] = [{"variants": ["a"]}, {"baseline": "a"}, {"claims": []}]
    for part in parts:
        assert not conforms({**alone, **part}, schema())


def test_the_schema_has_every_field_and_is_json() -> None:
    found = schema()
    assert json.loads(json.dumps(found)) == found
    entry = found["properties"]["workloads"]["items"]["properties"]
    left_out = {"height", "width", "channels", "footprint", "shared"}
    assert set(entry) == set(Workload(q_len=1).as_dict()) | left_out  # type: ignore[call-arg]
    assert set(found["properties"]["measure"]["properties"]) == set(Measure.model_fields)
    assert "auto" in entry["device"]["anyOf"][0]["enum"]
    assert all(len(part["anyOf"]) >= 2 for part in entry.values())

"""The JSON Schema of a suite file, for editors."""

from __future__ import annotations

from typing import Any

from harness.schedule import GENERATORS
from harness.suite.claim import AXES, MEASURES, QUANTITIES
from harness.suite.fields import DERIVED, DEVICES
from harness.suite.loading import KEYS, NAME_PATTERN, REQUIRED, TIMED
from harness.suite.model import Measure
from harness.suite.schedules import ScheduleCase
from harness.workload import Workload


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a suite file; any field of a workload may be a list."""
    parts = {
        "name": {"type": "string", "pattern": f"^{NAME_PATTERN}$"},
        "description": {"type": "string"},
        "variants": {"type": "array", "minItems": 1, "items": _variant(sweeps=True)},
        "baseline": _variant(sweeps=False),
        "workloads": {"type": "array", "minItems": 1, "items": _workload()},
        "schedules": {"type": "array", "minItems": 1, "items": _schedule()},
        "measure": Measure.model_json_schema(),
        "claims": {"type": "array", "items": _claim()},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "attnbench suite",
        "description": "Variants, workloads that lists sweep, schedules, measuring, claims.",
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "anyOf": [{"required": list(REQUIRED)}, {"required": ["schedules"]}],
        "dependentRequired": {key: list(TIMED) for key in (*TIMED, "claims")},
        "properties": {key: parts[key] for key in KEYS},
    }


def _variant(*, sweeps: bool) -> dict[str, Any]:
    scalar: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
    value = {"anyOf": [scalar, _list_of(scalar)]} if sweeps else scalar
    return {
        "anyOf": [
            {"type": "string"},
            {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": {
                    "type": ["object", "null"],
                    "additionalProperties": value,
                },
            },
        ]
    }


def _workload() -> dict[str, Any]:
    made = Workload.model_json_schema(by_alias=True)
    properties = {name: _swept(name, dict(part)) for name, part in made["properties"].items()}
    return {
        "type": "object",
        "description": made.get("description", ""),
        "additionalProperties": False,
        "properties": properties,
    }


def _schedule() -> dict[str, Any]:
    made = ScheduleCase.model_json_schema()
    parts = {**made["properties"], "schedule": {"enum": list(GENERATORS)}}
    return {
        "type": "object",
        "description": made["description"],
        "additionalProperties": False,
        "required": list(parts),
        "properties": {n: {"anyOf": [part, _list_of(part)]} for n, part in parts.items()},
    }


def _claim() -> dict[str, Any]:
    text: dict[str, Any] = {"type": "string", "pattern": r"\S"}
    ends = {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": ["number", "null"]}}
    measured = {
        "quantity": {
            "enum": list(QUANTITIES),
            "description": "; ".join(f"{name}: {about}" for name, about in MEASURES.items()),
        },
        "of": _variant(sweeps=False),
        "over": _variant(sweeps=False),
        "where": text,
        "along": {"enum": list(AXES)},
        "expected": {"anyOf": [{"type": "number"}, ends]},
        "tolerance": {"type": "number", "exclusiveMinimum": 0},
        "trend": ends,
    }
    said = {"claim": text, "source": text, "note": text}
    testable = {
        **_mapping({**said, **measured}),
        "required": ["claim", "source", "quantity", "of", "expected"],
    }
    untestable = {
        **_mapping({**said, "not_testable": text}),
        "required": ["claim", "source", "not_testable"],
    }
    return {"anyOf": [testable, untestable]}


def _mapping(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _swept(name: str, part: dict[str, Any]) -> dict[str, Any]:
    title, default = part.pop("title", name), part.pop("default", None)
    if name == "device":
        part, default = {"enum": list(DEVICES)}, "auto"
    one = [part, {"type": "null"}] if name in DERIVED else [part]
    item = {"anyOf": one} if len(one) > 1 else part
    swept: dict[str, Any] = {"title": title, "anyOf": [*one, _list_of(item)]}
    return swept if default is None else {**swept, "default": default}


def _list_of(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": item}

"""Fields of a workload and of `measure`: what each may hold, and what is said when it does not."""

from __future__ import annotations

import functools
import typing
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from harness.distribution import InputSpec
from harness.errors import WorkloadError, suggest
from harness.mask import MaskSpec
from harness.suite.document import show
from harness.suite.plain import parse_literal
from harness.workload import Workload

# Left out or null, these follow from other fields or from the machine.
DERIVED = ("kv_heads", "kv_len", "v_head_dim", "threads", "scale")
DEVICES = ("auto", "cpu", "cuda")
_EXAMPLES = {
    "q_len": 1024,
    "kv_len": 1024,
    "kv_heads": 1,
    "v_head_dim": 64,
    "threads": 2,
    "schedule": "ring",
    "vectors": 64,
    "elements": 4,
}


@functools.cache
def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model by the name that they have in YAML."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def value_of(case: BaseModel, name: str) -> Any:
    """The value of a field, of a workload for one, by the name that it has in YAML."""
    return getattr(case, "pass_" if name == "pass" else name)


def choices(name: str) -> tuple[str, ...]:
    """The words that a workload's field may hold; () when it holds something else."""
    if name == "device":
        return DEVICES
    annotation = fields_of(Workload)[name].annotation
    return typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()


def complaint(model: type[BaseModel], name: str, value: Any) -> str | None:
    """What is wrong with one value of a field and what to write; None when it is right."""
    if model is Workload:
        if value is None and name in DERIVED:
            return None
        if choices(name):
            return _choice(name, value)
        if name == "mask" and isinstance(value, str):
            return _mask(value)
        if name == "inputs" and isinstance(value, str):
            return _inputs(value)
    field = fields_of(model)[name]
    if _valid(model, name, value):
        return None
    found = "nothing" if value is None else show(value)
    return f"must be {expected(field)}, found {found}; write {_remedy(model, name, value)}"


def expected(field: FieldInfo) -> str:
    """What a field holds, in words: `a whole number of at least 1`."""
    words: dict[Any, str] = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
    }
    bounds = []
    for rule in field.metadata:
        for bound, text in (("ge", "of at least"), ("gt", "above"), ("lt", "below")):
            limit = getattr(rule, bound, None)
            bounds += [f"{text} {limit}"] if limit is not None else []
    return " ".join([words.get(field.annotation, "a value"), " and ".join(bounds)]).strip()


def _choice(name: str, value: Any) -> str | None:
    options = choices(name)
    if value in options:
        return None
    if isinstance(value, str):
        return f"unknown {name}, found {show(value)}; {suggest(value, options)}"
    found = "nothing" if value is None else show(value)
    return f"must be one of {', '.join(options)}, found {found}; write {name}: {options[0]}"


def _mask(value: str) -> str | None:
    try:
        MaskSpec.parse(value)
    except WorkloadError as error:
        return f"unknown mask: {str(error).removeprefix('mask: ')}"
    return None


def _inputs(value: str) -> str | None:
    try:
        InputSpec.parse(value)
    except WorkloadError as error:
        return str(error).removeprefix("inputs: ")
    return None


@functools.cache
def _adapter(model: type[BaseModel], name: str) -> pydantic.TypeAdapter[Any]:
    field = fields_of(model)[name]
    kind: Any = field.annotation
    kind = Annotated[(kind, *field.metadata)] if field.metadata else kind
    return pydantic.TypeAdapter(kind)


def _valid(model: type[BaseModel], name: str, value: Any) -> bool:
    try:
        _adapter(model, name).validate_python(value, strict=True)
    except pydantic.ValidationError:
        return False
    return True


def _remedy(model: type[BaseModel], name: str, value: Any) -> str:
    field = fields_of(model)[name]
    if isinstance(value, str):
        try:
            meant = parse_literal(value)
        except ValueError:
            meant = None
        if meant is not None and _valid(model, name, meant):
            return f"{name}: {show(meant)}"
    example = _EXAMPLES.get(name, 0.125) if field.is_required() else field.default
    return f"{name}: {show(example).removesuffix(' (text)')}, for example"

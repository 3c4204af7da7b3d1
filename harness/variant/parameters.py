"""A variant from its name and parameters, and its parameters with their types."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydantic

from harness.errors import VariantError, suggest
from harness.variant.interface import Variant
from harness.variant.registry import get
from harness.workload import VariantSpec


def build(spec: VariantSpec) -> Variant:
    """The variant that a spec names, its parameters checked against their types."""
    return create(spec.name, dict(spec.params))


def create(name: str, params: Mapping[str, Any]) -> Variant:
    """A variant from its name and parameters.

    Raises VariantError naming the parameter that is unknown, missing or of the wrong type.
    """
    cls = get(name)
    known = parameters(cls)
    for key in params:
        if key not in known:
            raise VariantError(f"{name}: unknown parameter {key!r}; {suggest(key, known)}")
    checked = {key: _checked(name, key, known[key].type, params[key]) for key in params}
    for key, parameter in known.items():
        if parameter.required and key not in checked:
            raise VariantError(f"{name}: parameter {key!r} has no default; write {name}({key}=...)")
    try:
        return cls(**checked)
    except (TypeError, ValueError) as error:
        raise VariantError(f"{name}: {error}") from error


@dataclass(frozen=True)
class Parameter:
    """A parameter of a variant: its type as written in Python, and its default."""

    type: Any
    default: Any
    required: bool

    @property
    def type_text(self) -> str:
        """The type as a reader would write it."""
        options = typing.get_args(self.type)
        if typing.get_origin(self.type) is typing.Literal:
            return " | ".join(str(option) for option in options)
        return getattr(self.type, "__name__", str(self.type))


def parameters(cls: type[Variant]) -> dict[str, Parameter]:
    """The parameters of a variant, in field order."""
    hints = typing.get_type_hints(cls)
    return {
        field.name: Parameter(hints[field.name], field.default, _required(field))
        for field in dataclasses.fields(cls)  # type: ignore[arg-type]
    }


def _required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def parse_spec(text: str) -> VariantSpec:
    """Read `polynomial(degree=2, kernel=naive)` back; raises VariantError."""
    match = re.fullmatch(r"\s*([A-Za-z0-9_]+)\s*(?:\((.*)\))?\s*", text)
    if match is None:
        raise VariantError(f"cannot read variant {text!r}; write name or name(parameter=value)")
    params: dict[str, Any] = {}
    for part in filter(None, re.split(r",", match[2] or "")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise VariantError(f"cannot read {part.strip()!r} in {text!r}; write parameter=value")
        if key in params:
            raise VariantError(f"parameter {key} stands twice in {text!r}; write it once")
        params[key] = _literal(value)
    return create(match[1], params).spec


def _checked(name: str, key: str, kind: Any, value: Any) -> Any:
    try:
        return pydantic.TypeAdapter(kind).validate_python(value, strict=True)
    except pydantic.ValidationError as error:
        wanted = Parameter(kind, None, False).type_text
        raise VariantError(
            f"{name}: {key} must be {wanted}, found {value!r} ({error.errors()[0]['msg']})"
        ) from error


def _literal(text: str) -> Any:
    if text in ("true", "True", "false", "False"):
        return text.lower() == "true"
    if text in ("null", "None"):
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip("'\"")

"""What a variant shares with others: its definition, its family, its source."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.util
import inspect
from pathlib import Path

from harness.variant.carrier import Carrier
from harness.variant.interface import AttentionOp, Variant
from harness.variant.layer import AttentionLayer
from harness.variant.lift import Lifted

_INTERFACE = (AttentionOp, AttentionLayer, Variant, Carrier, Lifted, object)


def definition_key(variant: Variant) -> tuple[str, bool]:
    """What two variants share when they share a definition, and whether it is their own forward.

    The key names the class that writes the definition and the values of that class's fields:
    a definition may read no others. `defined_as` names another variant in its place. A forward may
    read whatever its variant has, so that one inherited by two variants is not the same truth.
    """
    if isinstance(variant, Carrier):
        key, own = definition_key(variant.layer)
        return f"layer {key}", own
    if isinstance(variant, Lifted):
        key, own = definition_key(variant.op)
        return f"lifted {key}", own
    if isinstance(variant, AttentionOp) and variant.defined_as() is not variant:
        return definition_key(variant.defined_as())
    own = not any("definition" in vars(base) for base in _bases(variant))
    owner = next((base for base in _bases(variant) if "definition" in vars(base)), type(variant))
    fields = dataclasses.fields(owner) if dataclasses.is_dataclass(owner) else ()
    values = {field.name: getattr(variant, field.name) for field in fields}
    return f"{owner.__module__}.{owner.__qualname__} {values}", own


def family_of(variant: Variant) -> str:
    """The family a variant belongs to; its own name when it declares none."""
    return variant.family or variant.name


def source_hash(cls: type[Variant]) -> str:
    """SHA-256 over the files that define the variant and its bases outside the harness.

    Of a variant that is a package among others, as `variants/NAME/`, over all of its modules, and
    over what these import of the package that they lie in.
    """
    bases = [base for base in cls.__mro__ if _is_variant_code(base)]
    known = [Path(home) for home in map(source_file, bases) if Path(home).is_file()]
    files = {file for home in known for file in _whole(home)}
    top, _, inner = cls.__module__.partition(".")
    if inner:
        files = _with_imports(files, top)
    digest = hashlib.sha256("".join(map(source_file, bases)).encode() if not files else b"")
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _with_imports(files: set[Path], top: str) -> set[Path]:
    """The files, with those that they import of the package `top`, and what these import of it."""
    found: set[Path] = set()
    todo = list(files)
    while todo:
        file = todo.pop()
        if file not in found:
            found.add(file)
            todo += [path for name in _imported(file, top) if (path := _located(name))]
    return found


def _imported(file: Path, top: str) -> set[str]:
    """Names below `top` that are imported, at any depth: modules, and what is taken from them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith(f"{top}.")}


def _located(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # a name taken from a module is no module
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _whole(file: Path) -> list[Path]:
    """The file, with all of its package where that lies in another package."""
    nested = all((folder / "__init__.py").exists() for folder in file.parents[:2])
    return sorted(file.parent.rglob("*.py")) if nested else [file]


def _bases(variant: Variant) -> list[type]:
    return [base for base in type(variant).__mro__ if base not in _INTERFACE]


def _is_variant_code(base: type) -> bool:
    return issubclass(base, Variant) and base not in _INTERFACE


def source_file(cls: type) -> str:
    """The file that defines a class; its module where there is no file."""
    try:
        return inspect.getfile(cls)
    except (TypeError, OSError):
        return f"module {cls.__module__}"

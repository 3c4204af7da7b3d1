"""The registry, the one mutable global of the project, and how variants come into it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from harness.errors import VariantError, suggest
from harness.variant.identity import source_file
from harness.variant.interface import AttentionOp, Variant
from harness.variant.layer import AttentionLayer

ENTRY_POINTS = "attnbench.variants"
Kind = TypeVar("Kind", bound=type[Variant])
_REGISTRY: dict[str, type[Variant]] = {}


def register(name: str) -> Callable[[Kind], Kind]:
    """Register a variant under a name; raises VariantError on a bad or taken name."""

    def add(cls: Kind) -> Kind:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise VariantError(
                f"variant {name!r} in {source_file(cls)}: a name is small letters, digits and _; "
                "write one such as my_attention"
            )
        if not _is_variant_class(cls):
            raise VariantError(
                f"variant {name!r} in {source_file(cls)}: {cls.__name__} must derive from "
                "AttentionOp or AttentionLayer and be a frozen dataclass; write @register "
                "above @dataclass(frozen=True)"
            )
        if cls in _REGISTRY.values():
            raise VariantError(
                f"variant {name!r} in {source_file(cls)}: {cls.__name__} is registered as "
                f"{cls.name!r} already; derive a class of its own"
            )
        if name in _REGISTRY:
            raise VariantError(
                f"variant {name!r} in {source_file(cls)}: the name is taken by "
                f"{source_file(_REGISTRY[name])}; choose another name"
            )
        cls.name = name
        _REGISTRY[name] = cls
        return cls

    return add


def registered() -> Mapping[str, type[Variant]]:
    """A copy of the registry, by name."""
    return dict(sorted(_REGISTRY.items()))


def get(name: str) -> type[Variant]:
    """The class of a variant; raises VariantError with near names."""
    if name not in _REGISTRY:
        raise VariantError(f"unknown variant {name!r}; {suggest(name, _REGISTRY)}")
    return _REGISTRY[name]


def load_installed(*, own: bool = False) -> None:
    """Import every entry point of the group `attnbench.variants`; importing registers.

    With `own`, only those of attnbench itself: importing them starts no threads and no CUDA.
    Raises VariantError naming the package whose entry point does not import.
    """
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        package = "" if entry.dist is None else entry.dist.name
        if own and package != "attnbench":
            continue
        try:
            entry.load()
        except VariantError:
            raise
        except Exception as error:
            raise VariantError(
                f"package {package or '?'}: its entry point {entry.name} = {entry.value} in "
                f"{ENTRY_POINTS} does not import: {type(error).__name__}: {error}; mend or "
                "uninstall the package"
            ) from error


def load_file(path: Path) -> tuple[str, ...]:
    """Run a variant file and return the names that it registered.

    Loading a file twice registers once. Raises VariantError when the file cannot be read, does
    not import, or registers nothing.
    """
    path = path.resolve()
    module_name = f"attnbench_file_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if module_name in sys.modules:
        return _names_in(module_name)
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise VariantError(f"{path}: not a Python file; name a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    before = set(_REGISTRY)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        for name in set(_REGISTRY) - before:
            del _REGISTRY[name]
        del sys.modules[module_name]
        if isinstance(error, (VariantError, KeyboardInterrupt)):
            raise
        where = _line_in(error, path)
        raise VariantError(
            f"{path}{where}: does not import: {type(error).__name__}: {error}; mend the file"
        ) from error
    if not _names_in(module_name):
        del sys.modules[module_name]
        raise VariantError(
            f"{path}: registers no variant; decorate a class with @register('my_attention')"
        )
    return _names_in(module_name)


def _names_in(module_name: str) -> tuple[str, ...]:
    return tuple(name for name, cls in registered().items() if cls.__module__ == module_name)


def _line_in(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f":{error.lineno}"
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f":{lines[-1]}" if lines else ""


def _is_variant_class(cls: type) -> bool:
    # Its own: a base's decorator makes no fields of what the class adds.
    made = vars(cls).get("__dataclass_params__")
    return issubclass(cls, (AttentionOp, AttentionLayer)) and made is not None and made.frozen

"""Variants: the interface, and the registry, the one mutable global of the project."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pydantic
from torch import Tensor

from harness.errors import VariantError, suggest
from harness.mask import Mask
from harness.workload import VariantSpec, Workload

ENTRY_POINTS = "attnbench.variants"
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Cost:
    """What a variant says of its own work; None where it claims nothing.

    flops: executed FLOPs of the pass; bytes: compulsory traffic; state_bytes: kept between
    decode steps; time_growth, memory_growth: claimed exponents in the length.
    """

    flops: int | None = None
    bytes: int | None = None
    state_bytes: int | None = None
    time_growth: float | None = None
    memory_growth: float | None = None


class AttentionOp:
    """One attention mechanism on q (B, H, Lq, D), k (B, Hkv, Lkv, D), v (B, Hkv, Lkv, Dv).

    A variant is a frozen dataclass whose fields are its parameters; `forward` is all that is
    required. `grouped`: it takes Hkv < H itself (otherwise the harness repeats k and v inside
    what is timed). `biased`: it honours `mask.bias`. `rowwise`: rows of the output do not depend
    on other queries, so that the definition may be run on some rows only.
    """

    name: ClassVar[str] = ""
    family: ClassVar[str] = ""
    grouped: ClassVar[bool] = False
    biased: ClassVar[bool] = False
    rowwise: ClassVar[bool] = True

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """The attention itself -> (B, H, Lq, Dv); differentiable where backward is claimed."""
        raise NotImplementedError(f"{type(self).__name__} defines neither forward nor prepare")

    def definition(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        """The formula, plainly; run in float64 as the truth, on the query rows of `mask`.

        Sees H heads of keys. May read only the fields of the class that defines it. Left out,
        `forward` itself is run in float64, and the record says that the check was against it.
        """
        return self.forward(q, k, v, mask=mask, scale=scale)

    def prepare(self, workload: Workload, mask: Mask) -> Attention:
        """Do what does not depend on values (block masks, compiling); its time is its own."""
        return functools.partial(self.forward, mask=mask, scale=workload.scale)

    def unsupported(self, workload: Workload) -> str | None:
        """Why this workload cannot be run, as the user reads it; None when it can."""
        return None

    def expected_kernels(self, workload: Workload) -> tuple[str, ...]:
        """Parts of kernel names of which one must run; () when any will do.

        When none of them ran, the case is `fallback`: what ran is not what was asked.
        """
        return ()

    def cost(self, workload: Workload) -> Cost:
        """What the variant claims of its own work."""
        return Cost()

    @property
    def spec(self) -> VariantSpec:
        """Name and non-default parameters, in field order."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        pairs = [(field.name, getattr(self, field.name)) for field in fields]
        defaults = {field.name: field.default for field in fields}
        return VariantSpec(
            self.name, tuple((name, value) for name, value in pairs if value != defaults[name])
        )


Op = TypeVar("Op", bound=type[AttentionOp])
_REGISTRY: dict[str, type[AttentionOp]] = {}


def register(name: str) -> Callable[[Op], Op]:
    """Register a variant under a name; raises VariantError on a bad or taken name."""

    def add(cls: Op) -> Op:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise VariantError(
                f"variant {name!r} in {_file_of(cls)}: a name is small letters, digits and _; "
                "write one such as my_attention"
            )
        if not _is_variant_class(cls):
            raise VariantError(
                f"variant {name!r} in {_file_of(cls)}: {cls.__name__} must derive from "
                "AttentionOp and be a frozen dataclass; write @register above "
                "@dataclass(frozen=True)"
            )
        if name in _REGISTRY:
            raise VariantError(
                f"variant {name!r} in {_file_of(cls)}: the name is taken by "
                f"{_file_of(_REGISTRY[name])}; choose another name"
            )
        cls.name = name
        _REGISTRY[name] = cls
        return cls

    return add


def registered() -> Mapping[str, type[AttentionOp]]:
    """A copy of the registry, by name."""
    return dict(sorted(_REGISTRY.items()))


def get(name: str) -> type[AttentionOp]:
    """The class of a variant; raises VariantError with near names."""
    if name not in _REGISTRY:
        raise VariantError(f"unknown variant {name!r}; {suggest(name, _REGISTRY)}")
    return _REGISTRY[name]


def load_installed(*, own: bool = False) -> None:
    """Import every entry point of the group `attnbench.variants`; importing registers.

    With `own`, only those of attnbench itself: importing them starts no threads and no CUDA.
    """
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        if not own or (entry.dist is not None and entry.dist.name == "attnbench"):
            entry.load()


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


def build(spec: VariantSpec) -> AttentionOp:
    """The variant that a spec names, its parameters checked against their types."""
    return create(spec.name, dict(spec.params))


def create(name: str, params: Mapping[str, Any]) -> AttentionOp:
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


def parameters(cls: type[AttentionOp]) -> dict[str, Parameter]:
    """The parameters of a variant, in field order."""
    hints = typing.get_type_hints(cls)
    return {
        field.name: Parameter(
            hints[field.name], field.default, field.default is dataclasses.MISSING
        )
        for field in dataclasses.fields(cls)  # type: ignore[arg-type]
    }


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
        params[key] = _literal(value)
    return create(match[1], params).spec


def definition_key(op: AttentionOp) -> tuple[str, bool]:
    """What two variants share when they share a definition, and whether it is their own forward.

    The key names the class that writes the definition and the values of that class's fields:
    a definition may read no others.
    """
    own = not any("definition" in vars(base) for base in _bases(op))
    method = "forward" if own else "definition"
    owner = next((base for base in _bases(op) if method in vars(base)), type(op))
    fields = dataclasses.fields(owner) if dataclasses.is_dataclass(owner) else ()
    values = {field.name: getattr(op, field.name) for field in fields}
    return f"{owner.__module__}.{owner.__qualname__} {values}", own


def family_of(op: AttentionOp) -> str:
    """The family a variant belongs to; its own name when it declares none."""
    return op.family or op.name


def source_hash(cls: type[AttentionOp]) -> str:
    """SHA-256 over the files that define the variant and its bases outside the harness."""
    files = sorted({_file_of(base) for base in cls.__mro__ if _is_variant_code(base)})
    digest = hashlib.sha256()
    for file in files:
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def source_file(cls: type[AttentionOp]) -> str:
    """The file that defines the variant."""
    return _file_of(cls)


def _bases(op: AttentionOp) -> list[type]:
    return [base for base in type(op).__mro__ if base not in (AttentionOp, object)]


def _is_variant_class(cls: type) -> bool:
    return issubclass(cls, AttentionOp) and dataclasses.is_dataclass(cls)


def _is_variant_code(base: type) -> bool:
    return issubclass(base, AttentionOp) and base is not AttentionOp


def _file_of(cls: type) -> str:
    try:
        return inspect.getfile(cls)
    except (TypeError, OSError):
        return f"module {cls.__module__}"


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

"""What each field of a manifest is for: read by a check, or decorative (shown, judged by nobody).

A field that is in a manifest and not in FIELDS fails a test, so that nothing is written down in
the belief that somebody looks at it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Check = Literal["load", "resume", "machine", "versions", "remark", "audit"]
"""load: reading a run refuses without it. resume: a run goes on only where it is unchanged.
machine, versions: runs are compared only where it agrees, unless told otherwise. remark: `compare`
says what it makes of it. audit: reports hold it against the records."""


@dataclass(frozen=True)
class Field:
    """One field, by its path, and the checks that read it; decorative when there are none.

    what: how a refusal names it. keys: of a mapping, the only keys that are compared (all when
    empty). whole: an entry that only one manifest has is a difference; else it is not compared,
    since another version may describe a machine otherwise.
    """

    path: str
    checks: tuple[Check, ...] = ()
    what: str = ""
    keys: tuple[str, ...] = ()
    whole: bool = False


FIELDS = (
    Field("schema", ("load", "resume"), "the schema of its records"),
    Field("run", ("load",), "its name"),
    Field("suite.name", ("load",), "the suite's name"),
    Field("suite.measure", ("load",), "how it was measured"),
    # Stands for name, variants, baseline, workloads, schedules and measure together.
    Field("suite.hash", ("resume",), "the suite (its cases or settings)"),
    Field("suite.variants"),
    Field("suite.baseline"),
    Field("suite.workloads"),
    Field("suite.schedules"),
    Field("suite.description"),
    Field("suite.claims", ("audit",), "what papers claim"),
    Field("suite.overrides"),
    Field("suite.text"),
    Field("command"),
    Field("files"),  # what they hold is in `sources`
    Field("started_utc"),
    Field("ended_utc", ("remark",), "whether it has ended"),
    Field("machine_name", ("load", "resume", "machine"), "the machine"),
    Field("versions", ("resume", "versions"), "the versions of packages", whole=True),
    Field("sources", ("resume",), "the source of a variant", whole=True),
    Field("allocator", ("resume", "machine"), "the settings of the C allocator", whole=True),
    Field("git"),  # of the folder that it was started in, which need not hold what was run
    Field("control", ("remark",), "how often it called two copies of one kernel different"),
    Field("hazards"),
    Field("machine.platform", ("versions",), "the operating system"),
    Field("machine.python", ("versions",), "the version of Python"),
    Field("machine.torch", ("versions",), "the version of torch"),
    Field("machine.libraries", ("versions",), "the libraries that torch computes with"),
    Field("machine.packages"),  # again in `versions`
    Field("machine.usable_cpus", ("resume", "machine"), "the CPUs that may be used"),
    Field("machine.cpu", ("machine",), "the CPU"),
    Field(
        "machine.frequency",
        ("machine",),
        "the CPU's frequency settings",
        ("governor", "driver", "turbo", "max_mhz"),
    ),
    Field("machine.numa", ("machine",), "the NUMA nodes"),
    Field("machine.memory", ("machine",), "the memory", ("total_bytes", "huge_pages")),
    Field(
        "machine.container",
        ("machine",),
        "the container's limits",
        ("cpus", "memory_bytes", "cpuset"),
        whole=True,
    ),
    Field("machine.virtual", ("machine",), "a virtual machine or not", ("machine",)),
    Field("machine.load_average"),
    Field("machine.energy"),  # which counters there are; what they read is in the records
    Field("machine.on_battery", ("machine",), "running on battery"),
    Field(
        "machine.gpu",
        ("machine",),
        "the GPU or its settings",
        ("model", "memory_bytes", "driver", "clock_is_set", "power_limit_watts", "mig"),
    ),
    Field("machine.threads", ("machine",), "the threads of torch"),
    Field(
        "machine.thread_variables",
        ("resume", "machine"),
        "the variables that set threads and devices",
        whole=True,
    ),
    Field(
        "machine.allocator_variables",
        ("resume", "machine"),
        "the variables that set allocators",
        whole=True,
    ),
)

_ALWAYS_TOLD = 2
"""From this schema on, a group that is missing from a description is empty; before, unknown."""


@dataclass(frozen=True)
class Difference:
    """A field in which two manifests differ, with the names and values that do."""

    path: str
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.what}: {self.text}"


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], check: Check
) -> tuple[Difference, ...]:
    """The fields of this check in which two manifests differ."""
    told = all(manifest.get("schema", 0) >= _ALWAYS_TOLD for manifest in (one, other))
    found = []
    for field in FIELDS:
        if check in field.checks:
            text = " and ".join(_changes(field, _at(one, field), _at(other, field), told))
            if text:
                found.append(Difference(field.path, field.what, text))
    return tuple(found)


def lacking(manifest: Mapping[str, Any], check: Check) -> tuple[Field, ...]:
    """The fields of this check that a manifest does not have."""
    return tuple(f for f in FIELDS if check in f.checks and _at(manifest, f) is None)


def undeclared(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Paths of a manifest that FIELDS does not declare; `suite` and `machine` a level down."""
    declared = {field.path for field in FIELDS}
    return tuple(path for path in _paths(manifest) if path not in declared)


def _paths(manifest: Mapping[str, Any]) -> Iterator[str]:
    for name, value in manifest.items():
        if name in ("suite", "machine") and isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner in value)
        else:
            yield name


def _at(manifest: Mapping[str, Any], field: Field) -> Any:
    value: Any = manifest
    for name in field.path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _changes(field: Field, one: Any, other: Any, told: bool) -> Iterator[str]:
    """`torch 2.12.0 -> 2.13.0` for each entry of a mapping that differs, `a -> b` for a value."""
    if field.whole and told:
        one, other = ({} if value is None else value for value in (one, other))
    if one is None or other is None or one == other:
        return
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        # Schema 1 wrote a text where a description stands now: not to be compared.
        if isinstance(one, Mapping) == isinstance(other, Mapping):
            yield f"{one} -> {other}"
        return
    names = [name for name in {**one, **other} if not field.keys or name in field.keys]
    for name in names:
        both = name in one and name in other
        if one.get(name) != other.get(name) and (both or field.whole):
            yield f"{name} {_said(one.get(name))} -> {_said(other.get(name))}"


def _said(value: Any) -> str:
    if value is None:
        return "unset"
    text = str(value)
    # A hash is told from another by its first digits.
    return text[:12] if len(text) == 64 else text

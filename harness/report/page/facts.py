"""What a manifest says, as a reader wants it: machine, versions, how it was measured."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from harness.report.numbers import duration, size

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Facts:
    """One run, as text."""

    run: str
    suite: str
    description: str
    text: str
    command: str
    when: str
    machine: Pairs
    versions: Pairs
    sources: Pairs
    measure: Pairs
    hazards: tuple[str, ...]


def facts_of(manifest: Mapping[str, Any]) -> Facts:
    """The texts of one manifest; what it does not hold is left out."""
    suite = manifest["suite"]
    return Facts(
        run=str(manifest["run"]),
        suite=str(suite["name"]),
        description=str(suite.get("description") or ""),
        text=str(suite.get("text") or ""),
        command=_command(manifest.get("command")),
        when=_when(manifest),
        machine=(
            *_flat(_mapping(manifest.get("machine"))),
            *_allocator(_mapping(manifest.get("allocator"))),
        ),
        versions=(
            *_flat(_mapping(manifest.get("versions"))),
            *_checkout(_mapping(manifest.get("git"))),
        ),
        sources=_flat(_mapping(manifest.get("sources"))),
        measure=_measure(suite["measure"]),
        hazards=tuple(map(str, manifest.get("hazards") or ())),
    )


def no_energy(manifests: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Why energy was not measured, a text a device, as the manifests say it."""
    reasons = [
        f"{device}: {found['absent']}"
        for manifest in manifests.values()
        for device, found in _mapping(_mapping(manifest.get("machine")).get("energy")).items()
        if isinstance(found, Mapping) and "absent" in found
    ]
    return tuple(dict.fromkeys(reasons))


def _measure(measure: Mapping[str, Any]) -> Pairs:
    whole = measure.get("familywise")
    per = "for all comparisons of a block together" if whole else "for each comparison"
    margin = None if "margin" not in measure else 100 * measure["margin"]
    said = (
        ("margin", margin, "{:g} %: smaller differences are called the same"),
        ("alpha", measure.get("alpha"), "{:g} " + per),
        ("launches", measure.get("launches"), "{} processes a block at least"),
        ("budget", measure.get("budget_s"), "{:g} s a block"),
        ("time limit", measure.get("timeout_s"), "{:g} s a case"),
    )
    return tuple((name, text.format(value)) for name, value, text in said if value is not None)


def _allocator(settings: Mapping[str, Any]) -> Pairs:
    text = ", ".join(f"{name}={value}" for name, value in settings.items())
    return (("C allocator of what is timed", text),) if text else ()


def _checkout(git: Mapping[str, Any]) -> Pairs:
    """Of the folder that the run was started in, which need not hold what was run."""
    if "commit" not in git:
        return ()
    state = ", with changes" if git.get("changed") else ""
    return (("started in the commit", f"{str(git['commit'])[:12]}{state}"),)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _command(command: Any) -> str:
    return (
        shlex.join(map(str, command)) if isinstance(command, (list, tuple)) else str(command or "")
    )


def _when(manifest: Mapping[str, Any]) -> str:
    started, ended = manifest.get("started_utc"), manifest.get("ended_utc")
    if not started:
        return ""
    text = f"started {started}"
    if not ended:
        return f"{text}, not ended"
    try:
        took = _instant(ended) - _instant(started)
    except ValueError:
        return f"{text}, ended {ended}"
    return f"{text}, took {duration(took.total_seconds())}"


def _instant(text: Any) -> datetime:
    # Python 3.10 does not read the letter Z.
    return datetime.fromisoformat(str(text).replace("Z", "+00:00"))


def _flat(content: Mapping[str, Any], prefix: str = "") -> Pairs:
    """Nested mappings as one list of names and texts: `cpu model`, `cpu cores`."""
    pairs: list[tuple[str, str]] = []
    for name, value in content.items():
        label = f"{prefix}{name}"
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{label} ")
        elif value not in (None, "", [], ()):
            pairs.append(_said(label, value))
    return tuple(pairs)


def _said(label: str, value: Any) -> tuple[str, str]:
    if label.endswith("_bytes") and isinstance(value, (int, float)):
        return label.removesuffix("_bytes").replace("_", " "), size(value)
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return label.replace("_", " "), text

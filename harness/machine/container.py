"""Limits of the control groups that this process is in: CPU time, CPUs, memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from harness.machine.tree import Tree, told

_ROOT = PurePosixPath("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60  # version 1 writes "no limit" as a number near 2**63


def container_facts(tree: Tree) -> dict[str, Any]:
    """The tightest limits: `cpus` worth of time, `memory_bytes`, the `cpuset`.

    periods, throttled_periods: how often the quota was in force, and was used up.
    """
    found = {group: _quota(tree, group) for group in _groups(tree, "cpu")}
    quotas = {group: quota for group, quota in found.items() if quota is not None}
    memories = [
        limit
        for group in _groups(tree, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (limit := tree.number(group / name)) is not None and limit < _NO_LIMIT
    ]
    sets = [
        text
        for group in _groups(tree, "cpuset")
        for name in ("cpuset.cpus.effective", "cpuset.effective_cpus")
        if (text := tree.text(group / name))
    ]
    limits = told(
        cpus=min(quotas.values(), default=None),
        memory_bytes=min(memories, default=None),
        cpuset=sets[0] if sets else None,
    )
    return limits | _throttling(tree, quotas)


def _groups(tree: Tree, controller: str) -> Iterator[PurePosixPath]:
    """Folders of the group that holds this process and of those above it, innermost first.

    Version 2 has one tree, version 1 one a controller; limits of any of them hold.
    """
    for line in (tree.text("/proc/self/cgroup") or "0::/").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" and not names:
            base = _ROOT
        elif controller in names.split(","):
            base = _ROOT / controller
        else:
            continue
        inside = PurePosixPath(path.lstrip("/"))
        # Seen from within a container the path may be the host's, and lead nowhere.
        yield base / inside
        yield from (base / above for above in inside.parents if above != inside)


def _quota(tree: Tree, group: PurePosixPath) -> float | None:
    words = (tree.text(group / "cpu.max") or "").split()
    if not words:
        halves = (tree.text(group / f"cpu.cfs_{half}_us") for half in ("quota", "period"))
        words = [half for half in halves if half]
    if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):
        return int(words[0]) / int(words[1])
    return None


def _throttling(tree: Tree, groups: Iterable[PurePosixPath]) -> dict[str, Any]:
    """Of the group that was stopped most: each counts what its own quota did."""
    counts = []
    for group in groups:
        words = (tree.text(group / "cpu.stat") or "").split()
        read = dict(zip(words[::2], words[1::2], strict=False))
        if "nr_throttled" in read:
            counts.append((int(read["nr_throttled"]), int(read.get("nr_periods", 0))))
    if not counts:
        return {}
    stopped, periods = max(counts)
    return {"periods": periods, "throttled_periods": stopped}

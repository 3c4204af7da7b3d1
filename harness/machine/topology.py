"""CPUs: model, sockets, cores and their hardware threads, caches, and NUMA nodes."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from harness.machine.tree import Tree, read_cpus, told, write_cpus

CPUINFO = "/proc/cpuinfo"
_CPU = "/sys/devices/system/cpu"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def cpu_facts(tree: Tree, usable: Collection[int]) -> dict[str, Any]:
    """Model, counts of sockets, cores and logical CPUs, SMT, caches.

    usable: the CPUs this process may run on. usable_cores: how many cores they belong to, with
    one CPU of each in one_cpu_a_core, where some core is there twice.
    """
    cores = _cores(tree)
    mine = sorted({core & set(usable) for core in cores} - {frozenset()}, key=min)
    smt = tree.number(f"{_CPU}/smt/active")
    shared = any(len(core) > 1 for core in mine)
    return told(
        model=tree.fields(CPUINFO).get("model name"),
        sockets=_sockets(tree),
        physical_cores=len(cores) or None,
        logical_cpus=sum(map(len, cores)) or _processors(tree),
        smt=None if smt is None else smt == 1,
        usable_cores=len(mine) or None,
        one_cpu_a_core=write_cpus(min(core) for core in mine) if shared else None,
        **_caches(tree, min(usable, default=0)),
    )


def numa_facts(tree: Tree, usable: Collection[int]) -> dict[str, Any]:
    """Nodes: how many, the CPUs and distances of each, and which of them usable CPUs lie on."""
    nodes = tree.matching("/sys/devices/system/node", "node[0-9]*")
    cpus = [tree.text(_inside(tree, node, "cpulist")) or "" for node in nodes]
    distances = [tree.text(_inside(tree, node, "distance")) for node in nodes]
    spanned = [
        int(node.name.removeprefix("node"))
        for node, text in zip(nodes, cpus, strict=True)
        if set(read_cpus(text)) & set(usable)
    ]
    return told(
        nodes=len(nodes) or None,
        cpus=cpus,
        distances=[" ".join(text.split()) for text in distances if text],
        usable_nodes=spanned,
    )


def online_cpus(tree: Tree) -> tuple[int, ...]:
    """Logical CPUs that are switched on."""
    return read_cpus(tree.text(f"{_CPU}/online")) or tuple(range(_processors(tree) or 0))


def _cores(tree: Tree) -> set[frozenset[int]]:
    """The logical CPUs of each core."""
    online = set(online_cpus(tree))
    found = set()
    for cpu in online:
        folder = f"{_CPU}/cpu{cpu}/topology"
        text = tree.text(f"{folder}/core_cpus_list") or tree.text(f"{folder}/thread_siblings_list")
        if text is not None:
            found.add(frozenset(read_cpus(text)) & online)
    return found


def _sockets(tree: Tree) -> int | None:
    packages = {
        tree.text(f"{_CPU}/cpu{cpu}/topology/physical_package_id") for cpu in online_cpus(tree)
    }
    # Some virtual machines write -1: unknown.
    return len(packages - {None, "-1"}) or None


def _processors(tree: Tree) -> int | None:
    text = tree.text(CPUINFO) or ""
    return len(re.findall(r"^processor\s*:", text, re.MULTILINE)) or None


def _caches(tree: Tree, cpu: int) -> dict[str, int]:
    """`l1d_bytes`, `l2_bytes`, `l3_bytes` of one instance; `l3_cpus`: how many CPUs share it."""
    found: dict[str, int] = {}
    for folder in tree.matching(f"{_CPU}/cpu{cpu}/cache", "index[0-9]*"):
        level = tree.text(_inside(tree, folder, "level"))
        kind = tree.text(_inside(tree, folder, "type"))
        size = re.fullmatch(r"(\d+)([KMG]?)", tree.text(_inside(tree, folder, "size")) or "")
        if level is None or kind == "Instruction" or size is None:
            continue
        name = f"l{level}d" if level == "1" else f"l{level}"
        found[f"{name}_bytes"] = int(size[1]) * _UNITS[size[2]]
        if level == "3":
            found["l3_cpus"] = len(read_cpus(tree.text(_inside(tree, folder, "shared_cpu_list"))))
    return {name: value for name, value in found.items() if value}


def _inside(tree: Tree, folder: Path, name: str) -> Path:
    return folder.relative_to(tree.root) / name

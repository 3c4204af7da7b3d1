"""Who else uses this machine: load, a hypervisor and the time it takes, and the battery."""

from __future__ import annotations

import os
from typing import Any

from harness.machine.topology import CPUINFO
from harness.machine.tree import Tree, told

_SUPPLY = "/sys/class/power_supply"


def load_average(tree: Tree) -> list[float] | None:
    """Processes that ran or wanted to, averaged over 1, 5 and 15 minutes."""
    words = (tree.text("/proc/loadavg") or "").split()[:3]
    try:
        if words:
            return [float(word) for word in words]
        return [round(load, 2) for load in os.getloadavg()] if tree.is_real else None
    except (OSError, AttributeError, ValueError):
        return None


def virtual_facts(tree: Tree) -> dict[str, Any]:
    """`machine`: whether this is a virtual one; `steal`: share of busy CPU time since boot."""
    flags = tree.fields(CPUINFO).get("flags")
    xen = tree.text("/sys/hypervisor/type")
    virtual = True if xen else None if flags is None else "hypervisor" in flags.split()
    return told(machine=virtual, steal=_steal(tree) if virtual else None)


def _steal(tree: Tree) -> float | None:
    """From the line `cpu user nice system idle iowait irq softirq steal guest guest_nice`."""
    words = (tree.text("/proc/stat") or "").split("\n", 1)[0].split()
    if len(words) < 9 or words[0] != "cpu" or not all(word.isdigit() for word in words[1:]):
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) for word in words[1:9])
    # Guest time is part of user time already.
    busy = user + nice + system + irq + softirq + steal
    return round(steal / busy, 6) if busy else None


def on_battery(tree: Tree) -> bool | None:
    """True while a battery is what runs the machine; None where there is none."""
    supplies = [f"{_SUPPLY}/{found.name}" for found in tree.matching(_SUPPLY, "*")]
    batteries = [
        tree.text(f"{supply}/status")
        for supply in supplies
        if tree.text(f"{supply}/type") == "Battery" and tree.text(f"{supply}/scope") != "Device"
    ]
    return any(status == "Discharging" for status in batteries) if batteries else None

"""How fast the CPUs run: governor, turbo, clocks."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from harness.machine.topology import CPUINFO
from harness.machine.tree import Tree, told

_CPU = "/sys/devices/system/cpu"


def frequency_facts(tree: Tree, usable: Collection[int]) -> dict[str, Any]:
    """Governor and driver, whether turbo is on, clocks of the usable CPUs in MHz."""
    policies = [f"{_CPU}/cpu{cpu}/cpufreq" for cpu in sorted(usable)]
    governors = {tree.text(f"{policy}/scaling_governor") for policy in policies} - {None}
    return told(
        governor=", ".join(sorted(filter(None, governors))),
        driver=next(filter(None, (tree.text(f"{p}/scaling_driver") for p in policies)), None),
        turbo=_turbo(tree),
        now_mhz=_highest(tree, policies, "scaling_cur_freq") or _told_mhz(tree),
        max_mhz=_highest(tree, policies, "cpuinfo_max_freq"),
    )


def _turbo(tree: Tree) -> bool | None:
    off = tree.number(f"{_CPU}/intel_pstate/no_turbo")
    if off is not None:
        return off == 0
    boost = tree.number(f"{_CPU}/cpufreq/boost")
    return None if boost is None else boost == 1


def _highest(tree: Tree, policies: Collection[str], name: str) -> int | None:
    found = [tree.number(f"{policy}/{name}") for policy in policies]
    return max((round(khz / 1000) for khz in found if khz), default=None)


def _told_mhz(tree: Tree) -> int | None:
    try:
        return round(float(tree.fields(CPUINFO)["cpu MHz"]))
    except (KeyError, ValueError):
        return None

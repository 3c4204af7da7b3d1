"""The description of the machine that goes into every manifest."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from harness.device import CpuDevice, device_named
from harness.machine.container import container_facts
from harness.machine.frequency import frequency_facts
from harness.machine.gpu import gpu_description, gpu_state
from harness.machine.memory import memory_facts
from harness.machine.sharing import load_average, on_battery, virtual_facts
from harness.machine.software import (
    allocator_facts,
    library_facts,
    thread_facts,
    thread_variables,
    versions,
)
from harness.machine.topology import cpu_facts, numa_facts, online_cpus
from harness.machine.tree import Tree, told
from harness.workload import usable_cpus


def describe_machine(root: Path = Path("/")) -> dict[str, Any]:
    """CPUs, memory, limits, load, threads, versions and the GPU, without the host's name.

    root: where `/proc` and `/sys` lie. Sizes in bytes, clocks in MHz, shares from 0 to 1; what
    the machine does not tell is absent, never 0. Energy alone says why, where nothing counts it.
    """
    tree = Tree(root)
    usable = _usable(tree)
    gpu = gpu_description()
    return told(
        platform=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
        usable_cpus=len(usable),
        cpu=_cpu(tree, usable),
        frequency=frequency_facts(tree, usable),
        numa=numa_facts(tree, usable),
        memory=memory_facts(tree),
        container=container_facts(tree),
        virtual=virtual_facts(tree),
        load_average=load_average(tree),
        on_battery=on_battery(tree),
        gpu=None if gpu is None else gpu | gpu_state(),
        energy={
            device: _energy(device) for device in (["cpu"] if gpu is None else ["cpu", "cuda"])
        },
        threads=thread_facts(),
        thread_variables=thread_variables(),
        libraries=library_facts(),
        allocator_variables=allocator_facts(),
        packages=versions(),
    )


def _usable(tree: Tree) -> tuple[int, ...]:
    """The CPUs this process may run on; in a tree that is not the machine's, all of them."""
    if tree.is_real and hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return (() if tree.is_real else online_cpus(tree)) or tuple(range(usable_cpus()))


def _cpu(tree: Tree, usable: tuple[int, ...]) -> dict[str, Any]:
    asked = CpuDevice().describe()
    return {"model": asked["model"], "capability": asked["capability"], **cpu_facts(tree, usable)}


def _energy(device: str) -> dict[str, str]:
    """The counter of a device's energy, or why there is none."""
    asked = device_named(device)
    counter = asked.energy_counter()
    if counter is not None:
        return {"counter": counter.name}
    return {"absent": asked.energy_reason() or "the counter is gone since"}

"""What `attnbench machine` prints for a reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Column, Table

from harness.cli.console import Console
from harness.report.numbers import exact_seconds, rounded, size

Facts = Mapping[str, Any]


def print_machine(machine: Facts, hazards: Sequence[Any], no_gpu: str | None) -> None:
    """The description, and what of it would hurt measurements. no_gpu: why there is none."""
    console = Console(soft_wrap=True, highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, text in _lines(machine, no_gpu):
        table.add_row(name, text)
    console.print(table)
    if not hazards:
        console.print("\nnothing found that would hurt measurements")
        return
    console.print("\n[bold]what would hurt measurements here[/bold]")
    for hazard in hazards:
        console.print(f"- {hazard.found}: {hazard.why}\n  remedy: {hazard.remedy}", markup=False)


def _lines(machine: Facts, no_gpu: str | None) -> Iterator[tuple[str, str]]:
    rows = (
        ("CPU", _cpu(machine)),
        ("caches", _caches(machine.get("cpu", {}))),
        ("clock", _clock(machine.get("frequency", {}))),
        ("NUMA", _numa(machine.get("numa", {}))),
        ("memory", _memory(machine.get("memory", {}))),
        ("limits", _limits(machine.get("container", {}))),
        ("host", _host(machine)),
        ("threads", _threads(machine)),
        ("software", _software(machine)),
        ("allocator", _pairs(machine.get("allocator_variables", {}))),
        ("energy", _energy(machine.get("energy", {}))),
        ("GPU", _gpu(machine["gpu"]) if "gpu" in machine else f"none: {no_gpu}"),
    )
    yield from ((name, text) for name, text in rows if text)


def _some(facts: Facts, **forms: str) -> list[str]:
    """A text for each name that is told: its form, filled with the value."""
    return [form.format(facts[name]) for name, form in forms.items() if name in facts]


def _cpu(machine: Facts) -> str:
    cpu: Facts = machine.get("cpu", {})
    smt = {True: ["SMT on"], False: ["SMT off"]}.get(cpu.get("smt", ""), [])
    counts = _some(
        cpu,
        sockets="sockets {}",
        physical_cores="cores {}",
        logical_cpus="logical CPUs {}",
    )
    usable = _some(machine, usable_cpus="usable {}")
    return ", ".join([*_some(cpu, model="{}", capability="{}"), *counts, *usable, *smt])


def _caches(cpu: Facts) -> str:
    sizes = [
        f"{name} {size(cpu[key])}"
        for name, key in (("L1d", "l1d_bytes"), ("L2", "l2_bytes"), ("L3", "l3_bytes"))
        if key in cpu
    ]
    return ", ".join(sizes) + "".join(_some(cpu, l3_cpus=" for {} CPUs"))


def _clock(clocks: Facts) -> str:
    turbo = {True: ["turbo on"], False: ["turbo off"]}.get(clocks.get("turbo", ""), [])
    texts = _some(
        clocks,
        now_mhz="{} MHz now",
        max_mhz="{} MHz at most",
        governor="governor {}",
        driver="driver {}",
    )
    return ", ".join([*texts, *turbo])


def _numa(numa: Facts) -> str:
    nodes = numa.get("nodes")
    if nodes is None:
        return ""
    if nodes == 1:
        return "1 node"
    distances = numa.get("distances", [])
    return f"{nodes} nodes (CPUs {' | '.join(numa['cpus'])}; distances {' | '.join(distances)})"


def _memory(memory: Facts) -> str:
    forms = (("total_bytes", "{}"), ("available_bytes", "{} available"))
    swap = (("swap_bytes", "{} of swap"), ("swap_used_bytes", "{} of it in use"))
    texts = [form.format(size(memory[name])) for name, form in forms if name in memory]
    if memory.get("swap_bytes") == 0:
        texts.append("no swap")
    else:
        texts += [form.format(size(memory[name])) for name, form in swap if name in memory]
    return ", ".join([*texts, *_some(memory, huge_pages="transparent huge pages {}")])


def _limits(limits: Facts) -> str:
    texts = _some(limits, cpus="{:g} CPUs' worth of time", cpuset="CPUs {}")
    if "memory_bytes" in limits:
        texts.append(f"{size(limits['memory_bytes'])} of memory")
    if "throttled_periods" in limits:
        texts.append(
            f"stopped in {limits['throttled_periods']} of {limits.get('periods', 0)} periods"
        )
    return ", ".join(texts)


def _host(machine: Facts) -> str:
    virtual: Facts = machine.get("virtual", {})
    kind = {True: ["virtual machine"], False: ["not virtual"]}.get(virtual.get("machine", ""), [])
    texts = [*kind, *_some(virtual, steal="steal {:.2%} of busy time")]
    if "load_average" in machine:
        texts.append("load " + " ".join(f"{load:.2f}" for load in machine["load_average"]))
    battery = {True: ["on battery"], False: ["on mains"]}.get(machine.get("on_battery", ""), [])
    return ", ".join([*texts, *battery])


def _threads(machine: Facts) -> str:
    threads: Facts = machine.get("threads", {})
    texts = _some(threads, torch="torch {}", interop="between operators {}", backend="{}")
    variables = [f"{k}={v}" for k, v in machine.get("thread_variables", {}).items()]
    return ", ".join([*texts, *variables])


def _software(machine: Facts) -> str:
    texts = _some(machine, torch="torch {}", python="Python {}")
    libraries = machine.get("libraries", {})
    return ", ".join([*texts, *(f"{name} {value}" for name, value in libraries.items())])


def _pairs(facts: Facts) -> str:
    return ", ".join(
        f"{name}={' '.join(value) if isinstance(value, list) else value}"
        for name, value in facts.items()
    )


def _energy(energy: Facts) -> str:
    texts = (
        f"{device}: {found.get('counter') or 'not measured, ' + found['absent']}"
        for device, found in energy.items()
    )
    return "; ".join(texts)


def _gpu(gpu: Facts) -> str:
    memory = [size(gpu["memory_bytes"])] if "memory_bytes" in gpu else []
    texts = _some(
        gpu,
        driver="driver {}",
        cuda="CUDA {}",
        clock_mhz="{} MHz now",
        max_clock_mhz="{} MHz at most",
        power_watts="{:.0f} W",
        power_limit_watts="limit {:.0f} W",
        temperature_celsius="{} C",
        other_processes="other processes {}",
    )
    held = [f"held back by {', '.join(gpu['throttled'])}"] if gpu.get("throttled") else []
    mig = ["MIG on"] if gpu.get("mig") else []
    return ", ".join([str(gpu.get("model")), *memory, *texts, *held, *mig])


def print_ceilings(ceilings: Sequence[Facts]) -> None:
    """How fast each device multiplies, copies and calls at best."""
    console = Console(soft_wrap=True, highlight=False)
    for found in ceilings:
        threads = f", {found['threads']} threads" if found["device"] == "cpu" else ""
        console.print(f"\n[bold]ceilings of the {found['device']}{threads}[/bold]")
        if "call_s" not in found:
            console.print(f"not measured: {found.get('reason', 'no memory for it')}", markup=False)
            continue
        table = Table(box=None, pad_edge=False, show_header=False)
        for dtype, rate in found["matmul_flops_per_s"].items():
            table.add_row(f"matrix product {dtype}", _rate(rate, "FLOP/s"))
        table.add_row("memory, copied or read", _rate(found["bytes_per_s"], "B/s"))
        table.add_row("smallest call", exact_seconds(found["call_s"], 2))
        console.print(table)


def _rate(value: float, unit: str) -> str:
    """Three digits and an SI prefix: `193 GFLOP/s`."""
    for prefix, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= scale:
            return f"{rounded(value / scale, 3)} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def print_control(control: Facts) -> None:
    """How often each method called two kernels different, and how long it took."""
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"\n{control['kernel']} against a copy of itself, margin {control['margin']:.2g}, "
        f"alpha {control['alpha']:g}, {control['launches']} launches, at most "
        f"{control['budget_s']:g} s a trial",
        markup=False,
    )
    for workload in control["workloads"]:
        console.print(f"  {workload}", markup=False)
    kinds = dict.fromkeys(line["slowed"] for line in control["summary"])
    for slowed in kinds:
        console.print(_counts([x for x in control["summary"] if x["slowed"] == slowed], slowed))


def _counts(lines: Sequence[Facts], slowed: float) -> Table:
    title = f"the copy made {slowed:.0%} slower" if slowed else "two copies of one kernel"
    what = "slower" if slowed else "different"
    names = ("method", "trials", what, "95% interval", "same", "undecided", "a trial")
    columns = (Column(name, no_wrap=True) for name in names)
    table = Table(*columns, title=f"\n{title}", title_justify="left", box=None, pad_edge=False)
    for line in lines:
        table.add_row(
            str(line["method"]),
            str(line["trials"]),
            f"{line[what]} ({line['share']:.1%})",
            f"{line['low']:.1%} to {line['high']:.1%}",
            str(line["same"]),
            str(line["undecided"]),
            exact_seconds(line["median_s"], 2),
        )
    return table

"""Memory: how much there is and is free, swap, transparent huge pages."""

from __future__ import annotations

import re
from typing import Any

from harness.machine.tree import Tree, told

_HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"


def memory_facts(tree: Tree) -> dict[str, Any]:
    """Bytes in total and available, of swap in total and in use; `huge_pages` as set."""
    read = {name: _bytes(value) for name, value in tree.fields("/proc/meminfo").items()}
    swap, free = read.get("SwapTotal"), read.get("SwapFree")
    chosen = re.search(r"\[(\w+)\]", tree.text(_HUGE_PAGES) or "")
    return told(
        total_bytes=read.get("MemTotal"),
        available_bytes=read.get("MemAvailable"),
        swap_bytes=swap,
        swap_used_bytes=None if swap is None or free is None else swap - free,
        huge_pages=chosen[1] if chosen else None,
    )


def _bytes(text: str) -> int | None:
    found = re.fullmatch(r"(\d+) kB", text)
    return int(found[1]) * 1024 if found else None

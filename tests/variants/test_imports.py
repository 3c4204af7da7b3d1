"""Importing the variants loads no optional package."""

from __future__ import annotations

import subprocess
import sys

OPTIONAL = ("xformers", "triton", "flash_attn", "flash_attn_interface", "sageattention")
LOADED = f"import sys; print(*sorted(set({OPTIONAL!r}) & set(sys.modules)))"


def _loaded_after(statement: str) -> list[str]:
    """Which optional packages a fresh process has loaded after a statement."""
    command = [sys.executable, "-W", "ignore", "-c", f"{statement}\n{LOADED}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return found.stdout.split()


def test_importing_the_variants_loads_no_optional_package() -> None:
    assert _loaded_after("import variants") == []


def test_the_check_sees_a_package_that_is_loaded() -> None:
    """The check above can fail: a module of that name, however it came in, is found."""
    pretend = "import sys, types; sys.modules['triton'] = types.ModuleType('triton')"
    assert _loaded_after(f"import variants\n{pretend}") == ["triton"]

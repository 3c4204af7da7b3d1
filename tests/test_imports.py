from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINT = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports_command; "
        "sys.exit(lint_imports_command())", "--no-cache"]  # fmt: skip
ONE_WAY, NO_ANALYSIS, NO_VARIANT, PUBLIC_ONLY = (
    "Imports go one way",
    "What measures imports no analysis",
    "The harness names no variant",
    "Variants use the public API only",
)
EVERY_MODULE = """
import importlib, pkgutil, sys
import harness
for module in pkgutil.walk_packages(harness.__path__, "harness."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(sorted(name for name in sys.modules if name.split(".")[0] == "variants"))
"""


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(LINT, cwd=folder, capture_output=True, text=True, check=False)


def test_imports_keep_the_contracts() -> None:
    done = _lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in (ONE_WAY, NO_ANALYSIS, NO_VARIANT, PUBLIC_ONLY):
        assert f"{name} KEPT" in done.stdout


def _tree(folder: Path) -> Path:
    """Packages of the project's names and contracts whose modules import nothing."""
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for source in [*ROOT.glob("harness/**/*.py"), *ROOT.glob("variants/**/*.py")]:
        copy = folder / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
    return folder


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("harness/measure/memory.py", "from harness import cli", ONE_WAY),
        ("harness/mask.py", "import harness.workload", ONE_WAY),
        ("harness/execute/race.py", "import harness.analysis.change", NO_ANALYSIS),
        ("harness/suite/plain.py", "import variants.softmax", NO_VARIANT),
        ("variants/softmax.py", "from harness.mask import Mask", PUBLIC_ONLY),
    ],
)
def test_a_violation_is_found(tmp_path: Path, module: str, line: str, broken: str) -> None:
    folder = _tree(tmp_path)
    assert _lint(folder).returncode == 0
    (folder / module).write_text(line + "\n")
    done = _lint(folder)
    assert done.returncode == 1
    assert f"{broken} BROKEN" in done.stdout


def _variants_imported(cwd: Path, program: str) -> str:
    run = [sys.executable, "-c", program]
    return subprocess.run(run, cwd=cwd, capture_output=True, text=True, check=True).stdout.strip()


def test_no_module_of_the_harness_imports_a_variant() -> None:
    assert _variants_imported(ROOT, EVERY_MODULE) == "[]"
    found = _variants_imported(ROOT, "import variants.softmax\n" + EVERY_MODULE)
    assert "variants.softmax" in found

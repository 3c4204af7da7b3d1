"""The command that resumes names this program, wherever it was called from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.cli.run import _resume_command


def _program(folder: Path, name: str = "attnbench") -> Path:
    folder.mkdir(parents=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_resume_command_names_a_program_that_a_shell_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, other = _program(tmp_path / "here"), _program(tmp_path / "other")
    run = "run quick --out r"
    monkeypatch.setenv("PATH", str(here.parent))
    monkeypatch.setattr(sys, "argv", [str(here), "run", "quick"])
    assert _resume_command(Path("r")) == f"attnbench {run}"
    monkeypatch.setattr(sys, "argv", [str(other), "run", "quick"])
    assert _resume_command(Path("r")) == f"{other} {run}"
    monkeypatch.setattr(sys, "argv", [str(_program(tmp_path / "m", "__main__.py")), "run", "quick"])
    assert _resume_command(Path("r")) == f"{sys.executable} -m harness.cli {run}"

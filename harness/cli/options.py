"""Options and arguments that several commands share, and how answers are printed."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from harness.errors import OptionError, VariantError

RESULTS = Path("results")
IMPORT_S = 60.0
"""Seconds that a variant file may take to import."""


def print_json(content: Any) -> None:
    """Print an answer for a program."""
    click.echo(json.dumps(content, indent=1, default=str, allow_nan=False))


def complete_suite(ctx: click.Context, param: click.Parameter, text: str) -> list[CompletionItem]:
    """Names of shipped suites, and files."""
    from harness.suite import shipped

    names = [CompletionItem(name) for name in shipped() if name.startswith(text)]
    return names or [CompletionItem(text, type="file")]


def complete_run(ctx: click.Context, param: click.Parameter, text: str) -> list[CompletionItem]:
    """Folders of runs below results/."""
    return [CompletionItem(str(run)) for run in find_runs() if str(run).startswith(text)]


def find_runs(root: Path = RESULTS) -> list[Path]:
    """Folders below `root` that hold a run, by path."""
    from harness.records import runs_below

    return runs_below(root)


def load_variants(named: Sequence[str]) -> tuple[list[Any], tuple[str, ...]]:
    """Register the installed variants and those of `--variant`: specs to add, and files.

    A file adds every variant that it registers, at its defaults; a name may carry parameters.
    """
    from harness import variant

    variant.load_installed()
    found = {text: _load(text) for text in named if _is_file(text)}
    specs = [variant.parse_spec(text) for text in named if text not in found]
    asked = {spec.name for spec in specs}
    for text, names in found.items():
        specs += [_at_defaults(text, name) for name in names if name not in asked]
    return specs, tuple(dict.fromkeys(str(Path(text).resolve()) for text in found))


def _is_file(text: str) -> bool:
    return text.endswith(".py") or Path(text).is_file()


def _load(text: str) -> tuple[str, ...]:
    """Import a variant file, in a process of its own first: it may hang or crash."""
    from harness import variant

    path = Path(text)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise VariantError(f"--variant {text}: {found}; name a .py file or a variant")
    command = [sys.executable, "-m", "harness.variant", str(path)]
    try:
        code = subprocess.run(command, capture_output=True, timeout=IMPORT_S).returncode
    except subprocess.TimeoutExpired:
        raise VariantError(
            f"{path}: its import did not end within {IMPORT_S:g} s; do the work in prepare()"
        ) from None
    if code < 0:
        name = signal.Signals(-code).name
        raise VariantError(f"{path}: its import was killed by {name}; mend the file")
    with contextlib.redirect_stdout(sys.stderr):  # what it prints is no part of an answer
        return variant.load_file(path)


def _at_defaults(text: str, name: str) -> Any:
    from harness import variant

    try:
        return variant.create(name, {}).spec
    except VariantError as error:
        raise VariantError(
            f"--variant {text}: {error}, as in --variant {text} --variant '{name}(...)'"
        ) from error


def cuda_available() -> bool:
    """True when `--device auto` means cuda."""
    from harness.device import CudaDevice

    return CudaDevice().unavailable() is None


def write_output(content: bytes, out: str | None) -> None:
    """To the file named by --out, else to standard output."""
    if out is None:
        sys.stdout.buffer.write(content)
        return
    try:
        Path(out).write_bytes(content)
    except OSError as error:
        raise OptionError(
            f"--out {out}: cannot be written ({error.strerror}); name another file"
        ) from error
    click.echo(out, err=True)


def read_margin(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    """`2%` or `0.02` as 0.02."""
    if text is None:
        return None
    number, percent, rest = text.partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = 0.0
    if rest.strip() or not 0 < value < 1:
        raise OptionError(f"--margin: must lie between 0 and 100%, found {text!r}; write 2%")
    return value

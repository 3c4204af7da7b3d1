"""Options and arguments that several commands share, and how answers are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from harness.errors import OptionError, VariantError

RESULTS = Path("results")


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
    """Folders below `root` that hold a run, newest last."""
    return sorted(path.parent for path in root.glob("**/manifest.json"))


def load_variants(named: Sequence[str]) -> tuple[list[Any], tuple[str, ...]]:
    """Register the installed variants and those of `--variant`: specs to add, and files.

    A file adds every variant that it registers, at its defaults; a name may carry parameters.
    """
    from harness import variant

    variant.load_installed()
    specs, files = [], []
    for text in named:
        if text.endswith(".py") or Path(text).is_file():
            path = Path(text)
            if not path.is_file():
                raise VariantError(f"--variant {text}: no such file; name a .py file or a variant")
            files.append(str(path.resolve()))
            specs += [variant.create(name, {}).spec for name in variant.load_file(path)]
        else:
            specs.append(variant.parse_spec(text))
    return specs, tuple(dict.fromkeys(files))


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

"""The installed command, as a shell calls it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.records.made import case, write_run

COMMAND = Path(sys.executable).with_name("attnbench")
pytestmark = pytest.mark.skipif(not COMMAND.exists(), reason="attnbench is not installed here")


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, **environment},
        timeout=60,
        check=False,
    )


def test_an_error_ends_with_2_and_one_line() -> None:
    done = shell("attnbench show softmx")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("attnbench: no variant, suite or run is named 'softmx'; ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("reader", ["head -1", "true"])
@pytest.mark.parametrize("words", ["list variants", "schema", "--help"])
def test_a_reader_that_leaves_makes_no_noise(words: str, reader: str) -> None:
    done = shell(f"attnbench {words} | {reader}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", ["compare a b", "export a", "show sdpa", "list suites"])
def test_a_reader_that_leaves_ends_it_with_0(words: str, tmp_path: Path) -> None:
    worse = [case("sdpa", status="error", reason="broken")]
    write_run(tmp_path / "a", [case("sdpa")])
    write_run(tmp_path / "b", worse)
    done = shell(f"cd {shlex.quote(str(tmp_path))} && attnbench {words} | true")
    assert (done.returncode, done.stderr) == (0, "")
    left_open = shell(f"cd {shlex.quote(str(tmp_path))} && attnbench {words} | cat")
    assert left_open.returncode == ("compare" in words)


def test_a_run_goes_on_when_nobody_reads_its_progress() -> None:
    code = "from harness.cli.progress import Progress\n"
    code += "with Progress(2, {}) as progress: [progress._console.print(n) for n in range(3)]\n"
    code += "print('went on')"
    done = shell(f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} 2> >(true)")
    assert (done.returncode, done.stdout) == (0, "went on\n")


@pytest.mark.parametrize(
    ("words", "found"),
    [("run qu", "plain,quick"), ("re", "plain,report"), ("list v", "plain,variants")],
)
def test_completion_names_what_may_come_next(words: str, found: str) -> None:
    done = shell(
        "attnbench",
        _ATTNBENCH_COMPLETE="bash_complete",
        COMP_WORDS=f"attnbench {words}",
        COMP_CWORD=str(len(words.split())),
    )
    assert done.stdout.split() == [found]


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; from harness.cli import cli; import contextlib\n"
    code += "with contextlib.suppress(SystemExit): cli(['--help'])\n"
    code += "sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")

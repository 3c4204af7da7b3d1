"""Runs of small suites in real processes, in a folder of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import variant

COMMAND = (sys.executable, "-m", "harness.cli")
HEAD = "name: faults\nbaseline: softmax\n"
MEASURE = "measure: {budget_s: 0.2, launches: 2, timeout_s: 3}\n"
BLOCK = "workloads: [{heads: 1, q_len: 32, head_dim: 16, threads: 1}]\n"
FAULTY = Path(__file__).with_name("faulty.py")
ADVERSARIAL = Path(__file__).with_name("adversarial.py")


def load_tricks() -> Any:
    """The module of the adversarial variants; the fixture `installed` forgets it afterwards."""
    variant.load_file(ADVERSARIAL)
    return sys.modules[variant.get("adversarial").__module__]


def heed_signals() -> None:
    """As a terminal starts a program: a CI in the background may ignore Ctrl-C, and we inherit."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@dataclass(frozen=True)
class Bench:
    """A folder with a copy of a variant file, where suites are written and run."""

    folder: Path
    source: Path = FAULTY

    def suite(self, variants: str, workloads: str = BLOCK, measure: str = MEASURE) -> None:
        """Write suite.yaml; softmax is its baseline."""
        shutil.copy(self.source, self.folder)
        text = f"{HEAD}variants: [softmax, {variants}]\n{workloads}{measure}"
        (self.folder / "suite.yaml").write_text(text)

    def start(self, *options: str, out: str = "run") -> subprocess.Popen[str]:
        """Start a run in a process group of its own; `out` "" leaves the folder to it."""
        words = ["run", "suite.yaml", "--no-report", "--variant", self.source.name, *options]
        return self.call([*COMMAND, *words, *(["--out", out] if out else [])])

    def call(self, words: Sequence[str]) -> subprocess.Popen[str]:
        """Start any command here."""
        return subprocess.Popen(
            words,
            cwd=self.folder,
            env=self.environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=heed_signals,
        )

    def run(self, *options: str, out: str = "run") -> subprocess.CompletedProcess[str]:
        """Run the suite to its end."""
        process = self.start(*options, out=out)
        stdout, stderr = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def environment(self) -> dict[str, str]:
        """This environment with scratch folders kept here and the command on the path."""
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "TMPDIR": str(scratch), "PATH": path}

    def lines(self, out: str = "run") -> list[dict[str, Any]]:
        """The records of a run as they stand on disk, a torn line left out."""
        try:
            text = (self.folder / out / "records.jsonl").read_text()
        except OSError:
            return []
        whole = text.rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def cases(self, out: str = "run") -> dict[str, dict[str, Any]]:
        """The case records of a run with one block, by variant; each stands there once."""
        records = [line for line in self.lines(out) if line["record"] == "case"]
        found = {record["variant"]["text"]: record for record in records}
        assert len(found) == len(records)
        return found

    def wait_for(self, blocks: int, process: subprocess.Popen[str], out: str = "run") -> None:
        """Return once so many blocks are on disk and the process still runs."""
        until = time.monotonic() + 60
        while len({line["block_id"] for line in self.lines(out)}) < blocks:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until, "no block ended within a minute"
            time.sleep(0.02)

    def processes(self) -> list[int]:
        """Processes that were started with this folder's scratch in their environment."""
        return [pid for pid in _pids() if str(self.folder).encode() in _environment(pid)]

    def left_after(self, seconds: float) -> list[int]:
        """Processes of this folder that are still there when the seconds are over."""
        until = time.monotonic() + seconds
        while self.processes() and time.monotonic() < until:
            time.sleep(0.05)
        return self.processes()

    def end_all(self) -> None:
        """Kill what a failed test left running."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)


def identities(records: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """(block_id, case_id) of each case record, sorted."""
    cases = [record for record in records if record["record"] == "case"]
    return sorted((record["block_id"], record["case_id"]) for record in cases)


def _pids() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""

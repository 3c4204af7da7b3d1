"""Runs that are killed or interrupted half-way keep what they measured, and can be resumed."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

from harness.cli import main
from tests.faults.bench import MEASURE, Bench, identities

BLOCKS, CASES = 6, 4
# Nothing hangs here: a machine that is busy with something else must not look like it.
PATIENT = MEASURE.replace("timeout_s: 3", "timeout_s: 20")
WORKLOADS = "workloads: [{heads: 1, q_len: [8, 12, 16, 20, 24, 32], head_dim: 8, threads: 1}]\n"


@pytest.fixture
def six(bench: Bench) -> Bench:
    """A suite of six blocks with four variants each, the user's among them."""
    bench.suite("{sdpa: {backend: math}}", WORKLOADS, PATIENT)
    return bench


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, stderr = process.communicate(timeout=120)
    return process.returncode, stderr


def check_whole(bench: Bench, out: str = "run") -> None:
    """Six blocks with four cases, none twice, all measured, nothing half-written."""
    found = identities(bench.lines(out))
    assert len(found) == len(set(found)) == BLOCKS * CASES
    assert len({block for block, _ in found}) == BLOCKS
    assert {line.get("status", "ok") for line in bench.lines(out)} == {"ok"}
    assert (bench.folder / out / "records.jsonl").read_text().endswith("}\n")


def test_a_killed_run_keeps_its_records_and_is_resumed(six: Bench) -> None:
    process = six.start()
    six.wait_for(1, process)
    process.kill()
    assert end(process)[0] == -signal.SIGKILL
    assert six.left_after(2.0) == []
    first = six.lines()
    with FileLock(six.folder / "run" / ".lock", timeout=0):
        pass
    process = six.start("--resume")
    six.wait_for(3, process)
    process.kill()
    end(process)
    assert six.left_after(2.0) == []
    with (six.folder / "run" / "records.jsonl").open("a") as file:
        file.write('{"record":"case","schema_version":1,"block_id":"')
    assert six.lines()[: len(first)] == first
    process = six.start("--resume")
    code, stderr = end(process)
    assert code == 0, stderr
    assert six.lines()[: len(first)] == first
    check_whole(six)


def test_ctrl_c_ends_the_run_and_prints_a_command_that_resumes_it(six: Bench) -> None:
    process = six.start()
    six.wait_for(1, process)
    os.killpg(process.pid, signal.SIGINT)
    code, stderr = end(process)
    assert (code, "Traceback" in stderr) == (3, False), stderr
    assert six.left_after(2.0) == []
    assert list((six.folder / "scratch").glob("attnbench-*")) == []
    assert "what was measured is in run\n" in stderr
    kept = six.lines()
    command = stderr.rpartition("resume with: ")[2].strip()
    code, stderr = end(six.call(shlex.split(command)))
    assert code == 0, stderr
    assert six.lines()[: len(kept)] == kept
    check_whole(six)


def test_sigterm_ends_the_run_as_ctrl_c_does(six: Bench) -> None:
    process = six.start(out="")
    until_begun(six, process)
    process.terminate()
    code, stderr = end(process)
    assert (code, "Traceback" in stderr) == (3, False), stderr
    assert six.left_after(2.0) == []
    (folder,) = (six.folder / "results" / "local").iterdir()
    out = str(folder.relative_to(six.folder))
    command = stderr.rpartition("resume with: ")[2].strip()
    assert shlex.split(command)[-3:] == ["--out", out, "--resume"]
    blocks = {block for block, _ in identities(six.lines(out))}
    assert len(identities(six.lines(out))) == CASES * len(blocks) > 0


def until_begun(bench: Bench, process: subprocess.Popen[str]) -> None:
    """Wait for a first record in whichever folder the run made."""
    assert process.stderr is not None
    while not process.stderr.readline().startswith("[1/6]"):
        assert process.poll() is None


def test_a_killed_server_costs_no_more_than_the_block_that_ran(six: Bench) -> None:
    process = six.start()
    six.wait_for(1, process)
    os.kill(server_of(process.pid), signal.SIGKILL)
    code, stderr = end(process)
    assert code == 0, stderr
    found = identities(six.lines())
    assert len(found) == len(set(found)) == BLOCKS * CASES
    ended = {line["case_id"]: line for line in six.lines() if line["record"] == "case"}.values()
    crashed = [line for line in ended if line["status"] != "ok"]
    told = [(line["status"], line["reason"], line["failure"]) for line in crashed]
    assert {line["status"] for line in crashed} <= {"crashed"}, told
    assert len({line["block_id"] for line in crashed}) <= 1
    assert all("server of the processes died" in line["reason"] for line in crashed)
    assert six.left_after(2.0) == []


def server_of(pid: int) -> int:
    """The child of a run that serves its processes."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    named = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    (server,) = (child for child, line in named.items() if b"harness.execute.server" in line)
    return server


def test_refusals_to_resume_leave_the_run_as_it_is(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    installed: None,
) -> None:
    bench.suite("{sdpa: {backend: math}}")
    assert bench.run().returncode == 0
    monkeypatch.chdir(bench.folder)
    before = contents(bench.folder / "run")
    options = ["run", "suite.yaml", "--variant", "faulty.py", "--out", "run"]

    def refused(*more: str) -> str:
        with pytest.raises(SystemExit) as left:
            main([*options, *more])
        assert left.value.code == 2
        assert contents(bench.folder / "run") == before
        return capsys.readouterr().err

    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        assert "already holds this run; add --resume" in refused()
        assert "holds another run (suite faults" in refused("--resume", "--set", "heads=2")
        with FileLock(bench.folder / "run" / ".lock", timeout=0):
            assert "another run is writing here" in refused("--resume")
        with (bench.folder / "faulty.py").open("a") as file:
            file.write("# changed\n")
        assert "begun with what there is now: the source of a variant: faulty" in refused(
            "--resume"
        )
        bench.suite("{sdpa: {backend: math}}", measure=MEASURE.replace("0.2", "0.3"))
        assert "holds another run (suite faults" in refused("--resume")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.json*")}

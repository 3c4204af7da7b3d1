"""The parent's side: start workers, watch them, and tell how each ended."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import RunError
from harness.execute import worker
from harness.processes import signal_name

POLL_S = 0.05
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
}
"""glibc takes tensors of 32 MiB and more fresh from the kernel; whether smaller ones are fresh or
reused, up to 3 times faster, hangs on what the process has freed before, here what other variants
did. Held so: fresh from 4 MiB on, so that no step lies within a sweep of lengths; reused below,
where the scratch of block-wise kernels is. What the user's environment says wins."""
SERVER_LOG = "server.txt"
SERVER_START_S = 300.0


@dataclass(frozen=True)
class Outcome:
    """How a task ended: its answer, or what is known of its death.

    result: what the task returned, in task_s seconds of its own. raised: status, reason and
    traceback of an exception.
    running: index of the case that was being called when the process ended, -1 for none.
    """

    result: Any = None
    task_s: float | None = None
    raised: dict[str, str] | None = None
    exit_code: int | None = None
    signal: str | None = None
    timed_out: bool = False
    out_of_memory: bool = False
    running: int = -1
    output: str = ""

    @property
    def answered(self) -> bool:
        """True when the task returned."""
        return self.result is not None

    def status(self) -> str:
        """The status of a case that gave no answer."""
        if self.raised is not None:
            return self.raised["status"]
        if self.timed_out:
            return "timeout"
        return "oom" if self.out_of_memory else "crashed"

    def reason(self, timeout_s: float) -> str:
        """Why there is no answer, as the user reads it."""
        if self.raised is not None:
            return self.raised["reason"]
        if self.timed_out:
            return f"gave no answer within {timeout_s:g} s and was killed; raise measure.timeout_s"
        if self.out_of_memory:
            return "killed by the kernel: the machine ran out of memory"
        if self.signal is not None:
            return f"the process was killed by {self.signal}"
        if self.exit_code is None:
            return "the server of the processes died, and this one with it"
        return f"the process exited with code {self.exit_code} without an answer"


class Workers:
    """A fork server and the folder its tasks run in; use it as a context manager."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        self._environment = environment or {}
        self._server: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._count = 0
        self.scratch = Path()

    def __enter__(self) -> Workers:
        self.scratch = Path(tempfile.mkdtemp(prefix="attnbench-"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def run(self, task: str, payload: dict[str, Any], timeout_s: float) -> Outcome:
        """Run one task to its end; a case that runs longer than timeout_s is killed."""
        self._ensure_server()
        self._count += 1
        folder = self.scratch / f"{task}-{self._count}"
        folder.mkdir()
        worker.prepare_folder(folder, payload)
        kills = _oom_kills()
        ended = self._await(task, folder, timeout_s)
        outcome = self._outcome(folder, ended, _oom_kills() > kills)
        shutil.rmtree(folder, ignore_errors=True)
        return outcome

    def _await(self, task: str, folder: Path, timeout_s: float) -> tuple[int | None, bool]:
        """(exit code or -signal, timed out); None when the server itself died."""
        assert self._server is not None
        assert self._server.stdin is not None
        request = {"id": self._count, "task": task, "folder": str(folder)}
        pid: int | None = None
        timed_out = False
        try:
            self._server.stdin.write(json.dumps(request).encode() + b"\n")
            self._server.stdin.flush()
            while True:
                message = self._read(POLL_S)
                if message is not None and message.get("id") == self._count:
                    pid = message.get("pid", pid)
                    if "exit" in message:
                        return message["exit"], timed_out
                if pid is not None and not timed_out and _overdue(folder, timeout_s):
                    timed_out = True
                    _kill(pid)
        except (BrokenPipeError, EOFError):
            self._stop()
            return None, timed_out

    def _outcome(self, folder: Path, ended: tuple[int | None, bool], oom_killed: bool) -> Outcome:
        code, timed_out = ended
        running, _ = worker.read_running(folder)
        output = ""
        with contextlib.suppress(OSError):
            output = (folder / worker.OUTPUT).read_bytes()[-4000:].decode(errors="replace")
        with contextlib.suppress(OSError, json.JSONDecodeError):
            answer = json.loads((folder / worker.ANSWER).read_text())
            return Outcome(
                result=_each_raised(answer.get("result"), oom_killed),
                task_s=answer.get("task_s"),
                raised=_raised(answer.get("raised"), oom_killed),
                running=running,
                output=output,
            )
        name = None
        if code is not None and code < 0:
            name = signal_name(-code)
        return Outcome(
            exit_code=code if code is not None and code >= 0 else None,
            signal=name,
            timed_out=timed_out,
            out_of_memory=name == "SIGKILL" and oom_killed and not timed_out,
            running=running,
            output=output,
        )

    def _ensure_server(self) -> None:
        if self._server is not None and self._server.poll() is None:
            return
        environment = {**allocator(), **os.environ, **self._environment}
        # What a killed worker leaves behind goes with the scratch folder.
        environment["TMPDIR"] = str(self.scratch)
        # A cache of its own: a first call is compiled in this run or not at all, and says so.
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(self.scratch / "inductor")
        # Compile in the worker itself, so that no pool of compilers outlives it.
        environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
        self._buffer = b""
        with (self.scratch / SERVER_LOG).open("ab") as log_file:
            self._server = subprocess.Popen(
                worker.server_command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                env=environment,
                start_new_session=True,
            )
        try:
            if self._read(SERVER_START_S) is None:
                raise EOFError
        except EOFError:
            self._server.kill()
            log = (self.scratch / SERVER_LOG).read_text(errors="replace").strip()
            raise RunError(
                f"the measuring server did not start: {log[-500:] or 'it said nothing'}; "
                "try `python -m harness.execute.server`"
            ) from None

    def _read(self, timeout_s: float) -> dict[str, Any] | None:
        """The next message of the server, or None when there is none in time."""
        assert self._server is not None
        assert self._server.stdout is not None
        if b"\n" not in self._buffer:
            if not select.select([self._server.stdout], [], [], timeout_s)[0]:
                return None
            data = os.read(self._server.stdout.fileno(), 1 << 16)
            if not data:
                raise EOFError
            self._buffer += data
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline:
            return None
        self._buffer = rest
        message: dict[str, Any] = json.loads(line)
        return message

    def _stop(self) -> None:
        if self._server is None:
            return
        with contextlib.suppress(OSError):
            if self._server.stdin is not None:
                self._server.stdin.close()
        try:
            self._server.wait(5)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        if self._server.stdout is not None:
            self._server.stdout.close()
        self._server = None


def _overdue(folder: Path, timeout_s: float) -> bool:
    """True when one call has been running for longer than it may."""
    seen = worker.read_running(folder)
    if time.monotonic() - seen[1] <= timeout_s:
        return False
    # A heartbeat read while it was written may say anything; one that stands still is true.
    time.sleep(POLL_S)
    return worker.read_running(folder) == seen


def allocator() -> dict[str, str]:
    """The settings of the C allocator that workers run under; none where it is not glibc's."""
    if platform.libc_ver()[0] != "glibc":
        return {}
    return {name: os.environ.get(name, value) for name, value in ALLOCATOR.items()}


def _raised(told: dict[str, str] | None, oom_killed: bool) -> dict[str, str] | None:
    """A worker of a team that the kernel took for want of memory was `crashed` to its parent."""
    if told is None or not oom_killed or "SIGKILL" not in told["reason"]:
        return told
    return {**told, "status": "oom" if told["status"] == "crashed" else told["status"]}


def _each_raised(result: Any, oom_killed: bool) -> Any:
    """The same of each entrant of a race: one that failed is an answer among the others'."""
    if not isinstance(result, list):
        return result
    return [_raised(one, oom_killed) if _failed(one) else one for one in result]


def _failed(answer: Any) -> bool:
    return isinstance(answer, dict) and {"status", "reason"} <= set(answer)


def _kill(pid: int) -> None:
    for end in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end(pid, signal.SIGKILL)


def _oom_kills() -> int:
    """How many processes the kernel has killed for memory since boot."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path("/proc/vmstat").read_text()
        return int(text.split("oom_kill ")[1].split()[0])
    return 0

"""Inside a worker: from a folder with a payload to an answer in it, then exit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from harness.processes import die_with_parent

PAYLOAD, ANSWER, OUTPUT, RUNNING = "payload.json", "answer.json", "output.txt", "running.bin"
_HEARTBEAT = struct.Struct("<qd")


def server_command(*arguments: str) -> list[str]:
    """What starts the server in a fresh interpreter that finds modules where this one does.

    `python -m` would look in the working directory first, which may hold another `harness`.
    """
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        "from harness.execute.server import main; sys.exit(main())"
    )
    return [sys.executable, "-c", program, *arguments]


def warm_up() -> None:
    """Import what every task needs and open one empty profile; run nothing parallel."""
    import torch
    import torch._inductor
    from torch.profiler import ProfilerActivity, profile

    from harness import variant
    from harness.execute import tasks

    variant.load_installed(own=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True):
        torch.empty(len(tasks.TASKS))


def start(task: str, folder: str) -> None:
    """Run a task and leave the process; never returns."""
    code = 1
    try:
        with contextlib.suppress(OSError):
            os.setsid()
        _isolate(Path(folder))
        _run(task, Path(folder))
        code = 0
    except SystemExit as error:  # a variant that leaves is recorded with the code it chose
        code = _exit_code(error)
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _exit_code(error: SystemExit) -> int:
    # What the interpreter itself does with the argument of sys.exit.
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)
    return 1


class Running:
    """Names the case that is running, in memory that outlives the process."""

    def __init__(self, folder: Path) -> None:
        import mmap

        with (folder / RUNNING).open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _HEARTBEAT.size)

    def __call__(self, index: int) -> None:
        """Say that case `index` is about to be called; -1 when none is."""
        # Packed first: pack_into clears the memory before it writes, and a reader would see that.
        self._memory[:] = _HEARTBEAT.pack(index, time.monotonic())


def prepare_folder(folder: Path, payload: dict[str, Any]) -> None:
    """What the parent lays down for a task before it is started."""
    (folder / PAYLOAD).write_text(json.dumps(payload))
    (folder / RUNNING).write_bytes(_HEARTBEAT.pack(-1, time.monotonic()))


def read_running(folder: Path) -> tuple[int, float]:
    """The case that is (or was last) running, and since when on the monotonic clock."""
    index, since = _HEARTBEAT.unpack((folder / RUNNING).read_bytes())
    return index, since


def _isolate(folder: Path) -> None:
    if sys.platform == "linux":
        die_with_parent()
        # Should the machine run out of memory, the kernel takes this process, not the run.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    redirect(os.open(os.devnull, os.O_RDONLY), 0)
    redirect(os.open(folder / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1, 2)


def redirect(descriptor: int, *targets: int) -> None:
    """Let each target stand for what was opened as `descriptor`, which is closed."""
    for target in targets:
        os.dup2(descriptor, target)
    os.close(descriptor)


def _run(task: str, folder: Path) -> None:
    from harness.execute.tasks import TASKS
    from harness.measure.faults import reason_of, status_of

    payload = json.loads((folder / PAYLOAD).read_text())
    begin = time.perf_counter()
    try:
        answer: dict[str, Any] = {"result": TASKS[task](payload, folder)}
    except Exception as error:  # the process boundary: what a case raised becomes its record
        answer = {
            "raised": {
                "status": status_of(error),
                "reason": reason_of(error)[:2000],
                "traceback": traceback.format_exc()[-4000:],
            }
        }
    answer["task_s"] = time.perf_counter() - begin
    draft = folder / (ANSWER + ".draft")
    draft.write_text(json.dumps(answer))
    draft.replace(folder / ANSWER)

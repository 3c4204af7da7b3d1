"""The fork server: imports torch once, then forks a process for every task.

It has imported torch and torch._inductor and opened one empty profile, which costs seconds in a
fresh process. It runs no parallel operator (a forked child would hang), touches no CUDA and loads
no file of the user's. One line of JSON in: `{"id", "task", "folder"}`; two lines out: the process
id, then how it ended. Where fork is unsafe (macOS, Windows) a fresh interpreter is started.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import subprocess
import sys
from typing import Any

from harness.execute import worker
from harness.processes import die_with_parent


def main() -> int:
    """Serve until standard input ends; then end every child and leave."""
    if len(sys.argv) == 4 and sys.argv[1] == "--once":
        worker.start(sys.argv[2], sys.argv[3])
    if sys.platform == "linux":
        die_with_parent()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    worker.redirect(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker.warm_up()
    gc.collect()
    gc.freeze()
    print(json.dumps({"ready": os.getpid()}), file=answers)
    _serve(answers)
    return 0


def _serve(answers: Any) -> None:
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write)
    children: dict[int, int] = {}
    pending = b""
    while True:
        ready, _, _ = select.select([0, wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
        _reap(children, answers)
        if 0 not in ready:
            continue
        data = os.read(0, 1 << 16)
        if not data:
            for pid in children:
                _end(pid)
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            asked = json.loads(line)
            pid = _start(asked["task"], asked["folder"], (wake_read, wake_write, answers.fileno()))
            children[pid] = asked["id"]
            print(json.dumps({"id": asked["id"], "pid": pid}), file=answers)


def _start(task: str, folder: str, private: tuple[int, ...]) -> int:
    if sys.platform != "linux":
        command = worker.server_command("--once", task, folder)
        return subprocess.Popen(command, start_new_session=True).pid
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in private:
            os.close(descriptor)
        worker.start(task, folder)
    return pid


def _reap(children: dict[int, int], answers: Any) -> None:
    for pid in list(children):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            _end(pid)  # what the child itself left running
            ended = {"id": children.pop(pid), "exit": os.waitstatus_to_exitcode(status)}
            print(json.dumps(ended), file=answers)


def _end(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


if __name__ == "__main__":
    sys.exit(main())

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.execute import worker, workers

BEATS = """
import sys, time
from pathlib import Path
from harness.execute.worker import Running
beat, end = Running(Path(sys.argv[1])), time.monotonic() + 1.5
print("beating", flush=True)
while time.monotonic() < end:
    beat(3)
"""


def test_a_heartbeat_is_never_read_as_none(tmp_path: Path) -> None:
    worker.prepare_folder(tmp_path, {})
    begin = time.monotonic()
    command = [sys.executable, "-c", BEATS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while process.poll() is None:
            _, since = worker.read_running(tmp_path)
            # Bytes of two beats may mix in one read; cleared ones would say zero.
            assert since > begin - 300


def test_only_a_heartbeat_that_stands_still_is_overdue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.prepare_folder(tmp_path, {})
    assert not workers._overdue(tmp_path, 60.0)
    time.sleep(0.01)
    assert workers._overdue(tmp_path, 0.0)
    beats = iter([(0, 0.0), (0, time.monotonic())])
    monkeypatch.setattr(worker, "read_running", lambda folder: next(beats))
    assert not workers._overdue(tmp_path, 1.0)

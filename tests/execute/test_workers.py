"""Workers: how a task ended is told, and a task is alone in its process."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.execute import workers as workers_module
from harness.execute.workers import Outcome, Workers
from harness.records import Store
from tests.build import workload
from tests.execute.asking import FAR, FAULTY, ask_faulty, described, probe_outcomes, probed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, as only Linux can safely")

SPY = """
import json, os, resource, signal
from dataclasses import dataclass
from harness import AttentionOp, register

@register("spy")
@dataclass(frozen=True)
class Spy(AttentionOp):
    def unsupported(self, workload):
        files = {n: os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                 if os.path.exists(f"/proc/self/fd/{n}")}
        return json.dumps({
            "files": files, "pid": os.getpid(), "group": os.getpgid(0), "parent": os.getppid(),
            "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
            "interrupt": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
            "threads": os.environ["TORCHINDUCTOR_COMPILE_THREADS"], "told": os.environ["TOLD"]})
"""


def test_an_answer(workers: Workers) -> None:
    outcome = ask_faulty(workers, "nothing")
    assert outcome.answered
    assert outcome.task_s is not None
    assert outcome.result[0]["own"] is False
    assert outcome.result[0]["family"] == "faulty_elsewhere"
    assert outcome.result[0]["approximates"] == ""


def test_an_exception_keeps_its_traceback(workers: Workers) -> None:
    payload = {"files": [], "workload": workload().as_dict(), "variant": described("softmx")}
    outcome = workers.run("truth", {**payload, "path": "nowhere"}, FAR)
    assert not outcome.answered
    assert outcome.status() == "error"
    assert outcome.reason(1.0).startswith("VariantError: unknown variant 'softmx'; did you mean")
    assert outcome.raised is not None
    assert outcome.raised["traceback"].startswith("Traceback (most recent call last)")


@pytest.mark.parametrize(
    ("does", "code", "name", "status"),
    [
        ("leave_0", 0, None, "crashed"),
        ("leave_7", 7, None, "crashed"),
        ("sys_exit_5", 5, None, "crashed"),
        ("segfault", None, "SIGSEGV", "crashed"),
        ("sigkill", None, "SIGKILL", "crashed"),
        ("nameless_signal", None, "signal 40", "crashed"),
    ],
)
def test_a_death(
    workers: Workers, does: str, code: int | None, name: str | None, status: str
) -> None:
    outcome = ask_faulty(workers, does)
    assert (outcome.answered, outcome.exit_code, outcome.signal) == (False, code, name)
    assert outcome.status() == status
    assert ask_faulty(workers, "nothing").answered


def test_what_was_printed_is_kept(workers: Workers) -> None:
    assert ask_faulty(workers, "sys_exit_text").output == "farewell\n"


def test_a_hang_is_killed_in_time(workers: Workers) -> None:
    begin = time.monotonic()
    outcome = ask_faulty(workers, "hang", timeout_s=0.5)
    assert 0.5 <= time.monotonic() - begin < 5
    assert (outcome.status(), outcome.timed_out, outcome.signal) == ("timeout", True, "SIGKILL")
    assert outcome.reason(0.5) == (
        "gave no answer within 0.5 s and was killed; raise measure.timeout_s"
    )


def test_a_kill_for_memory_is_told_from_others() -> None:
    killed = Outcome(signal="SIGKILL", out_of_memory=True)
    assert killed.status() == "oom"
    assert killed.reason(1.0) == "killed by the kernel: the machine ran out of memory"


def test_a_worker_of_a_team_that_was_killed_for_memory_costs_its_entrant_alone() -> None:
    died = {"name": "team", "status": "crashed", "reason": "a worker was killed by SIGKILL"}
    raced = {"name": "sdpa", "rounds_s": [1.0]}
    asked = {"name": "mine", "status": "error", "reason": "killed by SIGKILL, it says"}
    assert workers_module._each_raised([died, raced, asked], True) == [
        {**died, "status": "oom"},
        raced,
        asked,
    ]
    assert workers_module._each_raised([died, raced], False) == [died, raced]
    assert workers_module._each_raised({"reason": "SIGKILL"}, True) == {"reason": "SIGKILL"}


def test_more_memory_than_there_is_is_refused_at_once(workers: Workers) -> None:
    variant = described("faulty", does="growing_tensors")
    begin = time.monotonic()
    fields = {"heads": 1, "head_dim": 8, "threads": 1}
    (outcome,) = probe_outcomes(workers, variant, files=(str(FAULTY),), **fields)
    assert outcome.status() == "oom", outcome
    assert time.monotonic() - begin < 20


def test_a_killed_server_is_replaced(workers: Workers) -> None:
    ask_faulty(workers, "nothing")
    assert workers._server is not None
    first = workers._server.pid
    timer = threading.Timer(0.3, os.kill, (first, signal.SIGKILL))
    timer.start()
    outcome = ask_faulty(workers, "hang")
    timer.join()
    assert (outcome.status(), outcome.exit_code, outcome.signal) == ("crashed", None, None)
    assert outcome.reason(1.0) == "the server of the processes died, and this one with it"
    assert ask_faulty(workers, "nothing").answered
    assert workers._server.pid != first


def test_a_task_is_alone_in_its_process(tmp_path: Path) -> None:
    (tmp_path / "spy.py").write_text(SPY)
    with Store(tmp_path / "run"), Workers({"TOLD": "by the run"}) as workers:
        scratch = str(workers.scratch)
        case = {"variant": described("spy"), "workload": workload().as_dict()}
        payload = {"files": [str(tmp_path / "spy.py")], "cases": [case]}
        outcome = workers.run("survey", payload, FAR)
        assert workers._server is not None
        server = workers._server.pid
    seen = json.loads(outcome.result[0]["reason"])
    # Standard input, output and error; neither the run's lock nor a pipe of the server's.
    links = {name: link for name, link in seen["files"].items() if not link.startswith("/proc/")}
    assert sorted(links) == ["0", "1", "2"], links
    assert links["0"] == "/dev/null"
    assert links["1"] == links["2"] == f"{scratch}/survey-1/output.txt"
    assert seen["group"] == seen["pid"]
    assert seen["parent"] == server
    assert (seen["core"], seen["interrupt"], seen["threads"]) == (0, True, "1")
    assert seen["told"] == "by the run"
    assert not Path(scratch).exists()


def test_a_probe_tells_what_is_documented(workers: Workers) -> None:
    (answer,) = probed(workers, described("softmax"), heads=1, head_dim=8, threads=1)
    assert set(answer) == {"probe", "numerics", "fallback", "semantics"}
    assert answer["fallback"] is None
    probe, numerics = answer["probe"], answer["numerics"]
    assert probe["output_bytes"] == 16 * 8 * 4
    assert probe["peak_bytes"] >= 2 * 16 * 16 * 4
    assert probe["first_call_s"] > 0
    assert probe["prepare_s"] >= 0
    assert "aten::bmm" in probe["kernels"]
    assert probe["compiled_frames"] == 0
    assert numerics["wrong"] is None
    assert 0 <= numerics["error"] <= numerics["error_bound"]
    assert (numerics["rows"], numerics["gradient_error"]) == (16, None)


def test_a_probe_of_gradients(workers: Workers) -> None:
    fields = {"pass": "forward+backward", "heads": 1, "head_dim": 8, "threads": 1}
    (answer,) = probed(workers, described("softmax"), **fields)
    numerics = answer["numerics"]
    assert 0 < numerics["gradient_error"] <= numerics["gradient_error_bound"]


def test_peak_memory_is_exact(workers: Workers) -> None:
    fields = {"heads": 4, "q_len": 4096, "head_dim": 64, "dtype": "float32"}
    softmax, flash_kernel = described("softmax"), described("sdpa", backend="flash")
    answers = probed(workers, softmax, softmax, flash_kernel, **fields)
    first, second, flash = (answer["probe"] for answer in answers)
    assert first["peak_bytes"] == second["peak_bytes"]
    assert first["peak_bytes"] == pytest.approx(512 << 20, rel=0.01)
    assert flash["output_bytes"] <= flash["peak_bytes"] < 8 << 20


def test_another_harness_in_the_working_directory_is_not_taken_for_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    with Workers() as workers:
        assert workers.run("survey", {"files": [], "cases": []}, FAR).result == []

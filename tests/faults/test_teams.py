"""Workers that die, stall or raise: the case ends with a status, and nothing is left of them."""

from __future__ import annotations

from pathlib import Path

from tests.faults.bench import Bench

FORWARD = "workloads: [{heads: 1, q_len: 32, head_dim: 16, threads: 1}]\n"
ENDS = {
    "killed": ("crashed", "worker 1 of 2 was killed by SIGKILL"),
    "stopped": ("timeout", "no answer within 3 s"),
    "raises": ("error", "worker 1 of 2: ValueError: on purpose"),
}


def test_each_end_is_a_status(bench: Bench) -> None:
    teams = Bench(bench.folder, Path(__file__).with_name("teams.py"))
    told = ", ".join(f"{{faulty_team: {{deed: {deed}}}}}" for deed in ENDS)
    teams.suite(f"faulty_team, {told}", FORWARD)
    done = teams.run()
    cases = teams.cases()
    assert cases["faulty_team"]["status"] == "ok", done.stderr
    # Half of the keys and values of each worker, once.
    assert cases["faulty_team"]["probe"]["sent_bytes"] == 32 * (16 + 16) * 4
    found = {d: cases[f"faulty_team(deed={d})"] for d in ENDS}
    for deed, (status, reason) in ENDS.items():
        assert found[deed]["status"] == status, found[deed]["reason"]
        assert reason in found[deed]["reason"]
    assert teams.left_after(5) == []
    assert not list((bench.folder / "scratch").glob("attnbench-team-*"))

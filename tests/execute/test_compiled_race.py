"""What is to be compiled and is not is a fallback, in the race as in the probe."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from harness.execute.workers import Workers
from tests.build import workload
from tests.execute.asking import described, raced
from tests.faults.bench import ADVERSARIAL

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, as only Linux can safely")
EAGER = "torch.compile compiled no frame: the call ran eagerly"
TRICKS = ("hidden", "broken_graph", "compiled_anew")


def race(workers: Workers, **variants: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The answers of one race, compiled, by name; the first is the baseline."""
    shape = workload(heads=1, q_len=32, head_dim=8, threads=1, compile=True)
    return raced(workers, shape, variants, budget_s=0.3, files=(str(ADVERSARIAL),))


def test_what_falls_back_leaves_and_a_copy_runs_the_graph_of_its_original(
    workers: Workers,
) -> None:
    softmax = described("softmax")
    tricks = {trick: described("adversarial", trick=trick) for trick in TRICKS}
    found = race(workers, softmax=softmax, control=softmax, **tricks)
    told = {name: (answer.get("status"), answer.get("reason")) for name, answer in found.items()}
    assert [told[name] for name in ("softmax", "control")] == [(None, None)] * 2
    for trick in ("hidden", "broken_graph"):
        status, reason = told[trick]
        assert status == "fallback"
        assert str(reason).startswith("while racing: torch.compile broke the graph 1 time: Skip")
    status, reason = told["compiled_anew"]
    assert (status, "torch.compile compiled it anew in 5 calls" in str(reason)) == (
        "fallback",
        True,
    )
    assert all(len(found[name]["rounds_s"]) >= 1 for name in ("softmax", "control"))


def test_where_the_compiler_is_off_nothing_is_timed() -> None:
    with Workers({"TORCHDYNAMO_DISABLE": "1"}) as workers:
        found = race(workers, softmax=described("softmax"), honest=described("adversarial"))
    told = {name: (answer.get("status"), answer.get("reason")) for name, answer in found.items()}
    assert told == dict.fromkeys(("softmax", "honest"), ("fallback", EAGER))

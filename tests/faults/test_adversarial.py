"""Variants that look fast and are not, in real runs: each gets a status and the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.faults.bench import ADVERSARIAL, Bench, load_tricks

FORWARD = "workloads: [{heads: 1, q_len: 32, head_dim: 16, threads: 1}]\n"
BACKWARD = FORWARD.replace("{heads", "{pass: forward+backward, heads")
WRONG = "a timed call was wrong: "
ROW = WRONG + "batch 0, head 0, judged row"
SHARED = WRONG + "returns the same memory at every call"
LATE = WRONG + "its output still changed after the call had returned"
CHANGES = "changes what every variant here is timed under: "
REASONS = {
    "caches_by_id": ("incorrect", ROW),
    "caches_by_pointer": ("incorrect", ROW),
    "computes_once": ("incorrect", ROW),
    "stale_later": ("incorrect", ROW),
    "in_turn_later": ("incorrect", ROW),
    "shares_buffer": ("incorrect", SHARED),
    "shares_buffer_later": ("incorrect", SHARED),
    # Late, or on a machine with much to do not yet there when its lateness is looked for.
    "thread_1ms": ("incorrect", WRONG),
    "thread_5ms": ("incorrect", WRONG),
    "quick_thread": ("incorrect", WRONG),
    "thread_for_last_row": ("incorrect", LATE),
    "lazy": ("incorrect", WRONG + "returned Lazy, a subclass of torch.Tensor"),
    "writes_inputs": ("incorrect", "it writes its inputs: k changed"),
    "writes_unseen": ("incorrect", "it writes its inputs: v changed"),
    "draws_torch": ("error", "a call draws from torch's global random generator"),
    "draws_numpy": ("error", "a call draws from numpy's global random generator"),
    "draws_python": ("error", "a call draws from Python's global random generator"),
    "noisy": ("incorrect", ROW),
    "wrong_without_grad": ("incorrect", ROW),
}
GRADIENTS = {
    "stale_key_gradients": ("incorrect", WRONG + "gradient of k: error"),
    "wrong_with_grad": ("incorrect", ROW),
    "writes_unseen": ("incorrect", "it writes its inputs: v changed"),
    "call_autograd_grad": ("error", f"{CHANGES}torch.autograd.grad replaced"),
    "call_grad_mode": ("error", f"{CHANGES}grad mode from True to False"),
}
NAMES = {
    "perf_counter": "time.perf_counter replaced",
    "perf_counter_once": "time.perf_counter replaced",
    "perf_counter_ns": "time.perf_counter_ns replaced",
    "monotonic": "time.monotonic replaced",
    "softmax": "torch.softmax replaced",
    "matmul": "torch.matmul replaced",
    "tensor_matmul": "torch.Tensor.matmul replaced",
    "tensor_softmax": "torch.Tensor.softmax replaced",
    "sdpa": "torch.nn.functional.scaled_dot_product_attention replaced",
    "autograd_grad": "torch.autograd.grad replaced",
    "cuda_synchronize": "torch.cuda.synchronize replaced",
    "seldom_used": "torch.linalg.svd replaced",
    "rival": "variants.softmax.Softmax.forward replaced",
    "threads": "threads from 1 to 2",
    "matmul_precision": "float32 matmul precision from highest to medium",
    "default_dtype": "default dtype from torch.float32 to torch.float64",
    "grad_mode": "grad mode from",
    "deterministic": "deterministic algorithms from False to True",
}
# Without gradients a forward pass runs in a context that puts the mode back itself.
NOT_FORWARD = ("stale_key_gradients", "wrong_with_grad", "call_grad_mode")
DEEDS_DONE = [
    f"{place}_{deed}"
    for place in ("call", "prepare")
    for deed in NAMES
    if f"{place}_{deed}" not in NOT_FORWARD
]
ALWAYS = (*REASONS, "call_perf_counter", "call_softmax", "prepare_sdpa", "prepare_threads")
HARMLESS = ("honest", "undone_in_the_call")
IMPORTING = """
import time, torch
from dataclasses import dataclass
from harness import AttentionOp, register, softmax_attention
{deed}

@register("importing_{name}")
@dataclass(frozen=True)
class Importing(AttentionOp):
    def forward(self, q, k, v, *, mask, scale):
        return softmax_attention(q, k, v, mask=mask, scale=scale)
"""
IMPORTED = {
    "clock": ("time.perf_counter = lambda: 0.0", "time.perf_counter replaced"),
    "dtype": ("torch.set_default_dtype(torch.float64)", "default dtype from torch.float32 to"),
}


def raced(
    bench: Bench, always: Sequence[str], race: Sequence[str], workloads: str
) -> dict[str, dict[str, Any]]:
    """The records of one run with these tricks, played always and in the race alone."""
    told = (
        f"{{adversarial: {{trick: [{', '.join(tricks)}], when: {when}}}}}"
        for when, tricks in (("always", always), ("race", race))
    )
    bench.suite(", ".join(told), workloads=workloads)
    try:
        ended = bench.run()
    finally:
        bench.end_all()
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    return bench.cases()


def text(trick: str, when: str) -> str:
    """The variant as its record names it."""
    fields = [f"trick={trick}"] if trick != "honest" else []
    fields += ["when=race"] if when == "race" else []
    return f"adversarial({', '.join(fields)})" if fields else "adversarial"


@pytest.fixture(scope="module")
def forward(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    always, race = (*HARMLESS, *ALWAYS), (*HARMLESS, *REASONS, *DEEDS_DONE)
    return raced(Bench(tmp_path_factory.mktemp("forward"), ADVERSARIAL), always, race, FORWARD)


@pytest.fixture(scope="module")
def backward(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    bench = Bench(tmp_path_factory.mktemp("backward"), ADVERSARIAL)
    return raced(bench, ["honest", *GRADIENTS], list(GRADIENTS), BACKWARD)


def check(record: dict[str, Any], status: str, reason: str) -> None:
    """The record tells why this was not timed."""
    found = (record["status"], record.get("reason"))
    assert record["status"] == status, found
    assert reason in record["reason"], found
    assert not record["launches"], found


@pytest.mark.parametrize("trick", REASONS)
def test_a_trick_in_the_race_is_named(forward: dict[str, dict[str, Any]], trick: str) -> None:
    record = forward[text(trick, "race")]
    check(record, *REASONS[trick])
    assert record["failure"]["where"] == "race"


@pytest.mark.parametrize("deed", DEEDS_DONE)
def test_a_change_of_the_process_in_the_race_is_named(
    forward: dict[str, dict[str, Any]], deed: str
) -> None:
    record = forward[text(deed, "race")]
    check(record, "error", CHANGES)
    assert NAMES[deed.partition("_")[2]] in record["reason"]
    assert record["failure"]["where"] == "race"


@pytest.mark.parametrize("trick", GRADIENTS)
def test_a_trick_with_gradients_in_the_race_is_named(
    backward: dict[str, dict[str, Any]], trick: str
) -> None:
    record = backward[text(trick, "race")]
    check(record, *GRADIENTS[trick])
    assert record["failure"]["where"] == "race"


def test_a_trick_played_always_is_never_timed(
    forward: dict[str, dict[str, Any]], backward: dict[str, dict[str, Any]]
) -> None:
    told = [forward[text(trick, "always")] for trick in ALWAYS]
    told += [backward[text(trick, "always")] for trick in GRADIENTS]
    got_through = [record["variant"]["text"] for record in told if record["launches"]]
    assert got_through == []
    assert {record["status"] for record in told} == {"incorrect", "error"}
    assert all(record["reason"] for record in told)


def test_whoever_plays_no_trick_is_raced_to_the_end(
    forward: dict[str, dict[str, Any]], backward: dict[str, dict[str, Any]]
) -> None:
    honest = [forward[text(trick, when)] for trick in HARMLESS for when in ("always", "race")]
    honest += [backward["adversarial"], forward["softmax"], backward["softmax"]]
    assert {(one["status"], one.get("reason")) for one in honest} == {("ok", None)}
    # Its clocks stood still in the call; ours did not.
    undone = forward[text("undone_in_the_call", "race")]["launches"]
    assert all(seconds > 1e-6 for launch in undone for seconds in launch["rounds_s"])


def test_every_trick_is_under_test(installed: None) -> None:
    tricks = load_tricks()
    called = {f"call_{name}" for name in NAMES}
    assert {*REASONS, *GRADIENTS, *HARMLESS} | called == set(tricks.TRICKS)
    assert set(NAMES) == set(tricks.DEEDS)


def test_a_file_whose_import_changes_the_process_costs_itself_alone(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    bench = Bench(tmp_path_factory.mktemp("importing"))
    bench.suite("sdpa", workloads=FORWARD)
    options = []
    for name, (deed, _) in IMPORTED.items():
        (bench.folder / f"{name}.py").write_text(IMPORTING.format(name=name, deed=deed))
        options += ["--variant", f"{name}.py"]
    try:
        ended = bench.run(*options)
    finally:
        bench.end_all()
    assert ended.returncode == 0, ended.stderr
    cases = bench.cases()
    for name, (_, reason) in IMPORTED.items():
        check(cases[f"importing_{name}"], "error", f"the import of {name}.py {CHANGES}{reason}")
    assert [cases[name]["status"] for name in ("softmax", "sdpa")] == ["ok", "ok"]

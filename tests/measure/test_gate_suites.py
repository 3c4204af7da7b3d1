"""Every workload of every shipped suite: the gate that judges its cases catches every mutant.

Of workloads of LONG keys and more, each is judged for one definition of its suite, in turn. With
ATTNBENCH_GATES=all in the environment, for all of them, which takes a quarter of an hour.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from harness import variant
from harness.measure.truth import ALL_ROWS, TILE, ask, find_truth
from harness.measure.vacuity import gate_of
from harness.records.schema import GateResult
from harness.suite import load_suite, shipped
from harness.variant import AttentionOp, build, definition_key, hindrance, measured
from harness.workload import Workload

AS_IT_IS = 1 << 22
"""Scores and elements of q, k and v up to which a workload is run whole."""
LONG = 2048
ALL = os.environ.get("ATTNBENCH_GATES") == "all"

UNUSED = torch.empty(0)
"""In place of softmax attention: how far a definition lies from it is nothing to the gate."""


def reduced(asked: Workload) -> Workload:
    """The workload on one CPU thread; a dear one with fewer sequences and heads, grouped alike.

    Lengths, dims, dtype and mask stay. As many rows are mutated of few heads as of many.
    """
    fields = {**asked.as_dict(), "device": "cpu", "threads": 1, "compile": False}
    rows = asked.q_len if asked.q_len <= ALL_ROWS else asked.q_len // TILE
    scores = asked.batch * asked.heads * rows * asked.kv_len
    if asked.height is not None:
        fields |= {"batch": 1}
    elif scores + asked.input_bytes() // asked.torch_dtype.itemsize > AS_IT_IS:
        groups = asked.heads // asked.kv_heads
        kv_heads = 1 if groups == 1 else min(2, asked.kv_heads)
        fields |= {"batch": 1, "kv_heads": kv_heads, "heads": kv_heads * min(2, groups)}
    return Workload.model_validate(fields)


def asked_of(name: str) -> Iterator[tuple[AttentionOp, Workload]]:
    """One variant of each definition of a suite with each workload it takes, dear ones reduced."""
    suite = load_suite(name, device="cpu")
    for turn, asked in enumerate(dict.fromkeys(map(reduced, suite.workloads()))):
        chosen = [one for one in map(build, suite.variants) if hindrance(one, asked) is None]
        ops = [measured(one, asked)[0] for one in chosen]
        each = list({definition_key(op)[0]: op for op in ops}.values())
        if asked.kv_len >= LONG and not ALL:
            each = [each[-1 - turn % len(each)]] if each else []
        yield from ((op, asked.carried) for op in each)


class Gates:
    """The gate of each definition on each workload of the shipped suites, found once."""

    def __init__(self) -> None:
        self._asked = {_key(op, asked) for name in shipped() for op, asked in asked_of(name)}
        self._known: dict[tuple[str, Workload], GateResult] = {}

    def of(self, op: AttentionOp, asked: Workload) -> GateResult:
        """A forward's gate is in that of its forward and backward, if that is in the suites.

        The output has the same truth, bounds and mutants there.
        """
        both = asked.model_copy(update={"pass_": "forward+backward"})
        if asked.pass_ == "forward" and _key(op, both) in self._asked:
            asked = both
        key = _key(op, asked)
        if key not in self._known:
            question = ask(asked, rowwise=op.rowwise, sources=op.sources)
            truth = find_truth(op.definition, question, UNUSED)
            self._known[key] = gate_of(op.definition, question, truth)
        return self._known[key]


def _key(op: AttentionOp, asked: Workload) -> tuple[str, Workload]:
    return definition_key(op)[0], asked


@pytest.fixture(scope="module")
def gates() -> Iterator[Gates]:
    """On one thread: on a busy machine, a second one mostly waits."""
    variant.load_installed()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Gates()
    torch.set_num_threads(before)


TIMED = [name for name, path in sorted(shipped().items()) if "\nworkloads:" in path.read_text()]
"""All but those that simulate schedules alone."""


@pytest.mark.parametrize("name", TIMED)
def test_no_mutant_survives_on_a_workload_of_a_shipped_suite(name: str, gates: Gates) -> None:
    found = {f"{op.spec} on {asked}": gates.of(op, asked) for op, asked in asked_of(name)}
    assert found
    assert {case: gate.survived for case, gate in found.items() if gate.survived} == {}
    raised = [gate for gate in found.values() if "raised" in str(gate.not_applicable)]
    assert raised == []
    assert all({"zeros", "nan_row"} <= set(gate.killed) for gate in found.values())
    # A formula without a scale, or of one head, has fewer that apply; none has hardly any.
    assert all(len(gate.killed) >= 4 for gate in found.values())

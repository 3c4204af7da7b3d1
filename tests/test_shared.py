"""Workloads whose q, k and v have the same values: what is refused, written, drawn, recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from harness import load
from harness.inputs import make_inputs, square_length
from harness.suite import load_suite
from harness.suite.schema import schema
from harness.workload import Case, VariantSpec, Workload
from tests.build import workload
from tests.records.made import case as record_of
from tests.records.made import write_run


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"level": "layer", "shared": "qk"},
            "shared: qk gives q and k the same values, and so one shape: level=layer, whose x "
            "stands for all of them; write level: op",
        ),
        (
            {"pass": "decode", "q_len": 1, "kv_len": 8, "shared": "qk"},
            "pass=decode has one query; write another pass",
        ),
        ({"heads": 4, "kv_heads": 2, "shared": "qk"}, "heads=4, kv_heads=2; leave kv_heads out"),
        ({"q_len": 8, "kv_len": 9, "shared": "qk"}, "q_len=8, kv_len=9; leave kv_len out"),
        (
            {"head_dim": 8, "v_head_dim": 4, "shared": "qkv"},
            "shared: qkv gives q, k and v the same values, and so one shape: head_dim=8, "
            "v_head_dim=4; leave v_head_dim out or write shared: qk",
        ),
        ({"shared": "kv"}, "'none', 'qk' or 'qkv'"),
    ],
)
def test_what_cannot_be_shared_says_what_to_write(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        workload(**fields)
    assert message in str(error.value)


def test_values_of_another_width_may_be_shared_by_q_and_k() -> None:
    assert workload(head_dim=8, v_head_dim=4, shared="qk").v_head_dim == 4


def test_left_out_at_its_default_a_case_keeps_its_id() -> None:
    plain, shared = workload(), workload(shared="qk")
    assert "shared" not in plain.as_dict()
    assert shared.as_dict() == {**plain.as_dict(), "shared": "qk"}
    assert Workload.model_validate(shared.as_dict()) == shared
    ids = {Case(VariantSpec("softmax"), one).id for one in (plain, workload(shared="none"), shared)}
    assert len(ids) == 2
    # As it was before there was such a field.
    threads = {"threads": 2}
    assert Case(VariantSpec("softmax"), workload(**threads)).id == "5cf28b498a7a"


def test_the_text_says_it() -> None:
    assert (
        str(workload(shared="qkv", threads=None))
        == "forward B1 H1 L16 D64 none float32 cpu shared=qkv"
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("inputs", ["normal(2)", "low_rank(4, 2)"])
@pytest.mark.parametrize("shared", ["qk", "qkv"])
def test_the_same_values_in_memory_of_their_own(shared: Any, inputs: str, dtype: str) -> None:
    case = workload(heads=3, q_len=40, shared=shared, inputs=inputs, dtype=dtype)
    q, k, v = make_inputs(case)
    assert torch.equal(q, k)
    assert torch.equal(q, v) == (shared == "qkv")
    assert len({tensor.data_ptr() for tensor in (q, k, v)}) == 3
    assert all(map(torch.equal, make_inputs(case), make_inputs(case)))
    assert not torch.equal(make_inputs(case, draw=1)[0], q)


@pytest.mark.parametrize("inputs", ["normal(2)", "normal(0.5)", "low_rank(8, 2)", "low_rank(1, 2)"])
def test_scores_are_spread_as_asked_and_a_token_is_not_all_that_it_attends_to(inputs: str) -> None:
    case = workload(heads=4, q_len=512, shared="qk", inputs=inputs)
    q, k, _ = make_inputs(case)
    scores = q @ k.mT * case.scale
    others = ~torch.eye(512, dtype=torch.bool)
    assert float(scores[..., others].std()) == pytest.approx(case.logit_std, rel=0.15)
    assert float(q.square().sum(-1).mean()) == pytest.approx(square_length(case), rel=0.1)
    own = scores.softmax(-1).diagonal(dim1=-2, dim2=-1)
    assert float(own.median()) < 0.5


def test_of_inputs_that_are_not_shared_the_length_is_known_too() -> None:
    case = workload(heads=4, q_len=512, inputs="low_rank(8, 2)", scale=0.3)
    q = make_inputs(case)[0]
    assert float(q.square().sum(-1).mean()) == pytest.approx(square_length(case), rel=0.05)


def test_suites_sweep_it(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "name: s\nvariants: [softmax]\nbaseline: softmax\n"
        "workloads: [{q_len: 8, shared: [none, qk, qkv]}]\n"
    )
    found = [block.workload.shared for block in load_suite(str(path)).blocks()]
    assert found == ["none", "qk", "qkv"]
    offered = schema()["properties"]["workloads"]["items"]["properties"]["shared"]
    assert offered["default"] == "none"
    assert "qkv" in str(offered)


def test_records_that_leave_it_out_have_it_in_a_frame(tmp_path: Path) -> None:
    rows = load(write_run(tmp_path, [record_of("softmax", is_baseline=True)]))
    assert list(rows["shared"]) == ["none"]

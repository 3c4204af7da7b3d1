"""Workloads: what is filled in, what is refused, what is counted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from harness.inputs import make_inputs, make_output_gradient
from harness.workload import Case, VariantSpec, Workload, content_hash, usable_cpus
from tests.build import workload


def test_defaults() -> None:
    found = Workload.model_validate({"heads": 4, "q_len": 32})
    assert (found.kv_heads, found.kv_len, found.head_dim, found.v_head_dim) == (4, 32, 64, 64)
    assert found.scale == 64**-0.5
    assert (found.pass_, found.mask, found.bias, found.dtype) == (
        "forward",
        "none",
        "none",
        "float32",
    )
    assert found.threads == usable_cpus()
    assert (found.batch, found.seed, found.compile, found.device) == (1, 0, False, "cpu")


def test_given_as_none_is_left_out() -> None:
    assert workload(heads=4, kv_heads=None, scale=None) == workload(heads=4)


def test_decode_has_one_query() -> None:
    found = Workload.model_validate({"pass": "decode", "kv_len": 100})
    assert (found.q_len, found.kv_len) == (1, 100)
    assert str(found) == "decode B1 H1 kv100 D64 none float32 cpu"


def test_mask_has_one_spelling() -> None:
    assert workload(mask=" window(8)+causal ").mask == "causal+window(8)"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"heads": 12, "kv_heads": 5},
            "kv_heads must divide heads: heads=12, kv_heads=5; use 1, 2, 3, 4, 6 or 12",
        ),
        ({"heads": 1, "kv_heads": 2}, "kv_heads must divide heads: heads=1, kv_heads=2; use 1"),
        (
            {"pass": "decode", "q_len": 2},
            "decode takes one query: q_len=2; leave q_len out and sweep kv_len",
        ),
        (
            {"mask": "packed(2)", "q_len": 8, "kv_len": 9},
            "packed(2) needs q_len = kv_len >= 2: q_len=8, kv_len=9; "
            "make both lengths equal and at least 2",
        ),
        ({"mask": "packed(9)", "q_len": 8}, "packed(9) needs q_len = kv_len >= 9: q_len=8"),
        (
            {"inputs": "low_rank(65, 2.5)", "head_dim": 64},
            "inputs: a rank is at most head_dim: low_rank(65, 2.5), head_dim=64; "
            "write low_rank(64, 2.5) or a smaller rank",
        ),
        ({"mask": "casual"}, "mask: cannot read 'casual' in 'casual'; write none, causal"),
    ],
)
def test_errors_across_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        workload(**fields)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        *("uniform", "", "2", "normal", "normal(0)", "normal(-1)", "normal(1.2.3)"),
        *("normal(inf)", "normal(nan)", "normal(2, 3)", "low_rank(4)", "low_rank(0, 2)"),
        *("low_rank(1.5, 2)", "low_rank(4, 0)", "low_rank(4, 2, 1)", "low_rank(4, 2) ()"),
    ],
)
def test_inputs_that_cannot_be_read_say_what_to_write(text: str) -> None:
    with pytest.raises(ValidationError) as error:
        workload(inputs=text)
    assert (
        f"inputs: cannot read {text!r}; write normal(s) with the standard deviation of the scores, "
        "as in normal(2), or low_rank(r, s) with the rank of q and k before it, as in "
        "low_rank(8, 2)"
    ) in str(error.value)
    assert "quotes" not in str(error.value)


def test_inputs_torn_at_their_comma_are_told_to_be_quoted() -> None:
    with pytest.raises(ValidationError, match=r'in quotes, as in \["low_rank\(8, 2\)"\]'):
        workload(inputs="low_rank(8")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("normal(2.0)", "normal(2)"),
        ("low_rank( 8,0.10 )", "low_rank(8, 0.1)"),
        ("low_rank(64, 1e-05)", "low_rank(64, 1e-05)"),
    ],
)
def test_inputs_have_one_spelling(written: str, read: str) -> None:
    assert workload(inputs=written).inputs == read
    assert workload(inputs=read).inputs == read


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"q_len": 0}, "q_len", "greater than or equal to 1"),
        ({"heads": -1}, "heads", "greater than or equal to 1"),
        ({"head_dim": 0}, "head_dim", "greater than or equal to 1"),
        ({"heads": True}, "heads", "valid integer"),
        ({"batch": "two"}, "batch", "valid integer"),
        ({"batch": True}, "batch", "valid integer"),
        ({"batch": 1.0}, "batch", "valid integer"),
        ({"threads": 0}, "threads", "greater than or equal to 1"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"scale": 0}, "scale", "greater than 0"),
        ({"compile": "yes"}, "compile", "valid boolean"),
        ({"dtype": "float8"}, "dtype", "'float32', 'bfloat16', 'float16' or 'float64'"),
        ({"pass": "sideways"}, "pass", "'forward', 'backward', 'forward+backward' or 'decode'"),
        ({"bias": "t5"}, "bias", "'none', 'alibi' or 'random'"),
        ({"device": "tpu"}, "device", "'cpu' or 'cuda'"),
        ({"qlen": 4}, "qlen", "Extra inputs are not permitted"),
    ],
)
def test_errors_of_a_field(fields: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(ValidationError) as error:
        workload(**fields)
    assert [found["loc"] for found in error.value.errors()] == [(field,)]
    assert message in str(error.value)


def test_a_workload_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        workload().q_len = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "pairs"),
    [
        ({"mask": "none"}, 3 * 4 * 32 * 32),
        ({"mask": "causal"}, 3 * 4 * 32 * 33 // 2),
        ({"mask": "causal", "kv_len": 40}, 3 * 4 * (32 * 33 // 2 + 32 * 8)),
        ({"mask": "causal+window(5)"}, 3 * 4 * (32 * 5 - 10)),
        ({"mask": "window(5)"}, 3 * 4 * (32 * 9 - 20)),
        ({"mask": "none", "kv_heads": 2}, 3 * 4 * 32 * 32),
    ],
)
def test_flops_are_the_closed_form(fields: dict[str, Any], pairs: int) -> None:
    base = {"batch": 3, "heads": 4, "q_len": 32, "head_dim": 16, "v_head_dim": 24, **fields}
    forward = 2 * (16 + 24) * pairs
    assert workload(**base).flops() == forward
    assert workload(**base, pass_="backward").flops() == forward * 5 // 2
    assert workload(**base, pass_="forward+backward").flops() == forward * 7 // 2


def test_decode_flops_count_one_query() -> None:
    found = Workload.model_validate({"pass": "decode", "kv_len": 100, "head_dim": 8, "heads": 2})
    assert found.flops() == 2 * 16 * 100 * 2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_input_bytes_are_those_of_the_inputs(dtype: str) -> None:
    case = workload(batch=2, heads=4, kv_heads=2, kv_len=9, head_dim=8, v_head_dim=5, dtype=dtype)
    assert case.input_bytes() == sum(t.numel() * t.element_size() for t in make_inputs(case))


def test_inputs_are_seeded_and_spread_the_scores() -> None:
    case = workload(heads=4, q_len=256, head_dim=32, inputs="normal(3)", scale=0.4)
    q, k, _ = make_inputs(case)
    assert float((q @ k.mT * case.scale).std()) == pytest.approx(3, rel=0.1)
    assert all(map(torch.equal, make_inputs(case), make_inputs(case)))
    assert not torch.equal(make_inputs(case, draw=1)[0], q)
    assert not torch.equal(make_inputs(case.model_copy(update={"seed": 1}))[0], q)


def test_low_rank_inputs_lie_in_one_subspace_of_each_key_head() -> None:
    case = workload(batch=2, heads=4, kv_heads=2, q_len=256, head_dim=32, inputs="low_rank(4, 3)")
    q, k, v = make_inputs(case)
    assert (q.shape, k.shape, v.shape) == ((2, 4, 256, 32), (2, 2, 256, 32), (2, 2, 256, 32))
    scores = q @ k.repeat_interleave(2, 1).mT * case.scale
    assert float(scores.std()) == pytest.approx(3, rel=0.1)
    for head in range(2):
        queries, keys = q[:, 2 * head : 2 * head + 2].flatten(0, 2), k[:, head].flatten(0, 1)
        together = torch.cat([queries, keys])
        assert int(torch.linalg.matrix_rank(together, rtol=1e-5)) == 4
        assert int(torch.linalg.matrix_rank(v[:, head].flatten(0, 1))) == 32
    apart = torch.cat([k[:, 0].flatten(0, 1), k[:, 1].flatten(0, 1)])
    assert int(torch.linalg.matrix_rank(apart, rtol=1e-5)) == 8


def test_low_rank_draws_differ_but_share_their_subspace() -> None:
    case = workload(heads=2, q_len=64, head_dim=16, inputs="low_rank(3, 2)")
    first, second = make_inputs(case)[1][0, 0], make_inputs(case, draw=1)[1][0, 0]
    assert not torch.equal(first, second)
    assert int(torch.linalg.matrix_rank(torch.cat([first, second]), rtol=1e-5)) == 3
    assert all(map(torch.equal, make_inputs(case), make_inputs(case)))
    other = make_inputs(case.model_copy(update={"seed": 1}))[1][0, 0]
    assert int(torch.linalg.matrix_rank(torch.cat([first, other]), rtol=1e-5)) == 6


def test_low_rank_inputs_are_the_same_on_any_number_of_threads() -> None:
    case = workload(heads=2, q_len=1000, head_dim=64, inputs="low_rank(7, 2)")
    before = torch.get_num_threads()
    try:
        drawn = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            drawn.append(make_inputs(case))
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, *drawn))


def test_output_gradient_is_zero_at_rows_that_are_not_judged() -> None:
    case = workload(batch=3, q_len=40, mask="padding(0.5)")
    rows = torch.tensor([0, 7, 39])
    gradient = make_output_gradient(case, rows)
    assert gradient.shape == (3, 1, 40, 64)
    judged = torch.zeros(3, 40, dtype=torch.bool)
    judged[:, rows] = case.build_mask().judged[:, rows]
    assert torch.equal((gradient != 0).any(-1)[:, 0], judged)


def test_text_leaves_out_what_is_usual() -> None:
    assert str(workload(heads=4)) == "forward B1 H4 L16 D64 none float32 cpu"
    found = workload(
        heads=4,
        kv_heads=2,
        kv_len=9,
        v_head_dim=3,
        bias="alibi",
        inputs="low_rank(8, 1)",
        threads=usable_cpus() + 1,
        compile=True,
    )
    assert str(found) == (
        f"forward B1 H4/2 L16 kv9 D64 Dv3 none float32 cpu bias=alibi low_rank(8, 1) "
        f"threads={usable_cpus() + 1} compiled"
    )


def test_fields_read_back() -> None:
    found = workload(heads=4, mask="causal", pass_="backward")
    assert found.as_dict()["pass"] == "backward"
    assert Workload.model_validate(found.as_dict()) == found


def test_case_id_is_of_the_content() -> None:
    one = Case(VariantSpec("sdpa", (("backend", "flash"),)), workload())
    same = Case(VariantSpec("sdpa", (("backend", "flash"),)), workload())
    others = [
        Case(VariantSpec("sdpa"), workload()),
        Case(one.variant, workload(seed=1)),
    ]
    assert one.id == same.id
    assert len(one.id) == 12
    assert one.id not in [other.id for other in others]
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})


def _bytes(**fields: Any) -> int:
    case = workload(head_dim=8, v_head_dim=4, dtype="bfloat16", **fields)
    found = case.compulsory_bytes()
    assert found % 2 == 0
    return found // 2


def test_compulsory_bytes_are_inputs_read_and_results_written_once() -> None:
    sizes = {"batch": 2, "heads": 4, "kv_heads": 2, "q_len": 10, "kv_len": 16}
    q, k, v, output = 80 * 8, 64 * 8, 64 * 4, 80 * 4
    forward, backward = q + k + v + output, 2 * (q + k + v) + 2 * output
    assert _bytes(**sizes) == forward
    assert _bytes(**sizes, pass_="backward") == backward
    assert _bytes(**sizes, pass_="forward+backward") == forward + backward
    assert _bytes(pass_="decode", q_len=1, kv_len=50) == 8 + 50 * 12 + 4


def test_keys_that_no_query_attends_to_are_not_compulsory() -> None:
    # Two queries at positions 98 and 99 see keys 94..99 of 100 under causal+window(5).
    assert _bytes(q_len=2, kv_len=100, mask="causal+window(5)") == 2 * 8 + 6 * 12 + 2 * 4
    # Of 9 queries on 4 keys, aligned bottom-right, the first 5 attend to nothing.
    assert _bytes(q_len=9, kv_len=4, mask="causal") == 4 * 8 + 4 * 12 + 9 * 4


@pytest.mark.parametrize("mask", ["window(3)", "causal+packed(4)", "padding(0.4)", "causal"])
def test_attended_keys_are_those_of_the_dense_mask(mask: str) -> None:
    case = workload(batch=3, q_len=30, mask=mask)
    built = case.build_mask()
    dense = built.dense()[:, 0] & built.judged[..., None]
    times = case.batch // len(dense)
    queries, keys = (int(dense.any(axis).sum()) * times for axis in (2, 1))
    rows = int(built.judged.sum()) * times
    assert case.compulsory_bytes() == 4 * 64 * (queries + 2 * keys + rows)


def test_flops_of_pairs_by_pass() -> None:
    for pass_, factor in (("forward", 1.0), ("backward", 2.5), ("forward+backward", 3.5)):
        case = workload(pass_=pass_, head_dim=8, v_head_dim=4)
        assert case.flops_of(10) == factor * 240
        assert case.flops() == case.flops_of(16 * 16)
    assert case.flops_of(10, backward=2.0) == 720
    assert workload(batch=2, heads=3, q_len=4, kv_len=5).all_pairs == 120

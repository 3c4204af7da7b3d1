"""The gate, tested: every mutant is caught, and a gate that cannot fail is told."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from torch import Tensor

from harness import Mask, softmax_attention
from harness.measure import numerics, subject, truth, vacuity
from harness.measure.mutants import MUTANTS, OF_GRADIENTS
from harness.measure.numerics import Numerics
from harness.measure.truth import ask, find_truth, softmax_rows
from harness.measure.vacuity import gate_of
from harness.records.schema import GateResult
from harness.workload import Workload
from tests.measure.gate import Attend, mutant, small, subject_of

WORKLOADS: dict[str, dict[str, Any]] = {
    "none": {},
    "causal": {"mask": "causal", "q_len": 70},
    "lengths": {"mask": "causal", "q_len": 48, "kv_len": 80},
    "window": {"mask": "causal+window(9)", "q_len": 96, "kv_len": 64},
    "padding": {"mask": "padding(0.6)", "q_len": 100},
    "packed": {"mask": "causal+packed(3)", "batch": 1},
    "grouped": {"kv_heads": 2, "v_head_dim": 8},
    "biased": {"bias": "alibi", "mask": "window(20)"},
    "random": {"bias": "random", "kv_heads": 1},
    "decode": {"pass": "decode", "q_len": 1, "kv_len": 200, "kv_heads": 2},
}
DTYPES = ("float32", "bfloat16", "float16", "float64")
ALWAYS = {"zeros", "mean_of_v", "every_tenth_key_dropped", "one_key_dropped", "scale_off"}
ALWAYS |= {"heads_swapped", "nan_row", "stale_output"}
ALSO = {
    "none": set(),
    "causal": {"mask_ignored", "last_query_tile_skipped", "last_key_tile_skipped"},
    "lengths": {"mask_ignored", "causal_aligned_top_left"},
    "window": {"mask_ignored", "causal_aligned_top_left", "window_off_by_one"},
    "padding": {"mask_ignored", "last_query_tile_skipped", "last_key_tile_skipped"},
    "packed": {"mask_ignored"},
    "grouped": {"grouped_heads_mapped_wrongly"},
    "biased": {"bias_ignored", "window_off_by_one", "mask_ignored"},
    "random": {"bias_ignored"},
    "decode": {"last_query_tile_skipped", "last_key_tile_skipped", "grouped_heads_mapped_wrongly"},
}
ALSO["lengths"] |= {"last_query_tile_skipped", "last_key_tile_skipped"}
ALSO["window"] |= {"last_query_tile_skipped"}


def gate(asked: Workload, definition: Attend = softmax_attention, **own: float) -> GateResult:
    """The gate on a workload, with the definition's own error replaced where one is given."""
    question = ask(asked, rowwise=True)
    found = find_truth(definition, question, softmax_rows(asked))
    held = dataclasses.replace(found, own=dataclasses.replace(found.own, **own))
    return gate_of(definition, question, held)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", WORKLOADS)
def test_every_mutant_that_applies_is_killed(name: str, dtype: str) -> None:
    asked = small(dtype=dtype, **WORKLOADS[name])
    found = gate(asked)
    applies = ALWAYS | ALSO[name] | (set(OF_GRADIENTS) if asked.has_gradients else set())
    assert found.survived == ()
    assert set(found.killed) == applies
    assert set(found.not_applicable) == set(MUTANTS) - applies


def _cubed(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
    return mask.zero((q @ k.mT * scale) ** 3 * k.shape[-2] ** -0.5) @ v


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["none", "window", "padding", "grouped"])
def test_weights_that_are_no_softmax_are_held_as_well(name: str, dtype: str) -> None:
    found = gate(small(dtype=dtype, **WORKLOADS[name]), _cubed)
    assert found.survived == ()
    assert ALWAYS | ALSO[name] <= set(found.killed)


# A gate that cannot fail is told


LAX = {"tensor": 1e9, "row": 1e9, "gradient": 1e9, "largest_v": 1e12}


def lax_gate(asked: Workload) -> GateResult:
    return gate(asked, softmax_attention, **LAX)


@pytest.mark.parametrize("name", WORKLOADS)
def test_each_mutant_survives_a_lax_bound(name: str) -> None:
    asked = small(**WORKLOADS[name])
    strict, lax = gate(asked), lax_gate(asked)
    assert lax.killed == ("nan_row",)  # no bound lets that pass
    assert set(lax.survived) == set(strict.killed) - {"nan_row"}
    assert lax.not_applicable == strict.not_applicable


def test_a_nan_in_a_row_that_is_not_sampled_needs_the_check_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(truth, "ALL_ROWS", 64)
    asked = small(q_len=320, batch=1)
    assert "nan_row" in gate(asked).killed
    monkeypatch.setattr(numerics, "_not_finite", lambda produced, workload: None)
    assert gate(asked).survived == ("nan_row",)
    monkeypatch.setattr(truth, "TILE", 2)  # half of all rows are sampled
    for seed in range(8):
        made = subject_of(small(q_len=320, batch=1, seed=seed))
        broken = mutant("nan_row", made).output
        assert broken is not None
        assert bool(broken.isnan().any())
        assert not bool(broken[:, :, made.truth.rows].isnan().any())


def test_each_check_of_the_gate_is_needed_by_a_mutant(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = small()
    assert set(gate(asked, gradient=1e9).survived) == set(OF_GRADIENTS)
    monkeypatch.setattr(numerics, "row_fault", lambda *_: None)
    assert gate(asked).survived == ()  # the error over the tensor is a second check
    blind = set(gate(asked, tensor=1e9).survived)
    assert blind == set(gate(asked).killed) - {*OF_GRADIENTS, "nan_row"}


def test_the_error_over_the_tensor_cannot_see_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = small(dtype="bfloat16", q_len=512, batch=4)
    assert "one_key_dropped" in gate(asked).killed
    monkeypatch.setattr(numerics, "row_fault", lambda *_: None)
    assert "one_key_dropped" in gate(asked).survived


def test_inputs_that_tell_nothing_make_the_gate_vacuous() -> None:
    asked = small(dtype="bfloat16", q_len=256, inputs="normal(0.001)")
    found = gate(asked)
    assert {"scale_off", "mean_of_v"} <= set(found.survived)
    assert "zeros" in found.killed


def test_a_gate_that_refuses_everything_kills_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = gate(small()).killed
    monkeypatch.setattr(vacuity, "judge", lambda *_: Numerics(wrong="always"))
    refused = gate(small())
    assert (refused.killed, refused.survived) == ((), killed)


def test_mutants_go_through_the_judge_of_real_cases() -> None:
    assert vars(vacuity)["judge"] is numerics.judge


# Mutants that change nothing


@pytest.mark.parametrize(
    ("fields", "reasons"),
    [
        (
            {"q_len": 4, "kv_len": 1, "heads": 1},
            {
                "mean_of_v": "the bug changes nothing here: the answer is the same to rounding",
                "scale_off": "the bug changes nothing here: the answer is the same to rounding",
                "every_tenth_key_dropped": "there are fewer than ten keys: kv_len=1",
                "heads_swapped": "there is one head",
                "gradient_of_v_only": "the gradients of q and k are 0",
            },
        ),
        (
            {"mask": "window(99)", "kv_heads": 1},
            {
                "window_off_by_one": "no judged row attends to what it changes",
                "mask_ignored": "every query attends to every key",
                "last_key_tile_skipped": "kv_len is a multiple of 64: kv_len=64",
                "last_query_tile_skipped": "q_len is a multiple of 64: q_len=64",
                "grouped_heads_mapped_wrongly": (
                    "heads are not grouped, or all in one: heads=4, kv_heads=1"
                ),
                "causal_aligned_top_left": "the mask is not causal: mask=window(99)",
                "bias_ignored": "there is no bias",
            },
        ),
        (
            {"mask": "causal", "pass": "forward"},
            {
                "causal_aligned_top_left": "both alignments are one where q_len = kv_len",
                "window_off_by_one": "the mask has no window: mask=causal",
                "gradient_scaled": "the pass has no gradients: pass=forward",
                "gradient_of_v_only": "the pass has no gradients: pass=forward",
            },
        ),
    ],
)
def test_a_mutant_that_changes_nothing_is_told_with_its_reason(
    fields: dict[str, Any], reasons: dict[str, str]
) -> None:
    found = gate(small(**fields))
    assert reasons.items() <= found.not_applicable.items()
    assert found.survived == ()


def test_rows_without_keys_do_not_make_the_gate_vacuous() -> None:
    found = gate(small(mask="causal", q_len=3, kv_len=1, batch=1, heads=1, head_dim=4))
    # Two of three rows are empty; the third sees one key.
    assert "one_key_dropped" in found.killed
    blank = gate(small(mask="causal+window(1)", q_len=64, kv_len=8, batch=1))
    assert blank.survived == ()


def test_a_small_change_is_no_reason() -> None:
    found = gate(small(dtype="bfloat16", inputs="normal(0.0001)"))
    assert "scale_off" in found.survived


# Cost, and definitions that are not what they say


def _changed_rows(asked: Workload, name: str = "scale_off") -> list[int]:
    made = subject_of(asked)
    found, right = mutant(name, made).output, made.exact.output
    assert found is not None
    assert right is not None
    rows: list[int] = (found != right).any(-1).any(1).any(0).nonzero()[:, 0].tolist()
    return rows


def test_long_inputs_are_mutated_at_some_rows_from_the_first_to_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = small(dtype="float64", q_len=256, batch=1, heads=2)
    assert _changed_rows(asked) == list(range(256))
    monkeypatch.setattr(subject, "SCORES", 16 * 2 * 256)
    rows = _changed_rows(asked)
    assert len(rows) == 16
    assert rows[0] < 256 / 15
    assert rows[-1] == 255
    assert all(row // (256 / 15) == at for at, row in enumerate(rows[:-1]))
    # Only rows that see a change are of use.
    late = _changed_rows(
        small(dtype="float64", q_len=250, batch=1, heads=2, mask="causal"), "last_key_tile_skipped"
    )
    assert late[-1] == 249
    assert 192 <= late[0] < 200
    assert gate(asked).survived == ()


def _by_all_rows(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
    """Rows depend on each other, though nobody says so."""
    return softmax_attention(q - q.mean(2, keepdim=True), k, v, mask=mask, scale=scale)


def _of_all_rows_only(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
    if q.shape[2] != 256:
        raise ValueError("needs 256 rows")
    return softmax_attention(q, k, v, mask=mask, scale=scale)


@pytest.mark.parametrize("definition", [_by_all_rows, _of_all_rows_only])
def test_a_definition_that_needs_all_rows_gets_them(
    definition: Attend, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = small(dtype="float64", q_len=256, batch=1, mask="causal")
    expected = gate(asked, definition)
    monkeypatch.setattr(subject, "SCORES", 16 * 4 * 256)
    assert not subject_of(asked, definition).by_rows
    assert gate(asked, definition) == expected
    assert subject_of(asked).by_rows


def test_a_definition_that_raises_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def picky(q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
        if scale != 0.25:
            raise ValueError("needs a scale of 0.25")
        return softmax_attention(q, k, v, mask=mask, scale=scale)

    found = gate(small(), picky)
    told = "the definition raised ValueError: needs a scale of 0.25"
    assert found.not_applicable["scale_off"] == told
    assert "zeros" in found.killed

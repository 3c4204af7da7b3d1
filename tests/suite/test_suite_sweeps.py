"""Sweeps, blocks, hashes, devices and extra variants."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.suite import load_suite
from harness.suite import sweep as sweep_module
from harness.suite.sweep import Sweep
from harness.workload import VariantSpec, Workload

Edited = Callable[[str, str], str]
Write = Callable[[str], str]
FAST = VariantSpec("blocked", (("size", 64), ("kernel", "fast")))


def test_lists_multiply_in_the_order_of_the_file(good: str) -> None:
    suite = load_suite(good)
    found = [(b.workload.heads, b.workload.q_len, b.workload.mask) for b in suite.blocks()]
    assert found == list(itertools.product([2, 4], [8, 16], ["none", "causal"]))
    assert suite.counts() == (8, 24)


def test_variants_sweep_and_defaults_are_left_out(good: str) -> None:
    suite = load_suite(good)
    texts = [str(variant) for variant in suite.variants]
    assert texts == ["plain", "blocked(size=64, kernel=fast)", "blocked(kernel=fast)"]
    assert suite.baseline == VariantSpec("plain")


def test_a_block_holds_every_variant_on_its_workload(good: str) -> None:
    suite = load_suite(good)
    blocks = list(suite.blocks())
    assert all(block.baseline == suite.baseline for block in blocks)
    assert all(tuple(c.variant for c in b.cases) == suite.variants for b in blocks)
    assert all(case.workload == block.workload for block in blocks for case in block.cases)
    assert len({block.id for block in blocks}) == len(blocks)
    assert [b.id for b in load_suite(good).blocks()] == [b.id for b in blocks]


def test_blocks_are_made_one_at_a_time(good: str, monkeypatch: pytest.MonkeyPatch) -> None:
    suite, made = load_suite(good), []
    whole = Sweep.combinations

    def counting(self: Sweep) -> Any:
        for fields in whole(self):
            made.append(fields)
            yield fields

    monkeypatch.setattr(Sweep, "combinations", counting)
    next(suite.blocks())
    assert len(made) == 1


def test_a_null_length_follows_the_queries(edited: Edited) -> None:
    suite = load_suite(edited("heads: [2, 4]", "kv_len: [null, 32]"))
    assert {b.workload.kv_len for b in suite.blocks()} == {8, 16, 32}


def test_decode_sweeps_the_cache(edited: Edited) -> None:
    text = "q_len: [8, 16]\n    mask: [none, causal]"
    path = edited(f"pass: forward\n    heads: [2, 4]\n    {text}", "{pass: decode, kv_len: [4, 8]}")
    assert [(b.workload.q_len, b.workload.kv_len) for b in load_suite(path).blocks()] == [
        (1, 4),
        (1, 8),
    ]


@pytest.mark.parametrize(
    ("written", "cuda", "option", "devices"),
    [
        (None, False, "auto", ["cpu"]),
        (None, True, "auto", ["cuda"]),
        ("auto", True, "auto", ["cuda"]),
        ("cpu", True, "auto", ["cpu"]),
        ("[cpu, cuda]", False, "auto", ["cpu", "cuda"]),
        ("[auto, cpu]", False, "auto", ["cpu"]),
        ("[cpu, cuda]", False, "cpu", ["cpu"]),
        ("cpu", False, "cuda", ["cuda"]),
    ],
)
def test_the_device_is_resolved(
    edited: Edited, written: str | None, cuda: bool, option: Any, devices: list[str]
) -> None:
    path = edited("heads: [2, 4]", f"device: {written}" if written else "heads: 2")
    suite = load_suite(path, cuda=cuda, device=option)
    assert list(dict.fromkeys(b.workload.device for b in suite.blocks())) == devices
    assert suite.counts()[0] == 4 * len(devices)


def test_extra_variants_come_last_and_once(good: str) -> None:
    more = VariantSpec("blocked", (("ratio", 2.0),))
    suite = load_suite(good, variants=[FAST, more, more])
    assert suite.variants[-1] == more
    assert suite.variants.count(FAST) == suite.variants.count(more) == 1
    assert suite.overrides.as_dict()["variant"] == ["blocked(ratio=2.0)"]


def test_the_hash_is_that_of_what_runs(good: str, edited: Edited) -> None:
    first = load_suite(good).hash
    assert load_suite(edited("name: small", "name: small\ndescription: new # x")).hash == first
    entries = "heads: 2\n    q_len: [8, 16]\n    mask: [none, causal]\n  - heads: 4"
    assert load_suite(edited("pass: forward\n    heads: [2, 4]", entries)).hash == first
    changed = [("[64, 128]", "64"), ("[8, 16]", "[8, 17]"), ("budget_s: 1", "budget_s: 2")]
    changed += [
        ("name: small", "name: other"),
        ("baseline: plain", "baseline: {blocked: {size: 64, kernel: fast}}"),
    ]
    hashes = {load_suite(edited(old, new)).hash for old, new in changed}
    assert len(hashes) == len(changed)
    assert first not in hashes
    path = edited("name: small", "name: small")
    assert load_suite(path, where=["heads==2"]).hash != first
    assert load_suite(path, where=["heads>=2"]).hash == first


def test_the_resolved_suite_is_plain_values(good: str) -> None:
    found = load_suite(good, where=["q_len==8"], overrides=["heads=2"]).as_dict()
    assert yaml.safe_load(yaml.safe_dump(found)) == found
    assert found["workloads"][0]["kv_heads"] == 2
    assert found["baseline"] == {"name": "plain", "params": {}}
    assert found["overrides"] == {
        "where": ["q_len==8"],
        "set": ["heads=2"],
        "variant": [],
        "device": "auto",
    }


def test_the_source_is_kept_as_read(good: str) -> None:
    suite = load_suite(good)
    assert suite.text.startswith("name: small\n")
    assert str(suite.path) == good


def test_the_limit_counts_what_the_lists_multiply_to(
    good: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "MAX_CASES", 24)
    assert load_suite(good).counts() == (8, 24)


AXES = {
    "heads": st.sampled_from([1, 2, 4, 8]),
    "q_len": st.integers(1, 64),
    "mask": st.sampled_from(["none", "causal", "window(4)", "causal+padding(0.5)"]),
    "dtype": st.sampled_from(["float32", "bfloat16"]),
    "compile": st.booleans(),
    "pass": st.sampled_from(["forward", "backward"]),
    "threads": st.integers(1, 4),
}
LISTS = {name: st.lists(value, min_size=1, max_size=3, unique=True) for name, value in AXES.items()}


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    entry=st.fixed_dictionaries(
        {"q_len": LISTS["q_len"]}, optional={n: v for n, v in LISTS.items() if n != "q_len"}
    )
)
def test_counts_are_those_of_the_blocks(write: Write, entry: dict[str, list[Any]]) -> None:
    text = yaml.safe_dump(
        {"name": "x", "variants": ["plain", "blocked"], "baseline": "plain", "workloads": [entry]}
    )
    suite = load_suite(write(text))
    blocks = list(suite.blocks())
    assert suite.counts() == (len(blocks), sum(len(block.cases) for block in blocks))
    assert len(blocks) == math.prod(len(values) for values in entry.values())
    assert all(isinstance(block.workload, Workload) for block in blocks)

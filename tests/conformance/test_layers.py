"""Every test that takes `layer` runs on every registered layer, and on some ops lifted."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.measure import calls
from harness.variant import Variant, hindrance, measured
from harness.workload import Workload
from tests.build import workload
from tests.conformance.contract import assert_matches, inputs_of, run
from tests.measure.claims import semantics_of

SHAPE: dict[str, Any] = {"level": "layer", "batch": 2, "heads": 4, "head_dim": 4}
IMAGE: dict[str, Any] = {"level": "layer", "batch": 2, "heads": 2, "channels": 32}
MASKS = ("none", "causal", "padding(0.6)", "window(4)", "causal+padding(0.5)")
PASSES = ("forward", "forward+backward")


def asked_of(layer: Variant, **fields: Any) -> Workload:
    """A small workload that the layer takes: a sequence, causal or not, or else an image."""
    for mask in ("none", "causal"):
        sequence = workload(**{"q_len": 21, "mask": mask, **SHAPE, **fields})
        if hindrance(layer, sequence) is None:
            return sequence
    for height, width in ((5, 7), (4, 8)):
        sizes = {"height": height, "width": width, "footprint": 3}
        image = Workload.model_validate({**IMAGE, **sizes, **fields})
        if hindrance(layer, image) is None:
            return image
    return image


def require(layer: Variant, asked: Workload) -> None:
    """Skip the check, with the layer's own reason, where it does not run the workload."""
    reason = hindrance(layer, asked)
    if reason is not None:
        assert len(reason.split()) > 3, "a reason is a sentence"
        pytest.skip(f"{layer.spec}: {reason}")


def test_runs_float32_on_the_cpu(layer: Variant) -> None:
    """All do, but what says that it needs a GPU."""
    asked = asked_of(layer)
    reason = hindrance(layer, asked)
    assert reason is None or "needs an NVIDIA GPU" in reason
    require(layer, asked)
    assert_matches(*measured(layer, asked))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("pass_", PASSES)
def test_output_and_gradients_equal_the_definition(layer: Variant, mask: str, pass_: str) -> None:
    asked = asked_of(layer, mask=mask, dtype="float64", **{"pass": pass_})
    require(layer, asked)
    assert_matches(*measured(layer, asked))


def test_scale_of_the_workload(layer: Variant) -> None:
    asked = asked_of(layer, scale=0.7, dtype="float64")
    require(layer, asked)
    assert_matches(*measured(layer, asked))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtypes(layer: Variant, dtype: str) -> None:
    asked = asked_of(layer, dtype=dtype, **{"pass": "forward+backward"})
    require(layer, asked)
    assert_matches(*measured(layer, asked))


def test_cross_attention(layer: Variant) -> None:
    asked = workload(**SHAPE, q_len=9, kv_len=21, dtype="float64", **{"pass": "forward+backward"})
    require(layer, asked)
    assert_matches(*measured(layer, asked))


@pytest.mark.parametrize("pass_", PASSES)
@pytest.mark.parametrize("mask", MASKS)
def test_holds_what_it_claims(layer: Variant, mask: str, pass_: str) -> None:
    """Causality, windows, padding, batch independence, permutation, freshness, determinism."""
    asked = asked_of(layer, mask=mask, **{"pass": pass_})
    require(layer, asked)
    found = semantics_of(*measured(layer, asked))
    assert found.broken == {}
    assert {"batch_independence", "determinism", "freshness"} <= set(found.held)


def test_gradients_of_parameters_equal_the_definitions(layer: Variant) -> None:
    asked = asked_of(layer, dtype="float64", **{"pass": "forward+backward"})
    require(layer, asked)
    op, shapes = measured(layer, asked)
    mask = shapes.build_mask()
    x, context, _ = inputs_of(shapes)
    module = op.prepare(shapes, mask)
    assert isinstance(module, torch.nn.Module)
    module = module.double()
    weights = dict(module.named_parameters())
    assert weights, "a layer has parameters"
    inside = module.module
    assert isinstance(inside, torch.nn.Module)
    found = torch.autograd.grad(module(x, context, context).square().sum(), list(weights.values()))
    given = x[:, 0]
    defined = op.layer.definition(inside, given, given, mask=mask)  # type: ignore[attr-defined]
    expected = torch.autograd.grad(defined.square().sum(), list(weights.values()))
    # Some are 0 in exact arithmetic, as that of the keys' bias under softmax.
    allowed = 1e-9 * max(float(gradient.abs().max()) for gradient in expected)
    for name, one, other in zip(weights, found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=allowed), name


def test_two_of_one_definition_have_the_same_parameters(layer: Variant) -> None:
    """What is drawn follows from the workload's seed alone, and global generators stay."""
    op, shapes = measured(layer, asked_of(layer))
    before = torch.get_rng_state()
    once, twice = (op.prepare(shapes, shapes.build_mask()) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    for one, other in zip(once.parameters(), twice.parameters(), strict=True):  # type: ignore[attr-defined]
        assert torch.equal(one, other)


def test_says_what_it_costs(layer: Variant) -> None:
    asked = asked_of(layer)
    op, shapes = measured(layer, asked)
    module = op.prepare(shapes, shapes.build_mask())
    assert isinstance(module, torch.nn.Module)
    cost = layer_cost(layer, asked)
    assert cost.parameters == sum(weight.numel() for weight in module.parameters())
    assert cost.flops is not None
    assert cost.flops >= (cost.projection_flops or 0)
    trained = asked.model_copy(update={"pass_": "forward+backward"})
    training = layer_cost(layer, trained)
    assert training.flops is not None
    assert 2.5 * cost.flops <= training.flops <= 4.5 * cost.flops


def layer_cost(layer: Variant, asked: Workload) -> Any:
    """What the measured op claims."""
    op, shapes = measured(layer, asked)
    return op.cost(shapes)


def test_inputs_are_not_written(layer: Variant) -> None:
    asked = asked_of(layer)
    require(layer, asked)
    op, shapes = measured(layer, asked)
    inputs = inputs_of(shapes)
    copies = [tensor.clone() for tensor in inputs]
    run(op, shapes, inputs)
    assert all(torch.equal(a, b) for a, b in zip(inputs, copies, strict=True))


def test_gradients_of_what_is_not_read_are_zero(layer: Variant) -> None:
    asked = asked_of(layer, **{"pass": "backward"})
    require(layer, asked)
    op, shapes = measured(layer, asked)
    values = inputs_of(shapes)
    q, k, v = (tensor.requires_grad_() for tensor in values)
    gradient = torch.ones_like(q)
    call = calls.prepare(op, shapes, shapes.build_mask(), calls.Buffers(q, k, v, gradient))
    call.before()
    produced = call.produced(call.run())
    assert len(produced.gradients) == 3
    assert bool(produced.gradients[0].any())
    assert not bool(produced.gradients[1].any() or produced.gradients[2].any())

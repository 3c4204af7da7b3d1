"""Image self-attention against loops over pixels, and whole networks against their sizes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.device import CpuDevice
from harness.measure import memory
from harness.variant import measured
from harness.workload import Workload
from tests.build import variant_named
from tests.conformance.contract import inputs_of
from variants.san import SAN_DEPTHS, San
from variants.san.attention import ImageAttention, Pairwise, Patchwise
from variants.san.counting import multiply_adds
from variants.san.relations import PAIRWISE, PATCHWISE

CHANNELS, HEIGHT, WIDTH = 32, 5, 7


def _mirrored(at: int, size: int) -> int:
    """Reflected at the edges, which are not repeated."""
    at = abs(at)
    return 2 * (size - 1) - at if at >= size else at


def _pixel(image: Tensor, row: int, column: int) -> Tensor:
    return image[:, _mirrored(row, image.shape[1]), _mirrored(column, image.shape[2])]


def _normed(norm: nn.BatchNorm2d, values: Tensor) -> Tensor:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scaled = (values - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps)
    return scaled * norm.weight + norm.bias


def _gamma(module: ImageAttention, delta: Tensor) -> Tensor:
    hidden = module.first.weight[:, :, 0, 0] @ _normed(module.norm_in, delta).clamp(min=0)
    hidden = _normed(module.norm_hidden, hidden).clamp(min=0)
    assert module.second.bias is not None
    return module.second.weight[:, :, 0, 0] @ hidden + module.second.bias


def _pair(relation: str, phi: Tensor, psi: Tensor) -> Tensor:
    if relation == "dot_product":
        return (phi * psi).sum()[None]
    kinds = {
        "subtraction": phi - psi,
        "summation": phi + psi,
        "hadamard": phi * psi,
        "concatenation": torch.cat([phi, psi]),
    }
    return kinds[relation]


def _patch(relation: str, phi: Tensor, psi: list[Tensor], phis: list[Tensor]) -> Tensor:
    if relation == "star_product":
        return torch.stack([(phi * one).sum() for one in psi])
    if relation == "clique_product":
        return torch.stack([(a * b).sum() for a in phis for b in psi])
    # A channel of psi at a time, with all of its window.
    return torch.cat([phi, torch.stack(psi, 1).flatten()])


def _conv(layer: nn.Conv2d, image: Tensor) -> Tensor:
    assert layer.bias is not None
    mapped = torch.einsum("oc,chw->ohw", layer.weight[:, :, 0, 0], image)
    return mapped + layer.bias[:, None, None]


def _weights(module: ImageAttention, relation: str, parts: dict[str, Tensor], at: Any) -> Tensor:
    """(K^2, W) weights of the pixel `at` on its window."""
    row, column = at
    reach = module.footprint // 2
    span = range(-reach, reach + 1)
    places = [(row + i, column + j) for i, j in itertools.product(span, span)]
    phi = parts["phi"][:, row, column]
    psi = [_pixel(parts["psi"], *place) for place in places]
    if isinstance(module, Patchwise):
        phis = [_pixel(parts["phi"], *place) for place in places]
        return _gamma(module, _patch(relation, phi, psi, phis)).view(-1, len(places)).mT
    own = parts["position"][:, row, column]
    scores = []
    for one, place in zip(psi, places, strict=True):
        apart = own - _pixel(parts["position"], *place)
        scores.append(_gamma(module, torch.cat([_pair(relation, phi, one), apart])))
    return torch.stack(scores).softmax(0)


def looped(module: ImageAttention, relation: str, image: Tensor) -> Tensor:
    """The formula, pixel by pixel, neighbour by neighbour, channel by channel."""
    parts = {name: _conv(getattr(module, name), image) for name in ("phi", "psi", "beta")}
    _, height, width = image.shape
    if isinstance(module, Pairwise):
        coordinates = torch.empty(2, height, width, dtype=image.dtype)
        for row, column in itertools.product(range(height), range(width)):
            coordinates[0, row, column] = -1 + 2 * column / (width - 1)
            coordinates[1, row, column] = -1 + 2 * row / (height - 1)
        parts["position"] = _conv(module.position, coordinates)
    reach = module.footprint // 2
    span = range(-reach, reach + 1)
    output = torch.zeros_like(parts["beta"])
    for row, column in itertools.product(range(height), range(width)):
        weights = _weights(module, relation, parts, (row, column))
        for k, (i, j) in enumerate(itertools.product(span, span)):
            values = _pixel(parts["beta"], row + i, column + j)
            for channel in range(len(values)):
                weight = weights[k, channel % weights.shape[1]]
                output[channel, row, column] += weight * values[channel]
    return output


def _module(kind: str, relation: str, kernel: str, footprint: int, channels: int) -> ImageAttention:
    torch.manual_seed(5)
    made = {"pairwise": Pairwise, "patchwise": Patchwise}[kind]
    module = made(channels, footprint, relation, kernel).double().eval()
    for norm in (module.norm_in, module.norm_hidden):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        nn.init.normal_(norm.running_mean, std=0.1)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        nn.init.normal_(norm.bias, std=0.3)
    return module


RELATIONS = [("pairwise", name) for name in PAIRWISE] + [("patchwise", name) for name in PATCHWISE]


@pytest.mark.parametrize("kernel", ["unfold", "fused"])
@pytest.mark.parametrize("footprint", [3, 5])
@pytest.mark.parametrize(("kind", "relation"), RELATIONS)
def test_equals_the_loops(kind: str, relation: str, footprint: int, kernel: str) -> None:
    # 64 channels, so that there are two weights to share out.
    channels = 64 if footprint == 3 else CHANNELS
    module = _module(kind, relation, kernel, footprint, channels)
    image = torch.randn(channels, HEIGHT, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        found, expected = module(image[None])[0], looped(module, relation, image)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kernel", ["unfold", "fused"])
@pytest.mark.parametrize(("kind", "relation"), RELATIONS)
def test_gradients(kind: str, relation: str, kernel: str) -> None:
    module = _module(kind, relation, kernel, 3, CHANNELS)
    image = torch.randn(1, CHANNELS, 2, 3, dtype=torch.float64, requires_grad=True)
    given = (image, *module.learnt())

    def output(*_: Tensor) -> Tensor:
        result: Tensor = module(image)
        return result

    assert torch.autograd.gradcheck(output, given, fast_mode=True)


def test_fused_refuses_to_normalise_a_batch_by_tiles() -> None:
    module = _module("pairwise", "subtraction", "fused", 3, CHANNELS).train()
    with pytest.raises(ValueError, match=r"call eval\(\), or use unfold"):
        module(torch.randn(2, CHANNELS, HEIGHT, WIDTH, dtype=torch.float64))


PARAMETERS = {  # Table 3 of the paper and the README of its code, in millions
    ("pairwise", 10): 10.5,
    ("pairwise", 15): 14.1,
    ("pairwise", 19): 17.6,
    ("patchwise", 10): 11.8,
    ("patchwise", 15): 16.2,
    ("patchwise", 19): 20.5,
}
MULTIPLY_ADDS = {  # the same, in thousand millions, of an image of 224 x 224
    ("pairwise", 10): 2.2,
    ("pairwise", 15): 3.0,
    ("pairwise", 19): 3.8,
    ("patchwise", 10): 1.9,
    ("patchwise", 15): 2.6,
    ("patchwise", 19): 3.3,
}


@pytest.mark.parametrize("kind", ["pairwise", "patchwise"])
@pytest.mark.parametrize("depth", [10, 15, 19])
def test_parameters_are_the_papers(kind: Any, depth: Any) -> None:
    with torch.device("meta"):
        network = San(depth, kind)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert round(count / 1e6, 1) == PARAMETERS[kind, depth]


@pytest.mark.parametrize("kind", ["pairwise", "patchwise"])
@pytest.mark.parametrize("depth", [10, 15, 19])
def test_multiply_adds_are_the_papers(kind: Any, depth: Any) -> None:
    count = multiply_adds(depth, kind, size=224)
    assert round(count / 1e9, 1) == MULTIPLY_ADDS[kind, depth]


def test_a_network_classifies() -> None:
    network = San(10, "pairwise", classes=3).eval()
    with torch.no_grad():
        logits = network(torch.randn(1, 3, 128, 128))
    assert logits.shape == (1, 3)
    assert logits.isfinite().all()
    assert set(SAN_DEPTHS) == {10, 15, 19}


@pytest.mark.parametrize("kind", ["san_pairwise", "san_patchwise"])
def test_fused_needs_an_eighth_of_the_memory(kind: str) -> None:
    image = {"height": 56, "width": 56, "channels": 64, "footprint": 7}
    asked = Workload.model_validate({"level": "layer", "batch": 4, **image})
    peaks = {}
    for kernel in ("unfold", "fused"):
        op, shapes = measured(variant_named(f"{kind}(kernel={kernel})"), asked)
        q, k, v = inputs_of(shapes)
        module = op.prepare(shapes, shapes.build_mask())
        with torch.no_grad():
            used, _ = memory.measure(CpuDevice(), lambda: module(q, k, v))  # noqa: B023
        peaks[kernel] = used.peak_bytes
    assert 8 * peaks["fused"] <= peaks["unfold"]

"""Every test that takes `op` or `compiled_op` runs on every registered variant."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.conformance.contract import layers, names, teams, variants


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture, compiled in (("op", False), ("compiled_op", True)):
        if fixture in metafunc.fixturenames:
            ops = variants(compiled)
            metafunc.parametrize(fixture, ops, ids=names(ops))
    if "team" in metafunc.fixturenames:
        metafunc.parametrize("team", teams(), ids=names(teams()))
    if "layer" in metafunc.fixturenames:
        metafunc.parametrize("layer", layers(), ids=names(layers()))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Shapes are tiny here: waking a second thread costs more than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

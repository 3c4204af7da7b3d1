"""Fixtures that more than one folder uses."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator

import pytest
import torch

from harness import variant
from harness.variant import registry


@pytest.fixture
def installed() -> Iterator[None]:
    """The installed variants are registered; what a test registers or loads is forgotten."""
    variant.load_installed()
    before = variant.registered()
    modules = set(sys.modules)
    yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(before)
    for name in set(sys.modules) - modules:
        if name.startswith("attnbench_file_"):
            del sys.modules[name]


@pytest.fixture
def compiler() -> Iterator[None]:
    """torch.compile with an empty cache of compiled functions."""
    with warnings.catch_warnings():
        # torch's own modules use what torch deprecates.
        warnings.simplefilter("ignore")
        importlib.import_module("torch._inductor.compile_fx")
    torch.compiler.reset()
    yield
    torch.compiler.reset()

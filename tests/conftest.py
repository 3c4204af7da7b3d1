"""Fixtures that more than one folder uses."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

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

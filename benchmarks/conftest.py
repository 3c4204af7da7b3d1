"""What benchmarks of kernels share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.test_kernels import CONTENDERS
from harness import variant
from harness.execute.workers import Workers


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Workers that know the contenders."""
    variant.load_installed()
    variant.load_file(CONTENDERS)
    with Workers() as started:
        yield started

"""One fork server for a whole file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.execute.workers import Workers


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """Workers whose server is started once."""
    with Workers() as made:
        yield made

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from harness.measure.process import ProcessSettings


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda: torch.set_num_threads(torch.get_num_threads() + 1), "threads from"),
        (lambda: torch.set_float32_matmul_precision("medium"), "precision from highest to medium"),
        (lambda: torch.set_default_dtype(torch.float64), "to torch.float64"),
        (lambda: torch.set_grad_enabled(False), "grad mode from True to False"),
        (
            lambda: setattr(functional, "scaled_dot_product_attention", torch.matmul),
            "torch.nn.functional.scaled_dot_product_attention",
        ),
    ],
)
def test_a_changed_setting_is_named_and_put_back(change: Callable[[], None], named: str) -> None:
    settings = ProcessSettings()
    assert settings.restore() is None
    change()
    found = settings.restore()
    assert found is not None
    assert named in found
    assert settings.restore() is None

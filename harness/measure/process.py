"""Settings of the whole process, which one variant may change and all are then timed under."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

_SETTINGS: tuple[tuple[str, Callable[[], Any], Callable[[Any], Any]], ...] = (
    ("threads", torch.get_num_threads, torch.set_num_threads),
    (
        "float32 matmul precision",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    ("default dtype", torch.get_default_dtype, torch.set_default_dtype),
    ("grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
    (
        "deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
)
_PATCHED = ((torch, "matmul"), (torch, "softmax"), (functional, "scaled_dot_product_attention"))


class ProcessSettings:
    """What the settings were when this was made, to be compared after each call."""

    def __init__(self) -> None:
        self._held = [read() for _, read, _ in _SETTINGS]
        self._functions = [getattr(module, name) for module, name in _PATCHED]

    def restore(self) -> str | None:
        """Put back what has changed since; names it, None where nothing has."""
        changes = []
        for (name, read, write), held in zip(_SETTINGS, self._held, strict=True):
            now = read()
            if now != held:
                write(held)
                changes.append(f"{name} from {held} to {now}")
        for (module, name), function in zip(_PATCHED, self._functions, strict=True):
            if getattr(module, name) is not function:
                setattr(module, name, function)
                changes.append(f"{module.__name__}.{name}")
        if not changes:
            return None
        return f"changes what every variant here is timed under: {', '.join(changes)}"

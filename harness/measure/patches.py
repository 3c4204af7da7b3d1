"""Functions that all variants of a process share: by identity, against those there were before."""

from __future__ import annotations

import builtins
import math
import random
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import repeat
from types import ModuleType
from typing import Any

import torch
from torch.nn import functional

from harness.variant import registered

_MODULES = (
    torch,
    torch._C,
    torch._C._nn,
    torch.autograd,
    torch.cuda,
    torch.linalg,
    functional,
    builtins,
    math,
    random,
    time,
)
_CLASSES = (torch.Tensor, torch.autograd.Function)
_OFTEN: tuple[tuple[Any, str], ...] = (
    (torch, "bmm matmul softmax einsum no_grad baddbmm exp"),
    (torch.Tensor, "__matmul__ __mul__ matmul softmax masked_fill copy_ clone"),
    (functional, "scaled_dot_product_attention softmax linear"),
    (torch.autograd, "grad backward"),
    (torch.cuda, "synchronize current_stream"),
    (time, "perf_counter perf_counter_ns monotonic monotonic_ns time process_time sleep"),
)
_ABSENT: Any = object()
Owner = ModuleType | type


class Functions:
    """Which functions torch, the clocks, the harness and its variants had when this was made.

    Only what was there is compared: a module that is imported later adds names, and may.
    """

    def __init__(self) -> None:
        self._held: dict[Owner, tuple[list[str], list[Any]]] = {}
        self.extend()
        self._often = [
            (owner, vars(owner), name, vars(owner).get(name, _ABSENT))
            for owner, names in _OFTEN
            for name in names.split()
        ]

    def extend(self) -> None:
        """Hold also what was imported or registered since."""
        for owner in _owners():
            if owner not in self._held:
                contents = _contents(owner)
                self._held[owner] = list(contents), list(contents.values())

    def restore(self, *, often: bool = False) -> list[str]:
        """Put back what was replaced; its names. With `often`, only what is called most."""
        if often:
            return [
                _put_back(owner, name, held)
                for owner, now, name, held in self._often
                if now.get(name, _ABSENT) is not held
            ]
        return [
            _put_back(owner, name, held)
            for owner, (names, values) in self._held.items()
            # All of an owner at once, for speed; == looks at identity first.
            if [*map(vars(owner).get, names, repeat(_ABSENT))] != values
            for name, held in zip(names, values, strict=True)
            if vars(owner).get(name, _ABSENT) is not held
        ]


def _owners() -> Iterator[Owner]:
    yield from _MODULES
    yield from _CLASSES
    homes = {cls.__module__ for cls in registered().values()}
    names = [name for name in sys.modules if name.split(".")[0] == "harness" or name in homes]
    for name in sorted(names):
        module = sys.modules[name]
        yield module
        for value in list(vars(module).values()):
            if isinstance(value, type) and value.__module__ == name:
                yield value


def _contents(owner: Owner) -> Mapping[str, Any]:
    """What of a module or class is compared: all that can be called, of ours the constants too.

    A class may be patched by giving it a name that it has inherited so far: that is held absent.
    """
    own = dict(vars(owner))
    if isinstance(owner, ModuleType):
        ours = owner.__name__.split(".")[0] == "harness"
        return {n: v for n, v in own.items() if callable(v) or (ours and not n.startswith("__"))}
    inherited = {name for base in owner.__mro__[1:-1] for name in vars(base)}
    held = {n: v for n, v in own.items() if callable(v) or not n.startswith(("__", "_abc_"))}
    return {**dict.fromkeys(inherited - set(own), _ABSENT), **held}


def _put_back(owner: Owner, name: str, held: Any) -> str:
    if held is _ABSENT:
        delattr(owner, name)
    else:
        setattr(owner, name, held)
    home = "" if isinstance(owner, ModuleType) else f"{owner.__module__}."
    return f"{home}{owner.__name__}.{name}".removeprefix("builtins.").replace(
        "torch._tensor.", "torch."
    )

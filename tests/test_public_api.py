from __future__ import annotations

import subprocess
import sys

import pytest

import harness

PARAMETERLESS = ("Attention",)  # an alias of a type: it has no docstring of its own


def _fresh(program: str) -> str:
    run = [sys.executable, "-c", program]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("name", harness.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    found = getattr(harness, name)
    if name not in PARAMETERLESS:
        assert found.__doc__, f"{name} has no docstring"
        own = type(found).__doc__ if not isinstance(found, type) else object.__doc__
        assert found.__doc__ != own
        # A dataclass or a named tuple without one is given its signature for a docstring.
        assert not found.__doc__.startswith(f"{name}(")


def test_names_are_sorted_and_each_has_a_home() -> None:
    assert list(harness.__all__) == sorted(harness.__all__)
    assert set(harness.__all__) == set(harness._HOME)
    assert harness.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'atention'"):
        harness.atention  # noqa: B018


def test_importing_the_harness_imports_no_torch() -> None:
    heavy = "print([m for m in ('torch', 'numpy', 'pandas', 'matplotlib') if m in sys.modules])"
    assert _fresh(f"import sys, harness; {heavy}") == "[]"
    # The same question, asked where the answer is another one.
    found = _fresh(f"import sys, harness; harness.Mask; {heavy}")
    assert "torch" in found

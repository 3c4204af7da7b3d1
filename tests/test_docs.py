"""The docs name every variant and every suite that ships, and none that does not."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import variants
from harness import variant
from harness.suite import shipped

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| `(?P<name>[\w/-]+)` \|(?P<rest>.*)\|$", re.M)


def rows(section: str) -> dict[str, str]:
    """The rest of each table row by the name in its first cell, of one part of the catalogue."""
    text = (ROOT / "docs" / "catalogue.md").read_text(encoding="utf-8")
    (part,) = [part for part in text.split("\n## ")[1:] if part.startswith(section)]
    found = [(row["name"], row["rest"]) for row in ROW.finditer(part)]
    assert len(dict(found)) == len(found), "a name has two rows"
    return dict(found)


def classes() -> Iterator[tuple[str, type[variant.Variant]]]:
    for found in pkgutil.iter_modules(variants.__path__):
        importlib.import_module(f"variants.{found.name}")
    variant.load_installed()
    for name, cls in variant.registered().items():
        if cls.__module__.split(".")[0] == "variants":
            yield name, cls


def test_every_variant_has_its_row_and_every_row_its_variant() -> None:
    assert set(rows("Variants")) == {name for name, _ in classes()}


def test_every_suite_has_its_row_and_every_row_its_suite() -> None:
    assert set(rows("Suites")) == set(shipped())


def test_the_row_of_a_variant_names_its_parameters() -> None:
    said = rows("Variants")
    for name, cls in classes():
        cell = said[name].split("|")[1]
        missing = [field for field in variant.parameters(cls) if f"`{field}`" not in cell]
        assert not missing, f"docs/catalogue.md: {name} has no {missing}"
        named = set(re.findall(r"`(\w+)`", cell))
        assert named <= set(variant.parameters(cls)), f"docs/catalogue.md: {name}"


def test_approximations_stand_under_their_heading() -> None:
    text = (ROOT / "docs" / "catalogue.md").read_text(encoding="utf-8")
    (part,) = [p for p in text.split("\n### ") if p.startswith("Approximations")]
    said = {row["name"] for row in ROW.finditer(part)}
    assert said == {name for name, cls in classes() if cls.approximates}


def test_a_paper_that_the_docs_name_stands_in_the_file_of_the_variant() -> None:
    said = rows("Variants")
    for name, cls in classes():
        module = inspect.getmodule(cls)
        assert module is not None
        known = (module.__doc__ or "") + "".join(
            inspect.getdoc(base) or "" for base in cls.__mro__[:-2]
        )
        for paper in re.findall(r"arxiv.org/abs/([0-9.]+)\)", said[name]):
            assert paper in known, f"docs/catalogue.md: {name} cites {paper}, its file does not"


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_suite_opens_with_its_question(name: str) -> None:
    first = shipped()[name].read_text(encoding="utf-8").split("\nname:")[0]
    assert first.startswith("# ")
    assert "?" in first


def test_the_readme_leads_to_the_catalogue() -> None:
    assert "](docs/catalogue.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_docs_say_why_dropout_is_left_out() -> None:
    text = (ROOT / "docs" / "catalogue.md").read_text(encoding="utf-8")
    assert "incomparable" in text.split("### No dropout")[1]

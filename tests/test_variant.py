"""The registry, variant files, parameters and what identifies a variant."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from harness.errors import VariantError
from harness.mask import Mask
from harness.variant import (
    AttentionOp,
    build,
    create,
    definition_key,
    family_of,
    get,
    load_file,
    parameters,
    parse_spec,
    register,
    registered,
    source_file,
    source_hash,
)
from harness.workload import VariantSpec
from tests.build import workload

pytestmark = pytest.mark.usefixtures("installed")

FILE = '''
from dataclasses import dataclass
from harness import AttentionOp, register

@register("{name}")
@dataclass(frozen=True)
class Mine(AttentionOp):
    """Mine."""
    width: int = 3
    def forward(self, q, k, v, *, mask, scale):
        return mask.softmax(q @ k.mT * scale) @ v
'''


@dataclass(frozen=True)
class Typed(AttentionOp):
    """A variant with one parameter of each kind."""

    size: int
    ratio: float = 0.5
    fast: bool = False
    kind: Literal["plain", "other"] = "plain"


def _write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def _error(call: Any, *arguments: Any) -> str:
    with pytest.raises(VariantError) as error:
        call(*arguments)
    return str(error.value)


def test_register_keeps_the_class_and_names_it() -> None:
    assert register("typed")(Typed) is Typed
    assert Typed.name == "typed"
    assert get("typed") is Typed
    assert list(registered()) == sorted(registered())


def test_registered_is_a_copy() -> None:
    dict(registered()).clear()
    assert "softmax" in registered()


@pytest.mark.parametrize("name", ["My_Attention", "3d", "a-b", "", "a(b)"])
def test_register_refuses_a_bad_name(name: str) -> None:
    message = _error(register(name), Typed)
    assert message == (
        f"variant {name!r} in {__file__}: a name is small letters, digits and _; "
        "write one such as my_attention"
    )


def test_register_refuses_a_taken_name() -> None:
    message = _error(register("softmax"), Typed)
    assert message.startswith(f"variant 'softmax' in {__file__}: the name is taken by ")
    assert message.endswith("softmax.py; choose another name")


def test_register_refuses_what_is_no_dataclass() -> None:
    class Plain(AttentionOp):
        """No dataclass."""

    message = _error(register("plain"), Plain)
    assert (
        "Plain must derive from AttentionOp or AttentionLayer and be a frozen dataclass" in message
    )
    assert "write @register above @dataclass(frozen=True)" in message
    assert "plain" not in registered()


def test_get_suggests_near_names() -> None:
    assert _error(get, "sofmax") == "unknown variant 'sofmax'; did you mean softmax?"
    assert _error(get, "zzz") == f"unknown variant 'zzz'; use one of {', '.join(registered())}"


def test_load_file_registers_once(tmp_path: Path) -> None:
    path = _write(tmp_path, FILE.format(name="mine"))
    assert load_file(path) == ("mine",)
    assert load_file(path) == ("mine",)
    assert source_file(get("mine")) == str(path)


def test_load_file_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "none.py"
    assert _error(load_file, path) == (f"{path}: not a Python file; name a file that ends in .py")
    text = _write(tmp_path, "x = 1", "mine.txt")
    assert _error(load_file, text) == f"{text}: not a Python file; name a file that ends in .py"


def test_load_file_that_registers_nothing(tmp_path: Path) -> None:
    path = _write(tmp_path, "x = 1\n")
    message = f"{path}: registers no variant; decorate a class with @register('my_attention')"
    assert _error(load_file, path) == message
    assert _error(load_file, path) == message


@pytest.mark.parametrize(
    ("text", "where", "cause"),
    [
        ("x = 1\nimport no_such_package\n", ":2", "ModuleNotFoundError: No module named"),
        ("x = 1\n\ndef f(:\n", ":3", "SyntaxError:"),
        ("raise SystemExit(3)\n", ":1", "SystemExit: 3"),
        ("def f():\n    return 1 / 0\nf()\n", ":2", "ZeroDivisionError: division by zero"),
    ],
)
def test_load_file_that_does_not_import(tmp_path: Path, text: str, where: str, cause: str) -> None:
    path = _write(tmp_path, text)
    message = _error(load_file, path)
    assert message.startswith(f"{path}{where}: does not import: {cause}")
    assert message.endswith("; mend the file")


def test_load_file_that_fails_half_way_registers_nothing(tmp_path: Path) -> None:
    path = _write(tmp_path, FILE.format(name="mine") + "\nraise RuntimeError('half-way')\n")
    assert "RuntimeError: half-way" in _error(load_file, path)
    assert "mine" not in registered()
    path.write_text(FILE.format(name="mine"))
    assert load_file(path) == ("mine",)


def test_load_file_with_a_taken_name(tmp_path: Path) -> None:
    path = _write(tmp_path, FILE.format(name="softmax"))
    message = _error(load_file, path)
    assert message.startswith(f"variant 'softmax' in {path}: the name is taken by ")
    assert get("softmax").__name__ == "Softmax"


def test_create_checks_types() -> None:
    register("typed")(Typed)
    assert create("typed", {"size": 2}) == Typed(2)
    assert create("typed", {"size": 2, "ratio": 1.5, "fast": True, "kind": "other"}) == Typed(
        2, 1.5, True, "other"
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"size": "two"}, "typed: size must be int, found 'two' ("),
        ({"size": 2.0}, "typed: size must be int, found 2.0 ("),
        ({"size": True}, "typed: size must be int, found True ("),
        ({"size": 1, "fast": 1}, "typed: fast must be bool, found 1 ("),
        ({"size": 1, "kind": "fast"}, "typed: kind must be plain | other, found 'fast' ("),
        ({"size": 1, "ratoi": 1.0}, "typed: unknown parameter 'ratoi'; did you mean ratio?"),
        ({}, "typed: parameter 'size' has no default; write typed(size=...)"),
    ],
)
def test_create_errors(params: dict[str, Any], message: str) -> None:
    register("typed")(Typed)
    assert _error(create, "typed", params).startswith(message)


def test_create_tells_what_the_constructor_refused() -> None:
    assert _error(create, "polynomial", {"degree": 0}) == (
        "polynomial: degree must be at least 1: degree=0; write 1, 2, 3 or more"
    )


def test_parameters_in_field_order() -> None:
    found = parameters(Typed)
    assert list(found) == ["size", "ratio", "fast", "kind"]
    assert [p.type_text for p in found.values()] == ["int", "float", "bool", "plain | other"]
    assert [p.required for p in found.values()] == [True, False, False, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("softmax", "softmax"),
        (" sdpa( backend = flash ) ", "sdpa(backend=flash)"),
        ("sdpa(backend=auto)", "sdpa"),
        ("polynomial(kernel=naive, degree=2)", "polynomial(degree=2)"),
        ("sdpa(backend='math')", "sdpa(backend=math)"),
        ("softmax()", "softmax"),
    ],
)
def test_parse_spec(text: str, expected: str) -> None:
    assert str(parse_spec(text)) == expected
    assert build(parse_spec(text)).spec == parse_spec(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sdpa(", "cannot read variant 'sdpa('; write name or name(parameter=value)"),
        ("", "cannot read variant ''; write name or name(parameter=value)"),
        ("sdpa(flash)", "cannot read 'flash' in 'sdpa(flash)'; write parameter=value"),
        ("sdpa(backend=)", "cannot read 'backend=' in 'sdpa(backend=)'; write parameter=value"),
        ("sdpa(backend=fast)", "sdpa: backend must be auto | math | flash | efficient | cudnn"),
        ("sdpb", "unknown variant 'sdpb'; did you mean sdpa?"),
    ],
)
def test_parse_spec_errors(text: str, message: str) -> None:
    assert _error(parse_spec, text).startswith(message)


def test_definition_key_is_shared_by_a_family() -> None:
    keys = {definition_key(create(name, {})) for name in ("softmax", "sdpa", "chunked", "flex")}
    assert len(keys) == 1
    assert [own for _, own in keys] == [False]


def test_definition_key_tells_parameters_of_the_definition_apart() -> None:
    cubic, square = (definition_key(create("polynomial", {"degree": n})) for n in (3, 2))
    assert cubic != square
    assert definition_key(create("chunked", {"q_chunk": 8})) == definition_key(
        create("chunked", {"q_chunk": 9})
    )


def test_definition_key_of_a_variant_without_definition(tmp_path: Path) -> None:
    load_file(_write(tmp_path, FILE.format(name="mine")))
    keys = [definition_key(create("mine", {"width": width})) for width in (3, 4)]
    assert keys[0] != keys[1]
    assert all(own for _, own in keys)


def test_two_variants_that_inherit_one_forward_are_each_their_own_truth(tmp_path: Path) -> None:
    template = (
        "from dataclasses import dataclass\nfrom harness import AttentionOp, register\n"
        "class Base(AttentionOp):\n"
        "    def forward(self, q, k, v, *, mask, scale):\n"
        "        return self.weights(q @ k.mT * scale, mask) @ v\n"
    )
    for name, weights in (("soft", "mask.softmax(s)"), ("plain", "mask.zero(s)")):
        template += (
            f"@register('{name}')\n@dataclass(frozen=True)\nclass {name.title()}(Base):\n"
            f"    def weights(self, s, mask):\n        return {weights}\n"
        )
    load_file(_write(tmp_path, template))
    assert definition_key(create("soft", {})) != definition_key(create("plain", {}))


def test_family() -> None:
    assert family_of(create("sdpa", {})) == "softmax"
    register("typed")(Typed)
    assert family_of(Typed(1)) == "typed"


def test_source_hash_follows_the_file_and_its_bases(tmp_path: Path) -> None:
    first = _write(tmp_path, FILE.format(name="mine"))
    second = _write(tmp_path, FILE.format(name="mine2") + "\n# changed\n", "mine2.py")
    load_file(first)
    load_file(second)
    hashes = {source_hash(get(name)) for name in ("mine", "mine2", "softmax", "sdpa")}
    assert len(hashes) == 4
    before = source_hash(get("mine"))
    first.write_text(first.read_text() + "\n# changed\n")
    assert source_hash(get("mine")) != before


def test_source_hash_of_a_variant_that_is_a_package_has_its_kernels(tmp_path: Path) -> None:
    home = tmp_path / "several" / "mine"
    home.mkdir(parents=True)
    for name in ("../__init__.py", "__init__.py", "kernel.py", "../other.py"):
        (home / name).write_text("")
    load_file(_write(home, FILE.format(name="mine")))
    before = source_hash(get("mine"))
    (home / "../other.py").write_text("# changed\n")
    assert source_hash(get("mine")) == before
    (home / "kernel.py").write_text("# changed\n")
    assert source_hash(get("mine")) != before


def test_source_hash_has_what_a_variant_of_a_package_imports(tmp_path: Path) -> None:
    """By the files alone: prefix.py is imported by performer.py, which is a file of its own."""
    home = tmp_path / "several"
    (home / "inner").mkdir(parents=True)
    (home / "a.py").write_text("import os\nfrom several import b\nfrom several.inner.c import x\n")
    (home / "b.py").write_text("def f():\n    import several.d\n")
    for name in ("__init__.py", "d.py", "e.py", "inner/__init__.py", "inner/c.py"):
        (home / name).write_text("x = 1\n")
    program = (
        "import pathlib; from harness.variant.identity import _with_imports; "
        "print(*sorted(p.name for p in _with_imports({pathlib.Path('several/a.py')}, 'several')))"
    )
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["a.py", "b.py", "c.py", "d.py"]


def test_a_class_is_frozen_by_its_own_decorator_and_registered_once(installed: None) -> None:
    class Undecorated(get("window")):  # type: ignore[misc]
        more: int = 1

    @dataclass
    class Mutable(AttentionOp):
        pass

    for cls in (Undecorated, Mutable):
        with pytest.raises(VariantError, match="be a frozen dataclass"):
            register("mine")(cls)
    with pytest.raises(VariantError, match="registered as 'window' already"):
        register("mine")(get("window"))


def test_a_parameter_stands_once() -> None:
    with pytest.raises(VariantError, match="parameter width stands twice"):
        parse_spec("window(width=8, width=16)")


def test_source_hash_of_a_class_without_a_file() -> None:
    made = type("Made", (AttentionOp,), {"__module__": "nowhere"})
    assert len(source_hash(made)) == 64


def test_the_base_class_says_what_is_missing() -> None:
    q = torch.zeros(1, 1, 2, 4)
    with pytest.raises(NotImplementedError, match="Typed defines no forward and no definition"):
        Typed(1).forward(q, q, q, mask=workload(q_len=2).build_mask(), scale=1.0)


def test_forward_alone_is_enough() -> None:
    @dataclass(frozen=True)
    class Mean(AttentionOp):
        """The mean of the values that are attended."""

        def forward(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Mask, scale: float) -> Tensor:
            return mask.softmax(0 * q @ k.mT * scale) @ v

    op, case = Mean(), workload(q_len=4, head_dim=2)
    mask, ones = case.build_mask(), torch.ones(1, 1, 4, 2)
    assert torch.equal(op.prepare(case, mask)(ones, ones, ones), ones)
    assert torch.equal(op.definition(ones, ones, ones, mask=mask, scale=1.0), ones)
    assert op.unsupported(case) is None
    assert op.expected_kernels(case) == ()
    assert op.spec == VariantSpec("")

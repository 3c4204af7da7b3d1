"""Plain YAML within limits: values, and the line on which each of them stands."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

MAX_NODES = 100_000
MAX_DEPTH = 32
MAX_INTEGER = 1 << 62
Place = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
# Dates, `<<` and `=` have no meaning in a suite: they are read as the text that they are.
_TEXT = frozenset(_TAG + name for name in ("str", "timestamp", "merge", "value"))
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")
_TOO_MANY = f"more than {MAX_NODES:,} values, aliases written out; write a shorter file"
_TOO_DEEP = f"nested more than {MAX_DEPTH} deep; write name, variants, baseline and workloads"


class RefusedError(Exception):
    """Text that is not plain YAML: what is wrong, on which line, at which place."""

    def __init__(self, text: str, line: int, place: Place = ()) -> None:
        super().__init__(text)
        self.text, self.line, self.place = text, line, place


def parse_plain(text: str) -> tuple[Any, dict[Place, int]]:
    """The value of one YAML document and the lines of its parts; raises RefusedError."""
    node = _compose(text)
    lines: dict[Place, int] = {}
    if node is None:
        return None, lines
    _expanded(node, {})
    return _value(node, (), lines), lines


def parse_literal(text: str) -> Any:
    """One YAML value such as `2`, `true` or `causal+window(8)`; raises ValueError."""
    try:
        return parse_plain(text)[0]
    except RefusedError as refused:
        raise ValueError(refused.text) from refused


class _Loader(yaml.SafeLoader):
    """Stops while composing, before a hostile file has cost time, memory or the stack."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.nodes = self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.nodes += 1
        self.depth += 1
        if self.nodes > MAX_NODES:
            raise RefusedError(_TOO_MANY, self.get_mark().line + 1)
        if self.depth > MAX_DEPTH:
            raise RefusedError(_TOO_DEEP, self.get_mark().line + 1)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(text: str) -> yaml.Node | None:
    try:
        return _Loader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RefusedError(
            f"not YAML: the character {error.character!r} may not stand here; remove it", line
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RefusedError(
            f"not YAML: {', '.join(filter(None, (error.context, error.problem)))}; "
            "mend the syntax on or just above this line",
            mark.line + 1 if mark else 1,
        ) from error
    except (ValueError, OverflowError, yaml.YAMLError) as error:
        # The scanner lets Python's own errors through, as for an escape beyond Unicode.
        raise RefusedError(f"not YAML: {error}; mend the syntax", 1) from error


def _expanded(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Values and depth of a node with every alias written out, without writing them out."""
    line = node.start_mark.line + 1
    if id(node) in known:
        sizes = known[id(node)]
        if sizes is None:
            raise RefusedError("an alias stands inside what it names; write the values out", line)
        return sizes
    known[id(node)] = None
    count, depth = 1, 0
    for child in _children(node):
        inner_count, inner_depth = _expanded(child, known)
        count, depth = count + inner_count, max(depth, inner_depth)
    if count > MAX_NODES:
        raise RefusedError(_TOO_MANY, line)
    if depth >= MAX_DEPTH:
        raise RefusedError(_TOO_DEEP, line)
    known[id(node)] = (count, depth + 1)
    return count, depth + 1


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _value(node: yaml.Node, place: Place, lines: dict[Place, int]) -> Any:
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, place)
    wanted = _TAG + ("map" if isinstance(node, yaml.MappingNode) else "seq")
    if node.tag != wanted:
        raise _bad_tag(node, place)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, lines)
    return [_value(item, (*place, at), lines) for at, item in enumerate(node.value)]


def _mapping(node: yaml.MappingNode, place: Place, lines: dict[Place, int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise RefusedError("a key must be a word, found a list or mapping", line, place)
        inner = (*place, key.value)
        if key.value in found:
            first = lines[inner]
            raise RefusedError(f"stands twice, first on line {first}; write it once", line, inner)
        lines[inner] = line
        found[key.value] = _value(value, inner, lines)
    return found


def _scalar(node: yaml.ScalarNode, place: Place) -> Any:
    kind, text = node.tag.removeprefix(_TAG), str(node.value)
    line = node.start_mark.line + 1
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise RefusedError("half a character (a surrogate) is no text; remove it", line, place)
    if node.tag in _TEXT:
        if node.style is None and _EXPONENT.fullmatch(text):
            return _finite(float(text), text, line, place)
        return text
    if kind not in ("null", "bool", "int", "float"):
        raise _bad_tag(node, place)
    if ":" in text:  # YAML 1.1 counts it in sixties
        raise RefusedError(f"{text[:40]!r} is read in base 60; write it plainly", line, place)
    try:
        construct = getattr(yaml.constructor.SafeConstructor(), f"construct_yaml_{kind}")
        return _finite(construct(node), text, line, place)
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise RefusedError(
            f"cannot read {text[:40]!r} as {kind}; write it plainly", line, place
        ) from error


def _finite(value: Any, text: str, line: int, place: Place) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise RefusedError(f"must be a finite number, found {text[:40]}; write one", line, place)
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise RefusedError(
            f"is too large a number, found {text[:40]}; write a smaller one", line, place
        )
    return value


def _bad_tag(node: yaml.Node, place: Place) -> RefusedError:
    tag = node.tag.replace(_TAG, "!!")
    return RefusedError(
        f"the tag {tag} is not accepted; write plain YAML without tags",
        node.start_mark.line + 1,
        place,
    )

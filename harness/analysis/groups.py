"""Which rows stand together: workloads that differ in nothing but the length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

Row = dict[str, Any]
PASSES = ("forward", "backward", "forward+backward", "decode")
# What tells workloads apart, in the order in which a title names it.
WORKLOAD = (
    "pass", "mask", "shared", "dtype", "bias", "batch", "heads", "kv_heads", "head_dim",
    "v_head_dim", "footprint", "aspect", "q_len", "kv_len", "scale", "level", "device", "threads",
    "compile", "inputs", "seed", "suite", "machine", "run",
)  # fmt: skip
# Left out of titles where they follow from the column named.
_FOLLOWS = {"kv_heads": "heads", "v_head_dim": "head_dim"}


@dataclass(frozen=True)
class Group:
    """Workloads that differ in the length alone: one table, one panel.

    `axis` is the column that is swept: q_len, under decode kv_len. `title` names only what
    differs from the other groups.
    """

    title: str
    key: tuple[tuple[str, Any], ...]
    axis: str
    rows: tuple[Row, ...]

    def __getitem__(self, name: str) -> Any:
        return dict(self.key).get(name)

    def title_of(self, names: Sequence[str]) -> str:
        """These columns of the key, as a title writes them."""
        return ", ".join(_label(name, dict(self.key)) for name in names)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths measured, ascending."""
        return tuple(sorted({int(row[self.axis]) for row in self.rows}))

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants, in the order in which they were run."""
        return in_order(row["variant"] for row in self.rows)

    @property
    def baseline(self) -> str | None:
        """The variant that the others are compared with."""
        return next((row["variant"] for row in self.rows if row.get("is_baseline")), None)


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows as dictionaries that hold only what was measured: an absent value is no key."""
    return [
        {str(name): value for name, value in row.items() if not _is_absent(value)}
        for row in frame.to_dict("records")
    ]


def grouped(rows: Sequence[Row]) -> list[Group]:
    """Rows by everything but the length, ordered by run and pass, else as first seen."""
    rules = _kv_rules(rows)
    sets: dict[tuple[tuple[str, Any], ...], list[Row]] = {}
    for row, rule in zip(rows, rules, strict=True):
        sets.setdefault(_key(row, rule), []).append(row)
    varies = varying(sets)
    runs = in_order(row.get("run") for row in rows)
    made = [
        Group(_title(key, varies), key, _axis(dict(key)["pass"]), tuple(members))
        for key, members in sets.items()
    ]
    return sorted(made, key=lambda group: (runs.index(group["run"]), _pass_order(group["pass"])))


def varying(keys: Iterable[tuple[tuple[str, Any], ...]]) -> tuple[str, ...]:
    """The columns in which keys differ, less those that follow from another."""
    dicts = [dict(key) for key in keys]
    names = [name for name in WORKLOAD if len({str(one.get(name)) for one in dicts}) > 1]
    return tuple(name for name in names if not _follows(name, dicts))


def shared(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """What all workloads have in common, as (column, value)."""
    groups = grouped(rows)
    keys = [group.key for group in groups]
    differ = {name for name in WORKLOAD if len({str(dict(key).get(name)) for key in keys}) > 1}
    dicts = [dict(key) for key in keys]
    hidden = differ | {"suite", "machine", "run"}
    return [
        (name, str(value))
        for name, value in (keys[0] if keys else ())
        if name not in hidden and value is not None and not _follows(name, dicts)
    ]


def in_order(values: Iterable[Any]) -> tuple[Any, ...]:
    """The distinct values, in order of first appearance."""
    return tuple(dict.fromkeys(values))


def block_of(row: Row) -> tuple[Any, Any]:
    """What is compared with each other: a block of one run."""
    return row.get("run"), row.get("block_id")


def _is_absent(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or value != value


def _axis(kind: str) -> str:
    return "kv_len" if kind == "decode" else "q_len"


def _key(row: Row, kv_rule: int | None) -> tuple[tuple[str, Any], ...]:
    swept: dict[str, int | None] = {_axis(row["pass"]): None}
    if row["pass"] != "decode":
        swept["kv_len"] = kv_rule
    given = {**row, "aspect": _aspect(row)}
    return tuple((name, swept[name] if name in swept else given.get(name)) for name in WORKLOAD)


def _aspect(row: Row) -> str | None:
    """Height over width: images of one number of pixels need not be of one shape."""
    height, width = row.get("height"), row.get("width")
    return None if height is None or width is None else f"{height / width:g}"


def _kv_rules(rows: Sequence[Row]) -> list[int | None]:
    """For each row None when keys follow queries, else the number of keys that is held fixed.

    A row with as many keys as queries belongs to either sweep; it stands with the fixed keys
    when the whole grid was run or when it would stand alone.
    """
    families: dict[tuple[tuple[str, Any], ...], list[Row]] = {}
    for row in rows:
        families.setdefault(_key(row, None), []).append(row)
    rules: list[int | None] = []
    for row in rows:
        family = families[_key(row, None)]
        off = {one["kv_len"] for one in family if one["kv_len"] != one["q_len"]}
        on = {one["kv_len"] for one in family if one["kv_len"] == one["q_len"]}
        fixed = row["kv_len"] in off and (len(on) == 1 or on <= off)
        fixed = fixed or row["kv_len"] != row["q_len"]
        rules.append(row["kv_len"] if fixed and row["pass"] != "decode" else None)
    return rules


def _follows(name: str, dicts: Sequence[dict[str, Any]]) -> bool:
    if name in _FOLLOWS:
        return all(one.get(name) == one.get(_FOLLOWS[name]) for one in dicts)
    if name == "scale":
        return all(
            one.get("scale") is None or abs(one["scale"] * one["head_dim"] ** 0.5 - 1) < 1e-6
            for one in dicts
        )
    # Under decode q_len is 1; it differs from the other passes only because those sweep it.
    return name == "q_len" and len({one["q_len"] for one in dicts if one["q_len"]}) < 2


def _title(key: tuple[tuple[str, Any], ...], varies: Sequence[str]) -> str:
    values = dict(key)
    return ", ".join(_label(name, values) for name in varies or ("pass", "mask"))


def _label(name: str, values: dict[str, Any]) -> str:
    value = values.get(name)
    if name in ("pass", "dtype", "device"):
        return str(value)
    if name == "compile":
        return "compiled" if value else "not compiled"
    if name == "kv_len":
        return "kv_len swept" if values["pass"] == "decode" else f"kv_len={value or 'q_len'}"
    if name in ("mask", "bias", "suite", "machine", "run"):
        return f"{name} {value}"
    return f"{name}={value}"


def _pass_order(kind: str) -> int:
    return PASSES.index(kind) if kind in PASSES else len(PASSES)

from __future__ import annotations

import io
import json
import re
from typing import Any

import pandas as pd
import pytest

from harness.analysis.groups import rows_of
from harness.errors import OptionError
from harness.report.export import COLUMNS, WHOLE, export

from .synthetic import BASELINE, frame_of, row, run_frame

NASTY = 'a|b & c_d %5 $x$ #1 {y} ~ ^ \\z <t> "q" [0]\nnext -- line µ→'


def plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return rows_of(frame)


def test_csv_reads_back_as_it_was() -> None:
    text = export(run_frame(), "csv").decode()
    back = pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=[""])
    expected = plain(run_frame())
    assert len(back) == len(expected)
    for found, wanted in zip(plain(back), expected, strict=True):
        assert found == wanted
    assert "nan" not in text.lower()


def test_csv_writes_whole_numbers_whole_even_where_some_are_absent() -> None:
    text = export(run_frame(), "csv").decode()
    back = pd.read_csv(io.StringIO(text), dtype=str)
    for name in set(WHOLE) & set(back):
        assert not back[name].dropna().str.contains(".", regex=False).any(), name


def test_counted_columns_of_a_limit_are_whole_numbers() -> None:
    """Some rows of the run failed, so that pandas holds these columns as floats."""
    back = pd.read_csv(io.StringIO(export(run_frame(), "csv").decode()), dtype=str)
    for name in ("executed_flops", "compulsory_bytes", "throttled_rounds"):
        assert back[name].isna().any()
        assert back[name].dropna().str.fullmatch(r"\d+").all(), name


def test_parquet_reads_back_as_it_was() -> None:
    back = pd.read_parquet(io.BytesIO(export(run_frame(), "parquet")))
    assert plain(back) == plain(run_frame())


def test_json_reads_back_as_it_was_with_null_for_absent() -> None:
    back = json.loads(export(run_frame(), "json"))
    expected = plain(run_frame())
    assert [{k: v for k, v in one.items() if v is not None} for one in back] == expected
    failed = next(one for one in back if one["status"] == "oom")
    assert failed["latency_s"] is None


def test_json_has_a_word_for_infinity() -> None:
    back = json.loads(export(frame_of([row(BASELINE, error=float("inf"))]), "json"))
    assert back[0]["error"] == "inf"


@pytest.mark.parametrize("kind", ["csv", "parquet", "json", "markdown", "latex"])
def test_the_columns_of_the_schema_come_first_and_none_is_lost(kind: Any) -> None:
    content = export(run_frame(), kind)
    if kind == "csv":
        names = content.decode().split("\n", 1)[0].split(",")
    elif kind == "parquet":
        names = list(pd.read_parquet(io.BytesIO(content)).columns.astype(str))
    elif kind == "json":
        names = list(json.loads(content)[0])
    elif kind == "markdown":
        names = content.decode().split("\n", 1)[0].strip("| ").split(" | ")
    else:
        head = content.decode().split("\n")[3].removesuffix(r" \\")
        names = [name.replace("\\", "") for name in head.split(" & ")]
    assert tuple(names[: len(COLUMNS)]) == COLUMNS
    assert set(names) == set(run_frame())


def test_markdown_keeps_a_row_on_a_line_and_its_pipes_in_a_cell() -> None:
    lines = export(frame_of([row("x", reason=NASTY)]), "markdown").decode().splitlines()
    assert len(lines) == 3
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
    assert bars == [len(run_frame().columns) + 1] * 3
    assert r"a\|b" in lines[2]


def test_latex_escapes_what_tex_would_read() -> None:
    text = export(frame_of([row("x_1", reason=NASTY)]), "latex").decode()
    line = next(line for line in text.splitlines() if r"x\_1" in line)
    bare = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar"
                  r"|textquotedbl)\{\}|\{\[\}|\{\]\}|\{-\}|\\[&%$#_{}]", "", line)  # fmt: skip
    assert line.count(r"\%5") == 1
    assert bare.count("&") == len(run_frame().columns) - 1
    assert not re.search(r"[%$#_{}~^<>|\"→]", bare)
    assert bare.endswith(r"\\")
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 1


@pytest.mark.parametrize("kind", ["csv", "parquet", "json", "markdown", "latex"])
def test_an_empty_frame_exports(kind: Any) -> None:
    assert export(frame_of([]), kind)


def test_an_unknown_format_is_refused_with_a_near_one() -> None:
    with pytest.raises(OptionError, match=r"unknown format 'markdwn'; did you mean markdown\?"):
        export(run_frame(), "markdwn")  # type: ignore[arg-type]

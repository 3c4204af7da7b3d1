"""Exports of a frame: CSV, Parquet, Markdown, LaTeX and JSON."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable
from typing import Any, Literal, get_args

import pandas as pd

from harness.analysis.groups import rows_of
from harness.errors import OptionError, suggest

Format = Literal["csv", "parquet", "markdown", "latex", "json"]
COLUMNS = (
    "run", "machine", "suite", "case_id", "variant", "family", "approximates", "level", "pass",
    "batch", "heads", "kv_heads", "q_len", "kv_len", "head_dim", "footprint", "mask", "dtype",
    "device", "threads", "status", "reason", "latency_s", "latency_low_s", "latency_high_s",
    "ratio", "ratio_low", "ratio_high", "verdict", "rounds", "launches", "peak_bytes",
    "output_bytes", "rss_peak_bytes", "error", "gradient_error", "deviation", "first_call_s",
    "prepare_s", "compile", "flops", "flops_per_s", "kernels",
)  # fmt: skip
# Whole numbers, which pandas turns into floats as soon as one is absent.
WHOLE = (
    "batch", "heads", "kv_heads", "q_len", "kv_len", "head_dim", "v_head_dim", "threads", "seed",
    "rounds", "rounds_needed", "launches", "peak_bytes", "output_bytes", "rss_peak_bytes", "flops",
    "executed_flops", "compulsory_bytes", "throttled_rounds", "height", "width", "channels",
    "footprint", "projection_flops", "parameters", "workers", "sent_bytes", "cycles", "vectors",
    # Of schedules alone.
    "elements", "bound", "ring_cycles", "operations", "registers", "vector_words", "score_words",
)  # fmt: skip
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}", "[": r"{[}", "]": r"{]}", "-": r"{-}",
}  # fmt: skip


def export(frame: pd.DataFrame, format: Format) -> bytes:  # noqa: A002 - the option's name
    """The frame as a file of this format; an absent value is an empty cell, in JSON null.

    Of cases, COLUMNS come first, then the rest. Markdown and LaTeX round to 4 significant digits,
    the others keep every one. Raises OptionError on an unknown format.
    """
    writers: dict[str, Callable[[pd.DataFrame], bytes]] = {
        "csv": _csv,
        "parquet": _parquet,
        "markdown": _markdown,
        "latex": _latex,
        "json": _json,
    }
    if format not in writers:
        raise OptionError(f"unknown format {format!r}; {suggest(str(format), get_args(Format))}")
    return writers[format](arranged(frame) if "case_id" in frame else _whole(frame))


def arranged(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with COLUMNS first, and with whole numbers as such even where some are absent."""
    first = [name for name in COLUMNS if name in frame]
    rest = [name for name in frame if name not in COLUMNS]
    return _whole(frame[[*first, *rest]])


def _whole(frame: pd.DataFrame) -> pd.DataFrame:
    names = [name for name in WHOLE if name in frame]
    return frame.assign(**{n: frame[n].astype("Float64").astype("Int64") for n in names})


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, lineterminator="\n").encode()


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _json(frame: pd.DataFrame) -> bytes:
    names = [str(name) for name in frame]
    rows = [{name: _json_value(row.get(name)) for name in names} for row in rows_of(frame)]
    return (json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _json_value(value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value
    # JSON has no word for infinity, and null would say that nothing was measured.
    return str(plain) if isinstance(plain, float) and not math.isfinite(plain) else plain


def _markdown(frame: pd.DataFrame) -> bytes:
    names = [str(name) for name in frame]
    rule = ["---:" if _is_number(frame, name) else "---" for name in names]
    cells = [[_markdown_text(_text(row.get(name))) for name in names] for row in rows_of(frame)]
    lines = ["| " + " | ".join(line) + " |" for line in (names, rule, *cells)]
    return ("\n".join(lines) + "\n").encode()


def _latex(frame: pd.DataFrame) -> bytes:
    names = [str(name) for name in frame]
    kinds = "".join("r" if _is_number(frame, name) else "l" for name in names)
    head = " & ".join(_tex_text(name) for name in names) + r" \\"
    body = [
        " & ".join(_tex_text(_text(row.get(name))) for name in names) + r" \\"
        for row in rows_of(frame)
    ]
    lines = [
        r"% \usepackage{booktabs,longtable} and, for pdfLaTeX, \usepackage[T1]{fontenc}",
        rf"\begin{{longtable}}{{{kinds}}}",
        r"\toprule", head, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot",
        *body,
        r"\end{longtable}",
    ]  # fmt: skip
    return ("\n".join(lines) + "\n").encode()


def _is_number(frame: pd.DataFrame, name: str) -> bool:
    column = frame[name]
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _markdown_text(text: str) -> str:
    # A line break would end the row; the rest would be read as markup.
    flat = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|*`\[\]~])", r"\\\1", flat)


def _tex_text(text: str) -> str:
    flat = re.sub(r"\s+", " ", text)
    return "".join(_TEX.get(sign, _tex_sign(sign)) for sign in flat)


def _tex_sign(sign: str) -> str:
    # pdfLaTeX stops at signs that it has no definition for.
    return sign if " " <= sign <= "~" or "\u00a1" <= sign <= "\u00ff" else "?"

"""A suite file as text, values and line numbers: read within limits, refused with a place."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import SuiteError
from harness.suite.plain import Place, RefusedError, parse_plain

MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Document:
    """The values of a suite file, and the line on which each of them stands."""

    path: Path
    text: str
    value: Any
    lines: Mapping[Place, int]

    def line(self, place: Place) -> int:
        """The line of a place, or of the nearest place around it that the file has."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def error(self, place: Place, text: str) -> SuiteError:
        """The error `file:line: field: text`."""
        return SuiteError(f"{self.path}:{self.line(place)}: {field_text(place)}: {text}")


def field_text(place: Place) -> str:
    """A place as a reader writes it: `workloads[0].q_len[2]`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return "".join(parts).lstrip(".") or "file"


def show(value: object) -> str:
    """A value as it stands in YAML, cut short, with its kind where that is not plain."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = text if len(text) <= 60 else text[:57] + "..."
    kinds = {str: " (text)", list: " (a list)", dict: " (a mapping)"}
    return text + next((word for kind, word in kinds.items() if isinstance(value, kind)), "")


def mentioned(text: str, names: Iterable[str]) -> str | None:
    """The first of the names that stands in an error's text as a word."""
    known = set(names)
    return next((word for word in re.findall(r"\w+", text) if word in known), None)


def read_document(path: Path) -> Document:
    """Read a suite file; raises SuiteError for whatever is not one plain YAML document."""
    return parse_document(path, _read_text(path))


def parse_document(path: Path, text: str) -> Document:
    """Values and lines of a suite's text; raises SuiteError with the line that is wrong."""
    try:
        value, lines = parse_plain(text)
    except RefusedError as refused:
        place = field_text(refused.place)
        raise SuiteError(f"{path}:{refused.line}: {place}: {refused.text}") from refused
    if value is None:
        raise SuiteError(f"{path}:1: file: is empty; write name, variants, baseline and workloads")
    return Document(path, text, value, lines)


def _read_text(path: Path) -> str:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise SuiteError(f"{path}:1: file: is a folder; name a suite file that ends in .yaml")
        # A pipe or a device may never end: it is refused before it is opened.
        if not stat.S_ISREG(status.st_mode):
            raise SuiteError(f"{path}:1: file: is not a regular file; name a suite file on disk")
        if status.st_size > MAX_BYTES:
            raise _too_large(path, f"{status.st_size:,} bytes")
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SuiteError(
            f"{path}:1: file: cannot be read: {reason}; name a file that you may read"
        ) from error
    if len(raw) > MAX_BYTES:
        raise _too_large(path, "more than that")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SuiteError(
            f"{path}:{line}: file: is not UTF-8, found byte 0x{raw[error.start]:02x}; "
            "save the file as UTF-8"
        ) from error


def _too_large(path: Path, found: str) -> SuiteError:
    return SuiteError(
        f"{path}:1: file: a suite has at most {MAX_BYTES:,} bytes, found {found}; "
        "write a shorter file: lists sweep"
    )

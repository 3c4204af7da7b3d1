"""A run's folder: a manifest, append-only records, and a lock that keeps two writers apart."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness.errors import RunError
from harness.records.manifest import lacking
from harness.records.schema import (
    READABLE,
    SCHEMA,
    CaseRecord,
    ControlRecord,
    ScheduleRecord,
)

MANIFEST, RECORDS, ASIDE = "manifest.json", "records.jsonl", "records.set-aside.jsonl"
_CONTROL, _RACED = "control", "raced"  # no case's id: those are hexadecimal
Record = CaseRecord | ControlRecord | ScheduleRecord
_KINDS: Mapping[str, type[Record]] = {"case": CaseRecord, "schedule": ScheduleRecord}


class Store:
    """The one writer of a run's folder; use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: FileLock | None = None

    def __enter__(self) -> Store:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise RunError(
                f"--out {self.folder}: cannot be written ({error.strerror}); name another folder"
            ) from error
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"{self.folder}: another run is writing here; wait for it or name another --out"
            ) from None
        self._lock = lock
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest whole, or not at all."""
        with _said(self.folder):
            _replace(self.folder / MANIFEST, json.dumps(manifest, indent=1, default=str) + "\n")

    def append(self, records: Sequence[Record]) -> None:
        """Append the records of one block in one write, on disk before this returns."""
        text = "".join(_line(record) for record in records)
        with _said(self.folder), (self.folder / RECORDS).open("ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    def keep_whole_blocks(self, expected: Mapping[str, frozenset[str]]) -> set[str]:
        """Set the lines of incomplete blocks aside; return the ids of the whole ones.

        expected: block id -> ids of its cases. A torn last line, a block that lacks a case or
        its control, and one that the suite does not have go to `records.set-aside.jsonl`.
        """
        path = self.folder / RECORDS
        found: dict[str, set[str]] = {}
        kept: dict[str, list[str]] = {}
        aside: list[str] = []
        for line in _lines(path):
            content = _parsed(line)
            block = str(content.get("block_id"))
            if block not in expected:
                aside.append(line)
                continue
            kept.setdefault(block, []).append(line)
            found.setdefault(block, set()).update(_held(content))
        whole = {block for block in kept if found[block] in _complete(expected[block])}
        aside += [line for block, lines in kept.items() if block not in whole for line in lines]
        if aside:
            with (self.folder / ASIDE).open("a", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in aside)
        if aside or not _ends_in_newline(path):
            lines = [line for block in kept if block in whole for line in kept[block]]
            _replace(path, "".join(line + "\n" for line in lines))
        return whole


def holds_run(folder: Path) -> bool:
    """True when a run was begun in the folder, so that it can be read and resumed."""
    return (folder / MANIFEST).exists()


def runs_below(root: Path) -> list[Path]:
    """Folders below `root` that hold a run, by path."""
    return sorted(path.parent for path in root.glob(f"**/{MANIFEST}"))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run; raises RunError where there is none or it cannot be read."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunError(
            f"{folder}: not a run ({MANIFEST}: {error}); name a folder that `attnbench run` made"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("schema") not in READABLE:
        found = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        raise RunError(
            f"{path}: schema {found!r} is not {SCHEMA}; read it with the attnbench that wrote it"
        )
    missing = [field.path for field in lacking(manifest, "load")]
    if missing:
        raise RunError(f"{path}: lacks {', '.join(missing)}; take the run from a copy")
    return manifest


def read_records(folder: Path) -> Iterator[Record]:
    """The records of a run, in order; a torn last line is read around.

    Raises RunError naming the line that is damaged otherwise.
    """
    lines = _lines(folder / RECORDS)
    for number, line in enumerate(lines, 1):
        try:
            content = json.loads(line)
            kind = _KINDS.get(str(content.get("record")), ControlRecord)
            yield kind.model_validate(content)
        except (ValueError, AttributeError) as error:  # pydantic's and json's are ValueErrors
            if number == len(lines):
                return
            raise RunError(
                f"{folder / RECORDS}:{number}: not a record of schema {SCHEMA} "
                f"({str(error).splitlines()[0]}); remove the line, or take the run from a copy"
            ) from error


@contextlib.contextmanager
def _said(folder: Path) -> Iterator[None]:
    """A disk that is full or gone while a run is written, as the user reads it."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be written ({error.strerror}); make room, then add --resume to go "
            "on from what is there"
        ) from error


def _line(record: Record) -> str:
    return record.model_dump_json(exclude_none=True) + "\n"


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_bytes().decode(errors="replace").split("\n") if line]
    except OSError:
        return []


def _parsed(line: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def _held(content: Mapping[str, Any]) -> set[str]:
    """What a line adds to its block: a case's id, that its baseline was raced, its control."""
    if "case_id" not in content:
        return {_CONTROL}
    raced = content.get("is_baseline") and content.get("status") == "ok"
    return {content["case_id"], _RACED} if raced else {content["case_id"]}


def _complete(cases: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """What a whole block holds: its cases alone, or with a raced baseline and its control."""
    return cases, cases | {_RACED, _CONTROL}


def _ends_in_newline(path: Path) -> bool:
    # A last line that is whole but for its newline would be joined with the next one.
    try:
        return path.read_bytes()[-1:] in (b"", b"\n")
    except OSError:
        return True


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".draft")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)

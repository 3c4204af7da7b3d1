from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import RunError
from harness.records import Store, read_manifest, read_records
from tests.records.made import Record, case, control, lines_of, manifest, write_run

RECORDS = "records.jsonl"
ASIDE = "records.set-aside.jsonl"
BLOCKS = {"b1": frozenset({"b1-a", "b1-b"}), "b2": frozenset({"b2-a", "b2-b"})}
FIRST: list[Record] = [case("a", is_baseline=True), case("b"), control()]
SECOND: list[Record] = [case("a", "b2", is_baseline=True), case("b", "b2"), control("b2")]


def test_what_is_appended_is_read_in_order(tmp_path: Path) -> None:
    with Store(tmp_path / "deep" / "run") as store:
        store.write_manifest(manifest())
        store.append(FIRST)
        store.append(SECOND)
    assert list(read_records(tmp_path / "deep" / "run")) == FIRST + SECOND
    assert read_manifest(tmp_path / "deep" / "run") == manifest()
    assert list(read_records(tmp_path)) == []


def test_text_of_any_language_survives_whatever_the_locale(tmp_path: Path) -> None:
    failed = case("a", status="error", reason="größer als erlaubt\u2028\U0001f600")
    write_run(tmp_path, [failed, failed.model_copy(update={"block_id": "b0"})])
    program = (
        "import sys; from pathlib import Path; from harness.records import Store, read_records\n"
        "folder = Path(sys.argv[1])\n"
        "with Store(folder) as store: store.keep_whole_blocks({'b0': frozenset({'b1-a'})})\n"
    )
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = [sys.executable, "-c", program, str(tmp_path)]
    subprocess.run(run, env=environment, cwd=Path(__file__).parents[2], check=True)
    aside = json.loads((tmp_path / ASIDE).read_text(encoding="utf-8"))
    assert aside["reason"] == failed.reason
    assert [record.block_id for record in read_records(tmp_path)] == ["b0"]


def test_a_torn_last_line_is_read_around_wherever_it_is_torn(tmp_path: Path) -> None:
    write_run(
        tmp_path, [case("a", is_baseline=True), case("ü", "b2", status="oom", reason="größer")]
    )
    whole = (tmp_path / RECORDS).read_bytes()
    start = whole.index(b"\n") + 1
    for end in range(start, len(whole) - 1):
        (tmp_path / RECORDS).write_bytes(whole[:end])
        assert [record.block_id for record in read_records(tmp_path)] == ["b1"]
    (tmp_path / RECORDS).write_bytes(whole[:-1])
    assert [record.block_id for record in read_records(tmp_path)] == ["b1", "b2"]


def test_whole_blocks_are_kept_byte_for_byte(tmp_path: Path) -> None:
    write_run(tmp_path, FIRST)
    first = (tmp_path / RECORDS).read_bytes()
    with Store(tmp_path) as store:
        assert store.keep_whole_blocks(BLOCKS) == {"b1"}
        assert (tmp_path / RECORDS).read_bytes() == first
        assert not (tmp_path / ASIDE).exists()
        store.append(SECOND[:1])
        assert store.keep_whole_blocks(BLOCKS) == {"b1"}
    assert (tmp_path / RECORDS).read_bytes() == first
    assert [line["case_id"] for line in lines_of(tmp_path, ASIDE)] == ["b2-a"]


def test_a_resume_after_any_tear_has_every_record_once(tmp_path: Path) -> None:
    write_run(tmp_path, FIRST)
    first = (tmp_path / RECORDS).read_bytes()
    with Store(tmp_path) as store:
        store.append(SECOND)
        whole = (tmp_path / RECORDS).read_bytes()
        control_at = whole.rindex(b"\n", 0, -1) + 1
        ends = [*range(len(first), len(whole), 97), *range(control_at - 2, len(whole) + 1)]
        for end in ends:
            (tmp_path / RECORDS).write_bytes(whole[:end])
            kept = store.keep_whole_blocks(BLOCKS)
            assert ("b2" in kept) == (end >= len(whole) - 1)
            if "b2" not in kept:
                store.append(SECOND)
            assert (tmp_path / RECORDS).read_bytes() == whole


def test_a_last_line_without_its_newline_is_not_joined_with_the_next(tmp_path: Path) -> None:
    write_run(tmp_path, FIRST)
    path = tmp_path / RECORDS
    path.write_bytes(path.read_bytes()[:-1])
    with Store(tmp_path) as store:
        store.keep_whole_blocks(BLOCKS)
        store.append(SECOND)
    assert list(read_records(tmp_path)) == FIRST + SECOND


def test_a_block_whose_baseline_was_not_raced_is_whole_without_control(tmp_path: Path) -> None:
    failed = case("a", is_baseline=True, status="oom", reason="too large")
    write_run(tmp_path, [failed, case("b")])
    with Store(tmp_path) as store:
        assert store.keep_whole_blocks(BLOCKS) == {"b1"}


def test_blocks_that_the_suite_lacks_are_set_aside(tmp_path: Path) -> None:
    write_run(tmp_path, [*FIRST, case("a", "other")])
    path = tmp_path / RECORDS
    path.write_bytes(path.read_bytes() + b'[1]\n{"block_id": 3}\n')
    with Store(tmp_path) as store:
        assert store.keep_whole_blocks(BLOCKS) == {"b1"}
    assert list(read_records(tmp_path)) == FIRST
    assert len(lines_of(tmp_path, ASIDE)) == 3


def test_a_second_writer_in_another_process_is_refused(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from harness.records import Store\n"
        "from harness.errors import RunError\n"
        "try:\n"
        "    with Store(Path(sys.argv[1])): print('written')\n"
        "except RunError as error: print(error)\n"
    )
    run = [sys.executable, "-c", program, str(tmp_path)]
    with Store(tmp_path):
        refused = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    expected = f"{tmp_path}: another run is writing here; wait for it or name another --out"
    assert refused.strip() == expected
    freed = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert freed.strip() == "written"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "run"
    with pytest.raises(RunError) as raised, Store(folder):
        pass
    assert str(raised.value) == (
        f"--out {folder}: cannot be written (Not a directory); name another folder"
    )


def test_a_manifest_of_another_schema_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.write_manifest({**manifest(), "schema": 99})
    path = tmp_path / "manifest.json"
    with pytest.raises(RunError) as raised:
        read_manifest(tmp_path)
    assert str(raised.value) == (
        f"{path}: schema 99 is not 2; read it with the attnbench that wrote it"
    )
    path.write_text("[]")
    with pytest.raises(RunError, match="schema 'list' is not 2"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [None, b"{", b"\xff"])
def test_a_folder_that_is_no_run_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(RunError) as raised:
        read_manifest(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path}: not a run (manifest.json: ")
    assert str(raised.value).endswith("; name a folder that `attnbench run` made")


def test_a_disk_that_fills_while_a_run_is_written_is_an_error_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with Store(tmp_path) as store:
        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(RunError, match=r"No space left on device.*--resume"):
            store.append(FIRST)
        with pytest.raises(RunError, match=r"No space left on device.*--resume"):
            store.write_manifest(manifest())


def test_a_line_that_is_damaged_elsewhere_is_named(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.append([case("softmax", is_baseline=True), case("fast")])
    path = tmp_path / "records.jsonl"
    first, second, *_ = path.read_text().splitlines()
    path.write_text(f"{first[:-9]}\n{second}\n")
    with pytest.raises(RunError, match=r"records.jsonl:1: not a record of schema 2 .*; remove the"):
        list(read_records(tmp_path))

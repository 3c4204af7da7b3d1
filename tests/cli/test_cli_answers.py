"""What the commands print when nothing is wrong, for readers and for programs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.conftest import Call


def test_version_and_help(call: Call) -> None:
    answer = call("--version")
    assert (answer.code, answer.out.split()[0]) == (0, "attnbench,")
    answer = call("--help")
    assert answer.code == 0
    for command in ("run", "list", "show", "report", "export", "schema", "completion"):
        assert f"  {command} " in answer.out
        told = call(command, "--help")
        assert (told.code, told.err) == (0, "")
        assert told.out.startswith(f"Usage: attnbench {command} ")


def test_dry_run_says_how_much_there_is_to_do_and_writes_nothing(call: Call, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    answer = call("run", "quick", "--dry-run", "--where", "q_len<=256", "--set", "heads=1,2")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.startswith("quick: 8 blocks, 64 cases, about ")
    answer = call("run", "tiny.yaml", "--dry-run", "--json")
    assert (answer.code, answer.err) == (0, "")
    told = json.loads(answer.out)
    assert {key: told[key] for key in ("suite", "blocks", "cases")} == {
        "suite": "tiny",
        "blocks": 1,
        "cases": 2,
    }
    assert 0 < told["about_s"] < 60
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("named", ["my_attention.py", "./my_attention.py", "folder"])
def test_a_file_adds_each_of_its_variants_once(call: Call, folder: Path, named: str) -> None:
    path = str(folder / "my_attention.py") if named == "folder" else named
    words = ["run", "tiny.yaml", "--dry-run", "--json", "--variant", path, "--variant", path]
    assert json.loads(call(*words).out)["cases"] == 3


def test_a_variant_may_be_added_by_name(call: Call) -> None:
    words = ["run", "tiny.yaml", "--dry-run", "--json", "--variant", "polynomial(degree=2)"]
    assert json.loads(call(*words).out)["cases"] == 3
    # It is in the suite already.
    words[-1] = "softmax"
    assert json.loads(call(*words).out)["cases"] == 2


def test_list_variants(call: Call) -> None:
    answer = call("list", "variants")
    assert answer.code == 0
    assert "backend=auto" in answer.out
    rows = {row["name"]: row for row in json.loads(call("list", "variants", "--json").out)}
    assert {"softmax", "sdpa", "flex", "xformers", "polynomial", "chunked"} <= set(rows)
    assert rows["polynomial"]["parameters"]["degree"] == {"type": "int", "default": 3}
    assert rows["sdpa"]["family"] == "softmax"
    assert (rows["sdpa"]["approximates"], rows["nystrom"]["approximates"]) == (None, "softmax")
    assert "approximates" in answer.out


def test_list_suites(call: Call) -> None:
    assert "quick" in call("list", "suites").out
    rows = {row["name"]: row for row in json.loads(call("list", "suites", "--json").out)}
    assert rows["quick"]["blocks"] > 0
    assert Path(rows["quick"]["path"]).is_file()


def test_list_runs_where_there_is_none(call: Call) -> None:
    assert "attnbench run quick" in call("list", "runs").out
    assert json.loads(call("list", "runs", "--json").out) == []


def test_show_a_variant(call: Call) -> None:
    answer = call("show", "sdpa(backend=flash)")
    assert answer.code == 0
    assert answer.out.startswith("sdpa(backend=flash) (family softmax)\n")
    assert "parameter backend: auto | math | flash | efficient | cudnn = auto" in answer.out
    told = json.loads(call("show", "xformers", "--json").out)["variant"]
    assert told["checked_against"] == "definition"
    assert Path(told["source"]).name == "xformers.py"
    assert set(told["supports"]) == {"cpu", "cuda"}


def test_show_says_what_a_variant_approximates(call: Call) -> None:
    line = "approximates: softmax (deviation: from it; error: from its own definition)"
    assert line in call("show", "performer").out.splitlines()
    assert "approximates" not in call("show", "sdpa").out
    told = json.loads(call("show", "performer", "--json").out)["variant"]
    assert (told["approximates"], told["checked_against"]) == ("softmax", "definition")


def test_show_a_variant_of_a_file(call: Call) -> None:
    told = json.loads(call("show", "my_attention", "--variant", "my_attention.py", "--json").out)
    assert told["variant"]["checked_against"] == "itself"
    assert told["variant"]["supports"]["cpu"]["bias alibi"] == (
        "my_attention takes no bias on its scores"
    )
    assert told["variant"]["supports"]["cpu"]["pass forward"] is None


def test_show_a_suite(call: Call) -> None:
    assert "baseline softmax" in call("show", "quick").out
    told = json.loads(call("show", "tiny.yaml", "--json").out)["suite"]
    assert told["variants"] == ["softmax", "sdpa(backend=math)"]
    assert len(told["workloads"]) == told["blocks"] == 1


def test_schema_is_json(call: Call) -> None:
    answer = call("schema")
    assert answer.code == 0
    assert json.loads(answer.out)["$schema"].startswith("https://json-schema.org/")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_code(call: Call, shell: str) -> None:
    answer = call("completion", shell)
    assert answer.code == 0
    assert f"_ATTNBENCH_COMPLETE={shell}_complete" in answer.out


def test_a_run_from_end_to_end(call: Call, folder: Path) -> None:
    words = ("--variant", "my_attention.py", "--set", "q_len=8,16", "--budget", "0.4")
    answer = call("run", "tiny.yaml", "--out", "run", *words)
    assert answer.code == 0, answer.err
    for name in ("softmax", "sdpa(backend=math)", "my_attention", "6 ok"):
        assert name in answer.out
    page = folder / answer.out.rpartition("page: ")[2].strip()
    assert "<html" in page.read_text()
    for number in (1, 2):
        assert f"[{number}/2] " in answer.err
    (row,) = json.loads(call("list", "runs", "--in", ".", "--json").out)
    assert (row["suite"], row["outcomes"]) == ("tiny", {"ok": 6})
    assert row["ended_utc"]
    told = json.loads(call("show", "run", "--json").out)["run"]
    assert told["manifest"]["suite"]["overrides"]["set"] == ["q_len=8,16"]
    assert "my_attention" in call("show", "run").out
    check_exports(call, folder)
    answer = call("report", "run", "--out", "elsewhere", "--json")
    assert Path(json.loads(answer.out)["page"]).is_file()
    assert (folder / "elsewhere").is_dir()


def check_exports(call: Call, folder: Path) -> None:
    frame = pd.read_csv(io.StringIO(call("export", "run").out))
    assert list(frame["status"]) == ["ok"] * 6
    assert {"run", "machine", "case_id", "latency_s", "ratio", "verdict", "kernels"} <= set(frame)
    assert len(json.loads(call("export", "run", "--format", "json").out)) == 6
    assert call("export", "run", "--format", "markdown").out.startswith("|")
    assert r"\begin{longtable}" in call("export", "run", "--format", "latex").out
    for form in ("csv", "parquet", "markdown", "latex", "json"):
        answer = call("export", "run", "--format", form, "--out", f"file.{form}")
        assert (answer.code, answer.out) == (0, ""), answer
        assert (folder / f"file.{form}").stat().st_size > 0
    assert len(pd.read_parquet(folder / "file.parquet")) == 6
    answer = call("export", "run", "--out", "nowhere/file.csv")
    assert (answer.code, "cannot be written" in answer.err) == (2, True)


def test_a_run_in_a_folder_of_its_own_tells_a_program(call: Call, folder: Path) -> None:
    words = ("--where", "variant==softmax", "--set", "measure.launches=2", "--json")
    answer = call("run", "tiny.yaml", *words)
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["outcomes"] == {"ok": 1}
    assert Path(told["run"]).parent == Path("results/local")
    assert Path(told["run"]).name.startswith("tiny-")
    assert Path(told["page"]).is_file()
    # The folder was not there before: another suite, or a second run, is refused.
    answer = call("run", "tiny.yaml", "--out", told["run"])
    assert (answer.code, "holds another run" in answer.err) == (2, True)


def test_a_workload_larger_than_the_machine_is_oom_and_the_rest_runs(call: Call) -> None:
    words = ("--set", "q_len=32,16000000", "--set", "heads=64", "--set", "head_dim=128", "--json")
    answer = call("run", "tiny.yaml", "--out", "run", *words)
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["outcomes"] == {"ok": 2, "oom": 2}

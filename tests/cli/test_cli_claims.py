"""A suite's claims from its file to the terminal, the page and an export."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.cli.conftest import TINY, Call

CLAIMS = """\
claims:
  - claim: the plain kernel needs its scores and an output
    source: Table 1
    quantity: overhead_ratio
    of: softmax
    over: {sdpa: {backend: math}}
    expected: [0.1, 10]
  - claim: nobody needs so much
    source: Table 2
    quantity: memory
    of: softmax
    expected: [1000000000, null]
  - {claim: it learns, source: Table 3, not_testable: needs training}
"""


def test_claims_of_a_run_from_end_to_end(call: Call, folder: Path) -> None:
    (folder / "tiny.yaml").write_text(TINY + CLAIMS)
    assert "claim: it learns (Table 3)" in call("show", "tiny.yaml").out
    answer = call("run", "tiny.yaml", "--out", "run", "--budget", "0.2")
    assert answer.code == 0, answer.err
    assert "claims: 1 reproduced, 1 not reproduced, 1 not testable here" in answer.out
    page = (folder / "run" / "report" / "index.html").read_text()
    assert re.search(r"<strong>✓ reproduced</strong>", page)
    assert "claims: 1 reproduced" in call("show", "run").out
    rows = json.loads(call("export", "run", "--claims", "--format", "json").out)
    assert [row["outcome"] for row in rows] == [
        "reproduced",
        "not reproduced",
        "not testable here",
    ]
    assert call("export", "run", "--claims", "--format", "markdown").out.count("\n") == 5


def test_a_program_is_told_how_claims_ended(call: Call, folder: Path) -> None:
    (folder / "tiny.yaml").write_text(TINY + CLAIMS)
    told = json.loads(call("run", "tiny.yaml", "--out", "run", "--budget", "0.2", "--json").out)
    assert told["claims"] == {"reproduced": 1, "not reproduced": 1, "not testable here": 1}


def test_the_schema_tells_editors_what_claims_hold(call: Call) -> None:
    told = json.loads(call("schema").out)["properties"]["claims"]["items"]["anyOf"]
    assert "memory_ratio" in told[0]["properties"]["quantity"]["enum"]
    assert "not_testable" in told[1]["required"]

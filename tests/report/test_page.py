from __future__ import annotations

import html
import html.parser
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.analysis.groups import rows_of
from harness.errors import RunError
from harness.records import SCHEDULE_COLUMNS
from harness.report import figures, write_report
from harness.report import page as pages
from harness.report.page.chance import binomial_limit, controls_of, expectation
from harness.report.page.facts import facts_of
from harness.report.page.summary import fastest, sentence
from harness.report.ranking import Comparisons

from .synthetic import BASELINE, FAST, control_frame, frame_of, manifest, row, run_frame
from .test_trust import OLD

VOID = {"meta", "br", "use", "path"}


class Reader(html.parser.HTMLParser):
    """Collects tags, ids and links, and fails on a tag that is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def material(frame: pd.DataFrame, **given: Any) -> pages.Material:
    return pages.Material(frame, control_frame(), {"quick-a": manifest(**given)})


def page_of(frame: pd.DataFrame, **given: Any) -> str:
    plots, missing = figures.figures(frame)
    svgs = {plot.name: figures.render(plot.figure, "svg") for plot in plots}
    return pages.page(material(frame, **given), plots, missing, svgs)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pages.write_page(material(run_frame()), tmp_path_factory.mktemp("report"))


def test_the_page_asks_for_nothing_outside(written: Path) -> None:
    text = written.read_text()
    reader = read(text)
    links = [tag.get(name) for _, tag in reader.tags for name in ("src", "href", "xlink:href")]
    found = [link for link in links if link]
    assert found
    for link in found:
        inside = link.startswith("#") or (written.parent / link).is_file()
        assert inside, link
    assert not reader.all("script")
    assert not reader.all("link")
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_ids_are_unique_and_every_inner_link_has_its_end(written: Path) -> None:
    text = written.read_text()
    reader = read(text)
    ids = [tag["id"] for _, tag in reader.tags if "id" in tag]
    assert len(ids) == len(set(ids))
    ends = {link for _, tag in reader.tags for link in (tag.get("href"), tag.get("xlink:href"))}
    ends |= {f"#{name}" for name in re.findall(r"url\(#([^)]*)\)", text)}
    assert {end[1:] for end in ends if end and end.startswith("#")} <= set(ids)


def test_figures_and_tables_can_be_read_without_eyes(written: Path) -> None:
    reader = read(written.read_text())
    drawings = reader.all("svg")
    assert len(drawings) == len(reader.all("figcaption")) == 10
    assert all(tag["role"] == "img" and tag["aria-label"] for tag in drawings)
    assert len(reader.all("caption")) == len(reader.all("table"))
    assert all("scope" in tag for tag in reader.all("th"))


def test_the_records_and_every_figure_lie_beside_the_page(written: Path) -> None:
    names = {path.name for path in written.parent.iterdir()}
    assert {"index.html", "records.csv", "latency-forward.pdf", "error-forward.svg"} <= names
    assert len(names) == 2 + 10 * 3


def test_what_comes_from_users_is_text() -> None:
    evil = '<script>alert("x")</script>'
    rows = [row(BASELINE), row(evil), row(FAST, status="error", reason=evil + "<!--")]
    measured = manifest()["suite"]
    suite = {**measured, "name": evil, "description": evil, "text": evil}
    text = page_of(frame_of(rows), suite=suite, command=evil, machine={evil: evil})
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "&lt;!--" in text
    read(text)


def test_nothing_absent_is_shown_as_a_number() -> None:
    rows = [row(BASELINE), row(FAST, ratio=None, verdict=None, latency_low_s=float("nan"))]
    text = re.sub(r"<svg.*?</svg>|<style>.*?</style>", "", page_of(frame_of(rows)), flags=re.S)
    assert not re.search(r"\b(nan|None|NaN|<NA>)\b", text)


def test_a_run_in_which_all_failed_says_so() -> None:
    text = page_of(frame_of([row(BASELINE, status="oom", reason="too big")]))
    assert "nothing to rank" in text
    assert "Latency against length, forward: no case came out ok." in text
    assert "too big" in text
    read(text)


def test_an_empty_run_has_a_page() -> None:
    assert "the run holds no case" in page_of(frame_of([]))


def test_the_verdict_is_one_sentence() -> None:
    rows = run_frame().to_dict("records")
    first = [one for one in rows if one["status"] == "ok"]
    said = (
        f"{FAST} is the fastest in all 18 workloads, 2.67x (2.61 to 2.71) to 3.52x (3.45 to 3.57) "
        f"as fast as {BASELINE}."
    )
    assert sentence([{str(k): v for k, v in one.items()} for one in first]) == said


def test_the_verdict_counts_only_what_is_told_apart() -> None:
    wide: dict[str, Any] = {"ratio": 0.99, "ratio_low": 0.97, "ratio_high": 1.01}
    wide["verdict"] = "undecided"
    slow: dict[str, Any] = {"ratio": 2.0, "ratio_low": 1.9, "ratio_high": 2.1, "verdict": "slower"}
    rows = [row(BASELINE, 256), row(FAST, 256, **slow)]
    rows += [row(BASELINE, 512), row(FAST, 512, **wide), row(BASELINE, 1024)]
    said = (
        f"{BASELINE} is the fastest in 2 of 3 workloads; in 1 no single fastest can be named "
        "(in 1 nothing else came out ok)."
    )
    assert sentence(rows) == said
    spans = fastest(rows)[0].spans
    assert [(one.variant, one.lengths, one.speedup, one.ties) for one in spans] == [
        (BASELINE, "256", "", ()),
        (FAST, "512", f"{FAST}: 1.01x (0.99 to 1.03) ?", (BASELINE,)),
        (BASELINE, "1024", "", ()),
    ]
    assert [one.undecided for one in spans] == [
        "",
        f"no single fastest: {FAST}, {BASELINE} cannot be told apart",
        "",
    ]


OPEN: dict[str, Any] = {"ratio_low": None, "ratio_high": None, "verdict": "undecided"}
OPEN |= {"latency_low_s": None, "latency_high_s": None}


def test_with_nothing_decided_the_verdict_says_so_and_names_no_fastest() -> None:
    one = rows_of(frame_of([row(BASELINE, 256), row(FAST, 256, ratio=0.102, **OPEN)]))
    assert sentence(one) == (
        f"No single fastest: {FAST} and {BASELINE} cannot be told apart; the one comparison with "
        "the baseline came out undecided."
    )
    assert fastest(one)[0].spans[0].speedup == f"{FAST}: ~9.8x ?"
    two = rows_of(
        frame_of([row(name, q, **OPEN) for q in (256, 512) for name in (BASELINE, FAST, "flex")])
    )
    assert sentence(two) == (
        "No single fastest in any of the 2 workloads: in each, the quickest variants cannot be "
        "told apart; all 4 comparisons with the baseline came out undecided."
    )
    text = page_of(frame_of([row(BASELINE), row(FAST, **OPEN)]))
    assert f"no single fastest: {FAST}, {BASELINE} cannot be told apart" in text
    assert 'class="number best"' not in text
    assert "No mean speed-up is given for forward" in text


def test_captions_say_what_hollow_points_and_errors_do_not_mean(written: Path) -> None:
    text = written.read_text()
    assert "a point without a band or bar has no interval yet" in text
    assert "one for each family" in text
    assert "Errors that differ by less than a factor of 2 may differ by the order of sums" in text
    assert "with an interval for every ratio" in text


def test_captions_say_how_many_false_verdicts_to_expect(written: Path) -> None:
    manifests = {"quick-a": manifest()}
    text = expectation([Comparisons("quick-a", 40, 10)], manifests)
    assert text.startswith("40 comparisons are shown; at alpha 0.05 a comparison")
    assert "about 2.0 false verdicts" in text
    manifests["quick-a"]["suite"]["measure"]["familywise"] = True
    assert "about 0.5 false" in expectation([Comparisons("quick-a", 40, 10)], manifests)
    text = written.read_text()
    assert "57 comparisons are shown" in text
    assert "96 comparisons are shown" in text


@pytest.mark.parametrize(("different", "alarming"), [(1, False), (4, False), (5, True), (18, True)])
def test_the_control_alarms_beyond_chance(different: int, alarming: bool) -> None:
    found = controls_of(control_frame(different), {"quick-a": manifest()})
    assert [(one.blocks, one.different, one.limit) for one in found] == [(18, different, 4)]
    assert found[0].alarming is alarming
    assert f"called different {different} time" in found[0].text


def test_the_binomial_limit_is_the_quantile() -> None:
    stats = pytest.importorskip("scipy.stats")
    for trials, share in ((1, 0.05), (18, 0.05), (200, 0.01)):
        assert binomial_limit(trials, share, 0.99) == stats.binom.ppf(0.99, trials, share)


def section(text: str, name: str) -> str:
    """One section of a page, as its words."""
    found = re.search(rf'<section id="{name}">(.*?)</section>', text, re.DOTALL)
    assert found is not None
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", found.group(1))).split())


def test_old_records_have_a_page_that_says_what_was_not_recorded() -> None:
    rows = [row(name, n, **OLD) for name in (BASELINE, FAST) for n in (256, 512, 1024)]
    text = page_of(frame_of(rows))
    assert "Not recorded: no ceilings were measured" in section(text, "roofline")
    assert "Not recorded: the gate was not tested" in section(text, "trust")
    assert "Semantics Not recorded." in section(text, "trust")
    assert f"{FAST} L^1.90 [1.71, 2.09] L^1.00" in section(text, "growth")
    assert "claims" not in section(text, "growth")
    assert "Left out" in section(text, "figures")
    read(text)


def test_new_records_have_every_section(written: Path) -> None:
    text = written.read_text()
    assert "each of 114 cases: 54 of 54 were caught, those of one definition on one workload" in (
        section(text, "trust")
    )
    assert "No gate was vacuous." in section(text, "trust")
    assert "causality 114 0" in section(text, "trust")
    assert "Probed on no case" in section(text, "trust")
    assert "called different 1 time" in section(text, "trust")
    assert "96 comparisons are shown" in section(text, "trust")
    assert "Fraction of the attainable: forward, mask none" in section(text, "roofline")
    assert "claims L^2" in section(text, "growth")
    assert "without 512 incorrect" in section(text, "growth")
    said = "Of 72 pairs of variants on the same workloads, 4 cross; 62 do not cross in the range"
    assert said in section(text, "growth")
    assert "Vacuous" not in text


def test_a_vacuous_gate_is_said_at_the_top_and_where(written: Path) -> None:
    lives: dict[str, Any] = {"mutants_survived": "scale_off", "vacuous": True}
    text = page_of(frame_of([row(BASELINE), row(FAST, **lives)]))
    assert "Vacuous gate: on 1 workload a wrong answer (scale_off) would have passed" in text
    assert text.index("Vacuous gate") < text.index("<main>")
    assert f"! scale_off {FAST} forward, mask none, q_len 1024" in section(text, "trust")
    assert "No gate was vacuous" not in text
    read(text)


def test_throttled_rounds_are_an_alarm() -> None:
    text = page_of(frame_of([row(BASELINE, throttled_rounds=5), row(FAST)]))
    assert "Throttled: during 5 of 128 timed calls" in section(text, "trust")


def test_a_flagged_claim_is_marked_by_a_sign_and_in_words() -> None:
    rows = [row(FAST, n, claimed_memory_growth=0.5) for n in (256, 512, 1024)]
    said = section(page_of(frame_of(rows)), "growth")
    assert "claims L^0.5 ! grows faster than claimed" in said
    assert "No pair was timed at two lengths." in said


def test_crossings_stand_with_their_interval_and_the_rest_are_counted() -> None:
    rows = [row(BASELINE, n) for n in (256, 512, 1024)]
    ratios = {256: 0.5, 512: 0.5, 1024: 2.0}
    rows += [row(FAST, n, ratio=x, ratio_low=x / 1.01, ratio_high=x * 1.01)
             for n, x in ratios.items()]  # fmt: skip
    said = section(page_of(frame_of(rows)), "growth")
    assert f"{FAST} {BASELINE} q_len 724 [720, 728] 512 and 1024" in said
    assert said.endswith("Of 1 pair of variants on the same workloads, 1 crosses.")


def test_an_impossible_case_is_a_failure_with_its_reason_and_no_contender() -> None:
    reason = "9e15 FLOP/s, where this machine's best matrix product reaches 1e11"
    text = page_of(frame_of([row(BASELINE), row(FAST, status="impossible", reason=reason)]))
    assert f"{FAST} impossible {reason}" in section(text, "outcomes")
    assert f"{FAST} –" in section(text, "roofline")  # noqa: RUF001 - the dash of an empty cell
    assert f"Completed none, and left out: {FAST}" in section(text, "fastest")


def test_energy_is_a_table_or_the_reason_why_not() -> None:
    measured = [row(BASELINE, energy_joules=2.0, energy_resolution_joules=0.1)]
    assert "2.0 \u00b1 0.1 J" in section(page_of(frame_of(measured)), "roofline")
    machine = {"energy": {"cpu": {"absent": "no counter in powercap"}, "cuda": {"counter": "x"}}}
    text = section(page_of(frame_of([row(BASELINE)]), machine=machine), "roofline")
    assert "Energy was not measured (cpu: no counter in powercap)." in text


def test_an_undecided_verdict_says_what_would_decide_it() -> None:
    text = page_of(frame_of([row(BASELINE), row(FAST, verdict="undecided", rounds_needed=3777)]))
    assert 'title="undecided: about 4000 rounds would decide it"' in text


def test_a_mean_over_some_of_the_workloads_is_not_shown() -> None:
    rows = [row(variant, n) for variant in (BASELINE, FAST, "flex") for n in (256, 512)]
    assert "Geometric mean speed-up, forward: over all 2 workloads." in page_of(frame_of(rows))
    failed = row("flex", 512, status="oom", reason="no memory")
    text = page_of(frame_of([*rows[:-1], failed]))
    assert "Geometric mean" not in text
    assert "given for forward: 1 of 2 workloads was completed by all of its variants" in text


def test_what_is_only_to_be_shown_of_a_manifest_is_shown() -> None:
    text = section(
        page_of(
            frame_of([row(BASELINE)]),
            hazards=["turbo is on: the clock depends on <b>heat</b>; write 0 to boost"],
            git={"commit": "0123456789abcdef" * 2 + "01234567", "changed": True},
            allocator={"MALLOC_TRIM_THRESHOLD_": "99"},
        ),
        "method",
    )
    assert "and the remedy turbo is on: the clock depends on <b>heat</b>; write 0 to boost" in text
    assert "started in the commit 0123456789ab, with changes" in text
    assert "C allocator of what is timed MALLOC_TRIM_THRESHOLD_=99" in text
    assert "the remedy" not in section(page_of(frame_of([row(BASELINE)])), "method")


def test_facts_leave_out_what_a_manifest_does_not_hold() -> None:
    bare = {
        name: value for name, value in manifest().items() if name not in ("ended_utc", "machine")
    }
    facts = facts_of(bare)
    assert facts.when == "started 2026-01-02T03:04:05Z, not ended"
    assert facts.machine == ()
    nested = facts_of(manifest(machine={"cpu": {"memory_bytes": 2**33, "model": "X"}, "gpu": None}))
    assert nested.machine == (("cpu memory", "8 GiB"), ("cpu model", "X"))
    assert facts_of(manifest()).when.endswith("took 1 min 55 s")
    assert facts_of(manifest(suite={"name": "quick", "measure": {"margin": 0.02}})).measure == (
        ("margin", "2 %: smaller differences are called the same"),
    )


def test_a_report_lies_in_the_run_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "load", lambda _: frame_of([row(BASELINE), row(FAST)]))
    monkeypatch.setattr(pages, "controls", lambda _: control_frame())
    none = pd.DataFrame(columns=SCHEDULE_COLUMNS)
    monkeypatch.setattr(pages, "schedules", lambda _: none)
    monkeypatch.setattr(pages, "named_runs", lambda _: {"quick-a": (tmp_path, manifest())})
    assert write_report([tmp_path / "a"]) == tmp_path / "a" / "report" / "index.html"
    assert write_report([tmp_path / "a"], tmp_path / "b") == tmp_path / "b" / "index.html"


def test_a_report_of_nothing_and_one_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run was named; name one or more"):
        write_report([])
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(RunError, match=r"cannot write .*file.*; name a folder that can be written"):
        pages.write_page(material(frame_of([row(BASELINE)])), blocked)


def test_the_command_of_a_run_is_quoted_for_a_shell() -> None:
    words = ["attnbench", "run", "quick", "--where", "q_len<=1024"]
    assert facts_of(manifest(command=words)).command == "attnbench run quick --where 'q_len<=1024'"

"""The page: one HTML file that stands alone, with its figures and records beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from harness.analysis.crossover import crossovers_of
from harness.analysis.groups import rows_of, shared
from harness.analysis.growth import TOLERANCE, growths_of
from harness.errors import RunError
from harness.records import SCHEDULE_COLUMNS, controls, load, named_runs, schedules
from harness.report import claims as auditing
from harness.report import figures as drawing
from harness.report import quality, scaling, sheets, tables, trust
from harness.report.alarms import crowded, vacuous_gates
from harness.report.beside import besides
from harness.report.export import export
from harness.report.numbers import speedup
from harness.report.page.chance import controls_of, expectation
from harness.report.page.facts import Facts, facts_of, no_energy
from harness.report.page.summary import fastest, sentence
from harness.report.page.svg import inline
from harness.report.ranking import compared, matched
from harness.report.schedule_figures import KINDS as SCHEDULE_KINDS
from harness.report.schedule_figures import schedule_plots
from harness.report.schedules import Grid, grids
from harness.report.schedules import sentence as schedule_sentence

_FOLDER = Path(__file__).parent
_CAPTIONS = {
    "latency": "Median latency of one call; the band is its interval, and a point "
    "without one has none yet; a wide band may be cut off. Lower is better.",
    "speedup": "How many times as fast as the baseline, with the interval; above the dashed line "
    "is faster. Hollow markers: no difference was shown; a point without a band or bar has no "
    "interval yet. The scale follows the points, so a wide band may be cut off.",
    "memory": "Peak of allocated bytes in one call, inputs not counted, the output counted. "
    "Lower is better.",
    "limit": "The time that the machine would need at least (the slowest of: the FLOPs that the "
    "variant executes at the rate of the best matrix product, inputs and results at the rate of "
    "the best copy, one call of the smallest operator; all three measured beside the race) over "
    "the time that was needed. At the dashed line nothing is left to gain without computing less. "
    "The scale is logarithmic.",
    "error": "Error against the float64 definition of each variant's own family, at the longest "
    "length that most variants completed. The lines are Pareto fronts, one for each family: "
    "nothing of that family is both faster and more exact than what lies on it. Errors of "
    "different families are against different definitions and are not to be compared. "
    "Errors that differ by less than a factor of 2 may differ by the order of sums alone. The "
    "column error_bound is what the error had to stay below: twice what the definition itself errs "
    "by in the case's dtype, and a floor for rounding.",
    "deviation": "How far the output lies from softmax attention in float64, relative to its norm, "
    "a panel for each workload: filled markers say that they approximate softmax attention, hollow "
    "ones are mechanisms of their own, and in the strip below lies what is softmax attention to "
    "rounding. Down and left is better. The line is the Pareto front: nothing is both faster and "
    "closer than what lies on it. Deviation is no accuracy: inputs are drawn at random and nothing "
    "is trained, and a model learns with a mechanism, not with its distance from another. It "
    "depends on the spread and the rank of the scores, so compare within a panel and read along "
    "them. It is no error either: each variant is right against its own definition.",
    "simulated": "How many times as fast as the baseline a schedule was on real processes, with "
    "the interval, against how many times it is by its cycles in simulation; a number beside a "
    "marker is the length. On the solid line both agree; above the dashed one it is faster than "
    "the baseline. Hollow markers: no difference was shown.",
    "schedule-cycles": "Lower is better.",
    "schedule-saving": "1 - cycles / cycles of plain ring attention of as many vectors on as many "
    "elements. Higher is better.",
    "schedule-saving-elements": "The same against the number of elements.",
    "schedule-utilisation": "Operations / (elements x cycles).",
    "gantt": "Bars: what an element computes, with its vectors; arrows: what it sends to the next.",
}


@dataclass(frozen=True)
class Material:
    """All that a page is made of; `manifests` by the name of the run.

    schedules: those that were simulated, as `harness.records.schedules` reads them.
    """

    frame: pd.DataFrame
    controls: pd.DataFrame
    manifests: Mapping[str, Mapping[str, Any]]
    schedules: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SCHEDULE_COLUMNS))

    @property
    def timed(self) -> bool:
        """False of runs that simulated schedules alone."""
        return not self.frame.empty or self.schedules.empty


@dataclass(frozen=True)
class PageSchedules:
    """The section on schedules."""

    grids: Sequence[Grid]
    figures: Sequence[PageFigure]


@dataclass(frozen=True)
class PageFigure:
    """A figure on the page: its drawing, caption and files."""

    title: str
    svg: Markup
    caption: str
    files: tuple[str, ...]


def write_runs(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Read the runs and write their report; see `harness.report.write_report`."""
    if not runs:
        raise RunError("report: no run was named; name one or more folders of runs")
    manifests = {name: {**told, "run": name} for name, (_, told) in named_runs(runs).items()}
    material = Material(load(runs), controls(runs), manifests, schedules(runs))
    return write_page(material, runs[0] / "report" if out is None else out)


def write_page(material: Material, out: Path) -> Path:
    """Write index.html, the figures and what they show as CSV into a folder; returns index.html.

    Raises RunError when the folder cannot be written.
    """
    plots, missing = drawing.figures(material.frame) if material.timed else ([], [])
    plots += schedule_plots(material.schedules)
    try:
        out.mkdir(parents=True, exist_ok=True)
        drawing.save(plots, out)
        svgs = {plot.name: (out / f"{plot.name}.svg").read_bytes() for plot in plots}
        html = page(material, plots, missing, svgs)
        (out / "records.csv").write_bytes(export(material.frame, "csv"))
        if not material.schedules.empty:
            (out / "schedules.csv").write_bytes(export(material.schedules, "csv"))
        (out / "index.html").write_text(html, encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"report: cannot write {out}: {error.strerror or error}; name a folder that can be "
            "written"
        ) from error
    return out / "index.html"


def page(
    material: Material,
    plots: Sequence[drawing.Plot],
    missing: Sequence[drawing.Missing],
    svgs: Mapping[str, bytes],
) -> str:
    """The HTML of a report; `svgs` are the plots as SVG, by name."""
    rows = rows_of(material.frame)
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FileSystemLoader(_FOLDER),
    )
    environment.filters["factor"] = _mean
    gate = trust.gate(rows)
    drawn = [(plot, _figure(plot, svgs[plot.name], material.manifests)) for plot in plots]
    return environment.get_template("page.html.j2").render(
        css=Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),
        sentence=sentence(rows) if material.timed else schedule_sentence(material.schedules),
        timed=material.timed,
        fastest=fastest(rows),
        runs=[facts_of(manifest) for manifest in material.manifests.values()],
        title=_title(material.manifests),
        shared=shared(rows),
        cases=len(rows),
        blocks=len({(row.get("run"), row.get("block_id")) for row in rows}),
        figures=[one for plot, one in drawn if plot.kind not in SCHEDULE_KINDS],
        schedules=PageSchedules(
            grids(material.schedules),
            [one for plot, one in drawn if plot.kind in SCHEDULE_KINDS],
        ),
        besides=besides(material.frame),
        crowded=crowded(rows, material.manifests),
        missing=missing,
        tables=tables.matrix(material.frame),
        marks=tables.MARKS,
        expected=expectation(compared(rows), material.manifests),
        matched=[one for one in matched(material.frame) if one.whole],
        unmatched=[one for one in matched(material.frame) if not one.whole],
        controls=controls_of(material.controls, material.manifests),
        limits=sheets.limits(rows),
        energy=sheets.energy(rows),
        no_energy=no_energy(material.manifests),
        exponents=scaling.exponents(growths_of(rows)),
        quantities=scaling.QUANTITIES,
        tolerance=TOLERANCE,
        crossovers=scaling.crossovers(crossovers_of(rows)),
        qualities=quality.qualities(rows),
        claims=auditing.sheets(material.frame, material.manifests),
        gate=gate,
        vacuous=vacuous_gates(gate),
        probed=trust.probed(rows),
        throttled=trust.throttled(rows),
        outcomes=tables.outcomes(material.frame),
        failures=tables.failures(material.frame),
        own_truth=sorted({r["variant"] for r in rows if r.get("checked_against") == "itself"}),
    )


def _mean(value: float) -> str:
    # The baseline is 1 by definition; the other means are estimates without an interval.
    return "1x" if value == 1 else speedup(1 / value)


def _figure(
    plot: drawing.Plot, svg: bytes, manifests: Mapping[str, Mapping[str, Any]]
) -> PageFigure:
    caption = f"{_CAPTIONS[plot.kind]} {expectation(plot.comparisons, manifests)}".strip()
    files = tuple(f"{plot.name}.{kind}" for kind in drawing.FORMATS)
    return PageFigure(plot.title, inline(svg, plot.name, plot.alt), caption, files)


def _title(manifests: Mapping[str, Mapping[str, Any]]) -> str:
    names = dict.fromkeys(str(manifest["suite"]["name"]) for manifest in manifests.values())
    return f"attnbench: {', '.join(names)}"


__all__ = ["Facts", "Material", "page", "write_page", "write_runs"]

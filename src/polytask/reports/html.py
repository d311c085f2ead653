"""A report as one self-contained HTML file: no network, light and dark, phone and print."""

import functools
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from polytask._files.atomic import write_text
from polytask.data.finding import Finding
from polytask.diagnostics import RunReport

from . import charts, interplay, predictions, sections, weights
from .cells import Figure, figure
from .choice import choose_tasks
from .tables import all_metrics, column_rows, result_rows, used_baselines
from .words import BASELINES, SETS, flat, number, percent

MAX_FINDINGS = 100


def render_html(report: RunReport) -> str:
    """The whole report as one HTML document.

    Every text that comes from the table or the user is escaped, in the markup and in the data of
    the charts. A content security policy in the document forbids every load from elsewhere.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, percent=percent)
    template = environment.get_template("report.html.j2")
    return template.render(
        report=report,
        css=_asset("report.css"),
        script=_asset("report.js"),
        bundle=_bundle(),
        config=as_script_data(charts.CONFIG),
        **_context(report),
    )


def write_html(report: RunReport, path: Path) -> None:
    """Writes the report as HTML; an earlier file is replaced in one step or not at all."""
    write_text(path, render_html(report))


def as_script_data(document: Mapping[str, Any]) -> str:
    r"""JSON that is safe inside a script element: it cannot close it, nor start another.

    Example:
        >>> as_script_data({"task": "</script>"})
        '{"task":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(document, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _context(report: RunReport) -> dict[str, Any]:
    chosen, how = choose_tasks(report)
    names = [report.tasks[index].name for index in chosen]
    baselines = used_baselines(report)
    compared = [
        key for key in baselines if any(c.comparison.baseline == key for c in report.together)
    ]
    metrics, metrics_note = all_metrics(report)
    columns, columns_note = column_rows(report)
    return {
        "set_words": SETS[report.judged_on],
        "drawn": how,
        "baselines": baselines,
        "baseline_words": BASELINES,
        "results": result_rows(report, baselines, compared),
        "compared": compared,
        "metrics": metrics,
        "metrics_note": metrics_note,
        "curves": _embedded(_curves(report, chosen)),
        "comparisons": _embedded(_comparisons(report, chosen, compared)),
        "gaps": _embedded(_gaps(report, chosen, names)),
        "chance": _chance(report),
        "columns": columns,
        "columns_note": columns_note,
        "findings": sorted(report.findings, key=_severity)[:MAX_FINDINGS],
        "more_findings": len(report.findings) - MAX_FINDINGS,
        "split": flat(report.split),
        "settings": flat(report.settings),
        "environment": flat(report.environment),
        "tasks_with_words": [t for t in report.tasks if t.description or t.linear or t.note][:150],
        **_later(report, names),
        **_interplay(report),
    }


def _later(report: RunReport, names: Sequence[str]) -> dict[str, Any]:
    """What the sections after the comparison show."""
    card = report.data_card
    return {
        "set_names": SETS,
        "verdicts": sections.verdict_rows(report),
        "verdict_counts": sections.verdict_counts(report),
        "stopped": bool(report.history.get("stopped")),
        "penalties": _embedded(sections.penalty_figures(report)),
        "ends_plain": any(row.when == "end" and row.low is None for row in report.gaps),
        "regret": sections.regret_map(report),
        "full_regret": f"{sections.FULL_REGRET:.0%}".replace("%", "\N{NO-BREAK SPACE}%"),
        "calibration": _embedded(predictions.calibration_figures(report, names)),
        "calibration_rows": predictions.calibration_rows(report),
        "residuals": _embedded(predictions.residual_figures(report, names)),
        "residual_rows": predictions.residual_rows(report),
        "residual_heads": [
            ("Task", False),
            ("Labels", True),
            ("Mean", True),
            *(
                (f"{q:.0%}", True)
                for q, _ in (report.residuals[0].quantiles if report.residuals else ())
            ),
        ],
        "shuffles": _embedded(predictions.permutation_figures(report, names)),
        "permutation": predictions.permutation_rows(report),
        "spreads": _embedded(predictions.spread_figures(report, names)),
        "spread_rows": predictions.spread_rows(report),
        "penalty_rows": weights.penalty_rows(report),
        "spectra": _embedded(weights.spectrum_figures(report)),
        "features": weights.feature_rows(report),
        "layers": weights.layer_rows(report),
        "card": sections.card_rows(report),
        "card_heads": [
            ("Task", False),
            *((SETS[rows].capitalize(), True) for rows in (card.rows if card else ())),
            ("Parameters per label", True),
            ("Drift", True),
        ],
        "drifts": sum(task.flagged for task in card.tasks) if card else 0,
    }


def _interplay(report: RunReport) -> dict[str, Any]:
    """What the section about the gradients of the tasks shows."""
    found, once = report.interplay, report.trunk_gradients
    names = [task.name for task in report.tasks]
    geometry = None if found is None else found.geometry
    return {
        "imbalances": [] if found is None else interplay.severe(found),
        "measured": geometry is not None,
        "num_pairs": len(names) * (len(names) - 1) // 2,
        "few_tasks": len(names) <= interplay.SMALL,
        "cosine_figures": _embedded(interplay.cosine_figures(report)),
        "pair_rows": interplay.pair_rows(report),
        "geometry_rows": interplay.geometry_rows(names, geometry),
        "geometry_heads": interplay.geometry_heads(names),
        "share_curves": _embedded(interplay.curve_figures(report)),
        "once_rows": interplay.once_rows(report),
        "once_heads": interplay.geometry_heads(once.tasks if once is not None else ()),
        "once_map": interplay.once_map(report),
    }


def _severity(finding: Finding) -> int:
    order = ("danger", "warning")
    return order.index(finding.severity) if finding.severity in order else len(order)


def _embedded(figures: Sequence[Figure]) -> list[Figure]:
    return [{**found, "spec": as_script_data(found["spec"])} for found in figures]


def _curves(report: RunReport, chosen: Sequence[int]) -> list[Figure]:
    kept = report.history.get("best_epoch", 0)
    figures = []
    for index in chosen:
        spec = charts.curve(report, index)
        if spec is not None:
            task = report.tasks[index]
            words = f"kept epoch {kept}, own best {task.best_epoch}"
            figures.append(figure(f"curve-{index}", task.name, words, spec))
    return figures


def _comparisons(report: RunReport, chosen: Sequence[int], compared: Sequence[str]) -> list[Figure]:
    figures = []
    for key in compared:
        spec = charts.comparison(report, chosen, key)
        if spec is not None:
            title = f"Against {BASELINES[key]}"
            figures.append(figure(f"comparison-{key}", title, "", spec))
    return figures


def _gaps(report: RunReport, chosen: Sequence[int], names: Sequence[str]) -> list[Figure]:
    spec = charts.gap(report, chosen)
    title = "Training and validation loss"
    losses = [] if spec is None else [figure("gap-chart", title, "○ training, ● validation", spec)]
    return losses + sections.gap_figures(report, names)


def _chance(report: RunReport) -> str:
    judged = sum(
        1 for task in report.tasks if (row := task.on(report.judged_on)) and not row.too_few
    )
    if judged < 10:
        return ""
    return (
        f"{judged} tasks were judged; by chance alone about {max(1, round(0.05 * judged))} of them "
        "would be called better and as many worse."
    )


@functools.cache
def _bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script."""
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _asset(name: str) -> str:
    return resources.files("polytask.reports").joinpath("assets", name).read_text("utf-8")

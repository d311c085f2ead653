import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from polytask.data.finding import Finding
from polytask.diagnostics import ColumnRow, Imbalance
from polytask.reports import render_html, write_html

SECTIONS = ["headline", "results", "curves", "comparison", "gap", "data", "on", "settings"]
TWO_MEGABYTES = 2_000_000


class Page(HTMLParser):
    """What a browser would see: elements, texts by element, scripts with their content."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.ids, self.loads, self.scripts, self.heads = [], [], [], []
        self.tags, self.words, self._stack = [], [], []
        self.rows: dict[str, int] = {}
        self._table = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        self.ids += [found["id"]] if "id" in found else []
        self.loads += [v for k, v in attrs if k in ("src", "href", "action", "data", "srcset")]
        if tag == "table":
            self._table = found.get("id", "")
        if tag == "tr" and self._table:
            self.rows[self._table] = self.rows.get(self._table, 0) + 1
        if tag == "script":
            self.scripts.append((found, ""))
        if tag not in ("meta", "link", "img", "br", "line"):
            self._stack.append(tag)

    def handle_endtag(self, tag):
        if tag in self._stack:
            while self._stack.pop() != tag:
                pass

    def handle_data(self, data):
        if self._stack and self._stack[-1] == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        elif not self._stack or self._stack[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)

    @property
    def specs(self):
        return {
            attrs["data-chart"]: json.loads(text)
            for attrs, text in self.scripts
            if "data-chart" in attrs
        }


@pytest.fixture(scope="module")
def four(make_report):
    return Page(render_html(make_report()))


@pytest.fixture(scope="module")
def large(school):
    text = render_html(school)
    return text, Page(text)


def test_every_section_is_there_once(four):
    for section in [*SECTIONS, "environment"]:
        assert four.ids.count(section) == 1, section
    assert len(four.ids) == len(set(four.ids))


def test_links_lead_to_sections(four):
    anchors = [a["href"] for tag, a in four.tags if tag == "a"]
    assert anchors
    for anchor in anchors:
        assert anchor[1:] in four.ids


def test_nothing_is_loaded_from_anywhere(make_report):
    text = render_html(make_report())
    page = Page(text)
    assert [load for load in page.loads if not load.startswith("#")] == []
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert not any("src" in attrs for attrs, _ in page.scripts)
    policy = next(a for t, a in page.tags if t == "meta" and "http-equiv" in a)["content"]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    for spec in page.specs.values():
        assert '"url"' not in json.dumps(spec)


def test_the_check_for_loads_can_fail():
    page = Page('<link href="https://x.org/a.css"><script src="//x.org/a.js"></script>')
    assert page.loads == ["https://x.org/a.css", "//x.org/a.js"]


def test_139_tasks_and_256_epochs_stay_below_two_megabytes(large, school, measured):
    text, _ = large
    assert len(text.encode()) <= TWO_MEGABYTES
    assert len(render_html(measured(school)).encode()) <= TWO_MEGABYTES


def test_worst_case_stays_below_two_megabytes(school, make_report):
    """Three sets of rows, long names, thousands of columns and findings, long curves."""
    tasks = tuple(
        replace(
            task,
            name=f"{task.name} with a rather long and winding name of its own",
            sets=(*task.sets, replace(task.sets[1], rows="test")),
        )
        for task in school.tasks
    )
    columns = tuple(ColumnRow(f"c{i}", "numeric", "input", 0, 9, "robust") for i in range(5000))
    findings = tuple(
        Finding("x", "info", (), f"Finding {i} is about something.") for i in range(3000)
    )
    worst = replace(school, tasks=tasks, columns=columns, findings=findings)
    assert len(render_html(worst).encode()) <= TWO_MEGABYTES
    long = make_report(epochs=20_000)
    assert len(render_html(long).encode()) <= TWO_MEGABYTES


def test_at_most_twelve_tasks_are_drawn_and_all_are_in_the_table(large, school):
    _, page = large
    assert sum(name.startswith("curve-") for name in page.specs) == 12
    assert page.rows["results-table"] == 1 + 139
    for task in school.tasks:
        assert task.name in page.text
    assert "Drawn: 12 of 139 tasks" in page.text


def test_curves_have_at_most_200_points_each(large, values):
    _, page = large
    for name, spec in page.specs.items():
        if name.startswith("curve-"):
            points = values(spec, -1)
            for rows in ("training", "validation"):
                assert 2 <= sum(point["rows"] == rows for point in points) <= 200


def test_every_table_column_can_be_sorted_by_keyboard(four):
    heads = sum(tag == "th" and a.get("scope") == "col" for tag, a in four.tags)
    buttons = sum(tag == "button" for tag, _ in four.tags)
    unsorted = 4  # the table of tasks in words
    assert buttons == heads - unsorted > 10
    regions = [a for t, a in four.tags if t == "div" and a.get("role") == "region"]
    assert regions
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in regions)


def test_phone_dark_and_print_are_thought_of(make_report):
    text = render_html(make_report())
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_charts_have_no_colour_that_dark_mode_could_not_change(four):
    for spec in four.specs.values():
        assert not re.search(r"#[0-9a-fA-F]{3,8}\b", json.dumps(spec))


def test_verdicts_do_not_rest_on_colour_alone(four):
    cells = [a["class"] for t, a in four.tags if t == "td" and "class" in a]
    assert "better" in cells
    assert re.search(r"▲ \+[0-9.]+\N{NO-BREAK SPACE}%", four.text)
    assert re.search(r"○ −[0-9.]+\N{NO-BREAK SPACE}%", four.text)


def test_the_first_sentence_stands_first(make_report):
    page = Page(render_html(make_report(loses=True)))
    headline = page.text.index("A linear model is better than this model on 3 of 4 tasks")
    assert headline < page.text.index("Results per task")
    classes = [a.get("class") for t, a in page.tags if t == "p"]
    assert classes.count("first") == 1


def test_the_gap_is_called_a_diagnostic(four):
    assert "A diagnostic, not a score." in four.text


@pytest.mark.parametrize("template", ["{}", "</script>{}", "x' onload='{}", '{{{{ "{}" }}}}'])
def test_texts_of_the_user_are_never_markup(make_report, values, evil, template):
    name = template.format(evil)
    report = make_report([name, "b", "c", "d"], title=name)
    poison = replace(
        report,
        headline=(name, *report.headline),
        columns=(ColumnRow(name, name, name, 1, 2, name, name),),
        findings=(Finding(name, name, (name,), name, name),),
        split={name: name},
        settings={name: {name: [name]}},
        switched_on=((name, name),),
        environment={name: name},
        tasks=tuple(
            replace(task, kind=name, description=name, note=name, linear=name)
            for task in report.tasks
        ),
    )
    clean, page = Page(render_html(report)), Page(render_html(poison))
    plain = Page(render_html(make_report()))
    assert len(page.scripts) == len(clean.scripts) == len(plain.scripts)
    handlers = [key for _, a in page.tags for key in a if key.startswith("on")]
    assert not handlers
    assert not any("alert" in text and "data-chart" not in a for a, text in page.scripts)
    assert name in page.text
    drawn = values(page.specs["gap-chart"], 1)
    assert drawn[0]["task"] == name, "the data of a chart must hold the name unchanged"


def test_a_run_without_validation_rows_is_rendered_too(make_report):
    report = make_report(full=False)
    alone = replace(
        report,
        judged_on="train",
        together=(),
        history={},
        tasks=tuple(
            replace(task, sets=task.sets[:1], gap=None, best_epoch=0) for task in report.tasks
        ),
        columns=(),
        findings=(),
        split={},
        settings={},
        switched_on=(),
        environment={},
    )
    page = Page(render_html(alone))
    assert page.specs == {}
    assert page.text.count("Not measured") >= 3
    assert page.text.count("Not recorded") == 3
    assert "Nothing suspicious was found" in page.text


def test_missing_numbers_and_missing_epochs_are_dashes(make_report):
    report = make_report()
    holes = {**report.history}
    holes["epochs"] = [{**e, "valid": [None] * 4, "train": [None] * 4} for e in holes["epochs"]]
    empty = replace(
        report,
        history={**holes, "best_epochs": [], "baseline": []},
        tasks=tuple(
            replace(
                task,
                sets=tuple(
                    replace(
                        row,
                        loss=None,
                        comparisons=(),
                        metrics=tuple(replace(m, model=None, linear=None) for m in row.metrics),
                    )
                    for row in task.sets
                ),
            )
            for task in report.tasks
        ),
    )
    page = Page(render_html(empty))
    assert not any(name.startswith("curve") for name in page.specs)
    assert "None" not in page.text
    assert "nan" not in page.text.lower().split()


def test_same_report_same_file(make_report, tmp_path):
    write_html(make_report(), tmp_path / "a.html")
    write_html(make_report(), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_verdicts_follow_the_headline_and_come_before_everything_else(four):
    places = [four.ids.index(name) for name in ("headline", "verdicts", "next", "results")]
    assert places == sorted(places)
    assert "✖ overfits" in four.text
    assert "Because of number 0." in four.text
    assert "polytask fit … --set a=1" in four.text
    assert four.rows["verdicts-table"] == 1 + 4


def test_many_verdicts_are_counted_and_folded(large):
    _, page = large
    words = re.sub(r"\s+", " ", page.text)
    assert "28 ✖ overfits" in words
    assert page.rows["verdicts-table"] == 1 + 139


def test_every_part_has_its_place(four):
    for name in ("regret", "predictions", "weights"):
        assert name in four.ids
    drawn = set(four.specs)
    assert {"gap-intervals", "penalty-0", "permutation-chart", "spectrum-0"} <= drawn
    assert {"reliability-0", "residuals-0", "spread-0"} <= drawn
    for table in (
        "card",
        "calibration",
        "residuals",
        "permutation",
        "spread",
        "gradients",
        "zeros",
        "features",
        "layers",
    ):
        assert four.rows[f"{table}-table"] > 1
    assert "3 of the validation rows have exactly the inputs of a training row" in four.text
    assert "▲ 0.400" in four.text
    assert "1 of 2 inputs are used" in four.text
    assert "120 of 768" in four.text


def test_regret_is_drawn_for_every_task(large, school):
    text, _ = large
    heat = text.split('id="regret"')[1].split("</section>")[0]
    assert heat.count("<li title=") == 1 + 139
    assert 'viewBox="0 0 ' in heat
    assert heat.count('class="mark"') == 139
    assert heat.count('class="line"') == 1
    assert len(heat) < 200_000
    assert "with the loss B of predicting the training average" in heat


def test_cosines_are_numbers_for_few_tasks_and_colours_for_many(four, large):
    text, page = large
    section = text.split('id="interplay"')[1].split("</section>")[0]
    assert 'class="heat' in section
    assert 'class="warm"' in section
    assert "the first 40 of 139 tasks" in re.sub(r"\s+", " ", page.text)
    assert "−0.50" in four.text


def test_a_report_of_the_first_version_is_rendered(make_report):
    page = Page(render_html(make_report(full=False)))
    assert "next" not in page.ids
    assert page.text.count("Not measured") >= 2
    assert "Undefined" not in page.text


def test_new_texts_of_the_user_are_never_markup(make_report, measured, evil):
    report = measured(make_report())
    poison = replace(
        report,
        verdicts=tuple(
            replace(row, sentence=evil, action=evil, trajectory=evil, word=evil)
            for row in report.verdicts
        ),
        advice=tuple(
            replace(row, words=evil, direction=evil, command=evil) for row in report.advice
        ),
        structure=replace(
            report.structure,
            layers=tuple(replace(row, name=evil) for row in report.structure.layers),
            features=tuple(replace(row, name=evil) for row in report.structure.features),
            penalties=tuple(
                replace(row, name=evil, words=evil) for row in report.structure.penalties
            ),
        ),
        regret=replace(report.regret, tasks=(evil,) * 4),
        trunk_gradients=replace(report.trunk_gradients, tasks=(evil,) * 4),
        interplay=replace(
            report.interplay,
            findings=(Imbalance("conflict", (evil,), evil, evil, evil),),
            pairs=tuple(replace(pair, first=evil, second=evil) for pair in report.interplay.pairs),
            curves=tuple(replace(curve, task=evil) for curve in report.interplay.curves),
        ),
        uncertainty=tuple(replace(row, source=evil) for row in report.uncertainty),
    )
    plain, page = Page(render_html(report)), Page(render_html(poison))
    assert len(page.scripts) == len(plain.scripts)
    assert not any("alert" in text and "data-chart" not in a for a, text in page.scripts)
    assert evil in page.text

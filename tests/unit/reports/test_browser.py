"""A real browser opens the report: no error on the console, every chart drawn, tables sort."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from polytask.reports import render_html

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed on this machine"),
]

SORT = """<script>
window.addEventListener("load", () => setTimeout(() => {
  const buttons = document.querySelectorAll("#results-table th button");
  const gap = buttons[3];
  gap.click(); gap.click();
}, 1500));
</script>"""


def browse(path, profile, *options):
    return subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            "--v=0",
            "--virtual-time-budget=10000",
            f"--user-data-dir={profile}",
            *options,
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def console(stderr):
    return [line for line in stderr.splitlines() if "CONSOLE" in line]


class Drawn(HTMLParser):
    """Ids of chart elements, and of those with marks inside an SVG."""

    def __init__(self, text):
        super().__init__()
        self.charts, self.drawn, self._inside = [], set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "div" and "chart" in found.get("class", "").split():
            self._inside = found["id"]
            self.charts.append(self._inside)
        if tag == "path" and self._inside and found.get("d"):
            self.drawn.add(self._inside)
        if tag == "script":
            self._inside = ""


@pytest.mark.parametrize("case", ["four", "school", "loses", "hostile", "measured"])
def test_report_in_a_browser(case, make_report, measured, school, evil, tmp_path):
    hostile = [evil, "a.b[0]'\"\\ \u2028x", "</script><img src=x onerror=console.error(1)>", "☃"]
    report = {
        "four": make_report,
        "school": lambda: school,
        "loses": lambda: make_report(loses=True),
        "hostile": lambda: measured(make_report(hostile)),
        "measured": lambda: measured(make_report([f"task {i}" for i in range(30)], epochs=16)),
    }[case]()
    path = tmp_path / "report.html"
    path.write_text(render_html(report) + SORT, encoding="utf-8")
    run = browse(path, tmp_path / "profile", "--dump-dom")
    assert console(run.stderr) == []
    page = Drawn(run.stdout)
    # Curves and a penalty, two comparisons, two of the gap, shuffled labels, spectrum; then what
    # the chosen tasks have.
    assert len(page.charts) >= min(len(report.tasks), 12) + 1 + 2 + 2 + 1 + 1
    assert set(page.charts) == page.drawn
    assert "could not be drawn" not in run.stdout.split("chart-config")[0]

    table = run.stdout.split('id="results-table"')[1].split("</table>")[0]
    assert table.count('aria-sort="descending"') == 1
    names = re.findall(r'<tr><td data-v="([^"]*)"', table)
    assert len(names) == len(report.tasks)
    column = re.findall(r'<td data-v="([^"]*)" class="number(?: best)?">', table)
    per_row = len(column) // len(report.tasks)
    models = [float(value) for value in column[1::per_row]]
    assert models == sorted(models, reverse=True)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("desktop", ["--window-size=1280,2400"]),
        ("phone", ["--window-size=500,3000"]),
        ("dark", ["--window-size=1280,2400", "--blink-settings=preferredColorScheme=0"]),
    ],
)
def test_screenshots_can_be_taken(name, options, make_report, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(render_html(make_report()), encoding="utf-8")
    target = tmp_path / f"{name}.png"
    run = browse(path, tmp_path / "profile", f"--screenshot={target}", *options)
    assert console(run.stderr) == []
    assert target.stat().st_size > 30_000


def test_an_error_on_the_console_is_noticed(tmp_path):
    path = tmp_path / "broken.html"
    path.write_text("<script>console.error('broken chart'); missing()</script>", encoding="utf-8")
    run = browse(path, tmp_path / "profile", "--dump-dom")
    assert len(console(run.stderr)) == 2

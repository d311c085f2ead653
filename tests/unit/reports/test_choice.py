from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytask.reports.choice import choose_tasks, main_comparison, thin_epochs


@given(
    count=st.integers(1, 3000),
    keep=st.lists(st.integers(1, 3000), max_size=4),
    limit=st.integers(8, 200),
)
def test_thinning_keeps_ends_and_marks_within_the_limit(count, keep, limit):
    epochs = list(range(1, count + 1))
    kept = thin_epochs(epochs, keep, limit)
    assert len(kept) <= max(limit, 0)
    assert kept == sorted(set(kept))
    assert {1, count} <= set(kept)
    assert {epoch for epoch in keep if epoch <= count} <= set(kept)
    if count > limit:
        gaps = [b - a for a, b in pairwise(kept)]
        assert max(gaps) <= 2 * count / (limit - len(set(keep)) - 2) + 1, "evenly spaced"


def test_few_tasks_are_all_drawn(make_report):
    report = make_report([f"t{i}" for i in range(12)])
    assert choose_tasks(report) == (list(range(12)), "")


def test_of_many_tasks_the_extremes_are_drawn(school):
    chosen, words = choose_tasks(school)
    assert len(chosen) == 12
    assert chosen == sorted(chosen)
    found = [main_comparison(school, task).difference for task in school.tasks]
    judged = [i for i, task in enumerate(school.tasks) if not task.on("valid").too_few]
    assert len(judged) == 138
    ranked = sorted(judged, key=found.__getitem__)
    assert set(chosen) == {*ranked[:6], *ranked[-6:]}
    assert words == (
        "Drawn: 12 of 139 tasks; of the 138 with enough labels for a verdict, the 6 furthest "
        "behind and the 6 furthest ahead of a linear model. All are in the table."
    )


def test_tasks_with_too_few_labels_are_drawn_only_if_no_others_are_left(school):
    def starved(count):
        few = tuple(
            replace(task, sets=tuple(replace(row, too_few="few") for row in task.sets))
            for task in school.tasks[:count]
        )
        return replace(school, tasks=(*few, *school.tasks[count:]))

    assert set(choose_tasks(starved(127))[0]) == set(range(127, 139))
    assert set(choose_tasks(starved(139))[0]) & set(range(127))


def test_without_comparisons_the_first_tasks_are_drawn(school):
    bare = replace(
        school,
        tasks=tuple(
            replace(task, sets=tuple(replace(row, comparisons=()) for row in task.sets))
            for task in school.tasks
        ),
    )
    assert choose_tasks(bare)[0] == list(range(12))
    assert "first 12" in choose_tasks(bare)[1]


@pytest.mark.parametrize("missing", ["linear", "mean"])
def test_the_linear_model_is_the_main_rival(school, missing):
    task = school.tasks[0]
    rows = tuple(
        replace(row, comparisons=tuple(c for c in row.comparisons if c.baseline != missing))
        for row in task.sets
    )
    found = main_comparison(school, replace(task, sets=rows))
    assert found.baseline == {"linear": "mean", "mean": "linear"}[missing]

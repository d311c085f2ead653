from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV

from polytask.diagnostics import Outputs, constant_outputs, evaluate, linear_baseline
from polytask.diagnostics.linear import LOGISTIC_CS, POISSON_ALPHAS, RIDGE_ALPHAS, _best
from polytask.metrics.base import Metric
from polytask.tasks import Binary, Multiclass, Multilabel, Regression, Task, TaskSpec, group_tasks


def losses(outputs):
    return [found.loss for found in evaluate(outputs)]


def blank(table, batch):
    shapes = {g.name: (len(batch.rows), len(g.tasks), g.outputs) for g in table.groups}
    outputs = {name: torch.zeros(shape) for name, shape in shapes.items()}
    return Outputs(table.groups, outputs, batch.targets, batch.masks, batch.row_weights)


def test_beats_the_mean_on_new_rows_for_every_kind(make_table, encode):
    train, fresh = make_table(seed=0), make_table(seed=1)
    test = encode(train.tasks, fresh.values, fresh.batch.inputs)
    baseline = linear_baseline(train.batch, train.groups)
    assert not baseline.missing
    assert set(baseline.words) == {task.name for task in train.tasks}
    like = blank(train, test)
    linear = losses(baseline.outputs(test, like))
    mean = losses(constant_outputs(like, train.tasks))
    for task, ours, floor in zip(train.tasks, linear, mean, strict=True):
        assert ours < 0.95 * floor, task.name


def test_ridge_equals_scikit_learn_on_one_hot_columns(table):
    baseline = linear_baseline(table.batch, table.groups)
    task = table.tasks[0]
    target, mask = task.encode(table.values["level"])
    numeric = table.batch.inputs["numeric"].double().numpy()
    hot = np.eye(5)[table.batch.inputs["categories"][:, 0].numpy()]
    center, scale = numeric.mean(0), numeric.std(0)
    design = np.concatenate([(numeric - center) / scale, hot], 1)
    weights = table.batch.row_weights.double().numpy()
    rows = mask.numpy()
    model = RidgeCV(RIDGE_ALPHAS)
    model.fit(design[rows], target.double().numpy()[rows], sample_weight=weights[rows])
    group = next(g for g in table.groups if 0 in g.indices)
    found = baseline.predict(table.batch)[group.name][:, group.indices.index(0), 0]
    # float32 outputs
    np.testing.assert_allclose(found.numpy(), model.predict(design), rtol=1e-5, atol=1e-5)
    assert f"alpha {model.alpha_:.3g}" in baseline.words["level"]
    unweighted = RidgeCV(RIDGE_ALPHAS).fit(design[rows], target.double().numpy()[rows])
    assert np.abs(unweighted.predict(design) - found.numpy()).max() > 1e-4, "row weights count"


def test_logistic_equals_scikit_learn_with_class_weights(make_table, encode):
    base = make_table(weighted=False)
    rare = np.where(np.arange(300) % 3 == 0, base.values["churn"], np.nan)
    task = Binary("churn", class_weight="balanced").fit(rare)
    numeric = {"numeric": base.batch.inputs["numeric"]}
    batch = encode([task], {"churn": rare}, numeric)
    baseline = linear_baseline(batch, group_tasks([task]))
    strength = float(baseline.words["churn"].split("C ")[1].rstrip(")"))
    design = numeric["numeric"].double().numpy()
    design = (design - design.mean(0)) / design.std(0)
    rows = ~np.isnan(rare)

    def reference(class_weight):
        model = LogisticRegression(C=strength, class_weight=class_weight, tol=1e-8)
        model.fit(design[rows], rare[rows])
        return model.decision_function(design)

    found = baseline.predict(batch)["churn"][:, 0, 0].numpy()
    # C is printed with three digits, and the baseline stops at a tolerance of 1e-3.
    np.testing.assert_allclose(found, reference("balanced"), atol=0.02)
    assert np.abs(found - reference(None)).max() > 0.1


def test_long_form_is_one_ridge_with_task_indicators(encode):
    rng = np.random.default_rng(0)
    rows, k = 400, 8
    which = rng.integers(0, k, rows)
    x = rng.normal(size=(rows, 3))
    y = x @ [1.0, -1.0, 0.5] + np.linspace(-2, 2, k)[which] + 0.3 * rng.normal(size=rows)
    values = {f"t{i}": np.where(which == i, y, np.nan) for i in range(k)}
    tasks = [Regression(name, center=0.0, scale=2.0).fit(v) for name, v in values.items()]
    groups = group_tasks(tasks)
    batch = encode(tasks, values, {"numeric": torch.tensor(x, dtype=torch.float32)})
    baseline = linear_baseline(batch, groups, long_form=True)
    assert all("all 8 tasks" in words for words in baseline.words.values())

    inputs = batch.inputs["numeric"].double().numpy()
    design = np.concatenate([(inputs - inputs.mean(0)) / inputs.std(0), np.eye(k)[which]], 1)
    alpha = float(baseline.words["t0"].split("alpha ")[1].split(")")[0])
    reference = Ridge(alpha).fit(design, y / 2.0).predict(design)
    found = baseline.predict(batch)[groups[0].name][torch.arange(rows), torch.tensor(which), 0]
    np.testing.assert_allclose(found.numpy(), reference, atol=2e-3)

    # One model per task of 50 rows is the weaker baseline here: the slopes are the same.
    alone = linear_baseline(batch, groups)
    difference = alone.predict(batch)["t0"] - baseline.predict(batch)["t0"]
    assert float(difference.abs().max()) > 0.02


def test_unseen_categories_get_no_column(table):
    baseline = linear_baseline(table.batch, table.groups)
    codes = table.batch.inputs["categories"]
    unseen = table.batch._replace(
        inputs={**table.batch.inputs, "categories": torch.full_like(codes, 77)}
    )
    for output in baseline.predict(unseen).values():
        assert torch.isfinite(output).all()


def test_zeros_and_ones_stay_and_numbers_do_not_depend_on_their_unit(table):
    inputs = table.batch.inputs
    scaled = table.batch._replace(inputs={**inputs, "numeric": inputs["numeric"] * 1000 + 5e4})
    plain = linear_baseline(table.batch, table.groups)
    other = linear_baseline(scaled, table.groups)
    for name, output in plain.predict(table.batch).items():
        # float32 inputs near 5e4 are rounded to 4e-3, 4e-6 of a deviation.
        torch.testing.assert_close(other.predict(scaled)[name], output, atol=5e-3, rtol=1e-2)
    bits = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    from polytask.diagnostics.design import Design

    design = Design.fit({"numeric": bits})
    assert design.center.tolist() == [0.0]
    assert design.scale.tolist() == [1.0]


def test_wide_sparse_inputs_give_the_same_model(encode):
    rng = np.random.default_rng(0)
    bits = (rng.random((400, 80)) < 0.05).astype(np.float32)
    y = (bits[:, 0] + bits[:, 1] + 0.3 * rng.normal(size=400) > 0.3).astype(float)
    task = Binary("y").fit(y)
    groups = group_tasks([task])
    sparse = encode([task], {"y": y}, {"numeric": torch.tensor(bits)})
    found = linear_baseline(sparse, groups)
    strength = float(found.words["y"].split("C ")[1].rstrip(")"))
    model = LogisticRegression(C=strength, tol=1e-8).fit(bits, y)
    logits = found.predict(sparse)["y"][:, 0, 0].numpy()
    np.testing.assert_allclose(logits, model.decision_function(bits), atol=0.05)


def test_a_class_without_training_rows_is_improbable_not_impossible(encode):
    values = np.array(["a", "b"] * 30, dtype=object)
    task = Multiclass("y", classes=("a", "b", "c")).fit(values)
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    batch = encode([task], {"y": values}, {"numeric": x})
    output = linear_baseline(batch, group_tasks([task])).predict(batch)["y"]
    assert torch.isfinite(output).all()
    assert torch.softmax(output[:, 0], -1)[:, 2].max() < 1e-3


def test_too_few_labels_and_one_class_are_said_in_words(encode):
    generator = torch.Generator().manual_seed(0)
    inputs = {"numeric": torch.randn(40, 2, generator=generator)}
    few = np.where(np.arange(40) < 5, np.arange(40.0), np.nan)
    both = np.arange(40) % 2.0
    tags = np.stack([both, both], 1)
    tasks = [
        Regression("few").fit(few),
        Binary("one").fit(both),
        Multilabel("tags", columns=("a", "b")).fit(tags),
    ]
    values = {"few": few, "one": np.zeros(40), "tags": tags * [1.0, 0.0]}
    batch = encode(tasks, values, inputs)
    found = linear_baseline(batch, group_tasks(tasks))
    assert found.missing == {
        "few": "only 5 training labels",
        "one": "the training labels have one class only",
        "tags": "label 'b' has one class only",
    }
    assert all(torch.isnan(output).all() for output in found.predict(batch).values())


@dataclass(frozen=True)
class Odd(TaskSpec):
    kind: ClassVar[str] = "odd"

    def fit(self, values, weights=None):
        return OddTask(self)


class OddTask(Task):
    def __init__(self, spec):
        self.spec, self.outputs = spec, 1

    def encode(self, values):
        return torch.tensor(values, dtype=torch.float32), torch.ones(len(values), dtype=torch.bool)

    def loss(self, output, target):
        return (output.squeeze(-1) - target).abs()

    def predict(self, output):
        return {"": output.squeeze(-1).numpy()}

    def metrics(self):
        return {"zero": Metric("zero", False, lambda *_: 0.0)}

    def baseline(self):
        return torch.zeros(1)

    def state(self):
        return {}

    @classmethod
    def from_state(cls, spec, state):
        return cls(spec)


def test_custom_kinds_and_other_inputs_have_no_linear_baseline(encode):
    task = Odd("y").fit(np.zeros(30))
    batch = encode([task], {"y": np.zeros(30)}, {"numeric": torch.zeros(30, 2)})
    assert linear_baseline(batch, group_tasks([task])).missing == {
        "y": "there is none for the kind 'odd'"
    }
    image = batch._replace(inputs=torch.zeros(30, 3, 8, 8))
    found = linear_baseline(image, group_tasks([task]))
    assert found.missing == {"y": "the inputs are not a table"}
    assert torch.isnan(found.predict(image)["y"]).all()


def test_same_seed_same_model(table):
    first, second = (linear_baseline(table.batch, table.groups, seed=3) for _ in range(2))
    for name in first.weights:
        assert torch.equal(first.weights[name], second.weights[name])


def test_large_tables_choose_on_some_rows_and_fit_on_all(table, monkeypatch):
    monkeypatch.setattr("polytask.diagnostics.linear.MAX_COST_OF_CHOICE", 1.0)
    monkeypatch.setattr("polytask.diagnostics.linear.MAX_ROWS_OF_CHOICE", 100)
    whole = linear_baseline(table.batch, table.groups)
    assert not whole.missing
    monkeypatch.setattr("polytask.diagnostics.baselines.MAX_CELLS", 1)
    rows = table.batch._replace(
        inputs={k: v.repeat(5, 1) for k, v in table.batch.inputs.items()},
        targets={k: v.repeat(5, *[1] * (v.ndim - 1)) for k, v in table.batch.targets.items()},
        masks={k: v.repeat(5, 1) for k, v in table.batch.masks.items()},
        row_weights=table.batch.row_weights.repeat(5),
        rows=torch.arange(1500),
    )
    sampled = linear_baseline(rows, table.groups)
    assert not sampled.missing
    like = blank(table, table.batch)
    for a, b in zip(
        losses(whole.outputs(table.batch, like)),
        losses(sampled.outputs(table.batch, like)),
        strict=True,
    ):
        assert b == pytest.approx(a, rel=0.15)


def test_replaced_groups_do_not_mix(table):
    """Outputs of the baseline sit beside the labels of the same task, whatever the order."""
    reversed_tasks = table.tasks[::-1]
    groups = group_tasks(reversed_tasks)
    targets = {g.name: None for g in groups}
    for group in groups:
        old = next(
            o for o in table.groups if o.tasks[0].fusion_key() == group.tasks[0].fusion_key()
        )
        places = [old.tasks.index(task) for task in group.tasks]
        targets[group.name] = (
            table.batch.targets[old.name][:, places],
            table.batch.masks[old.name][:, places],
        )
    batch = table.batch._replace(
        targets={k: v[0] for k, v in targets.items()}, masks={k: v[1] for k, v in targets.items()}
    )
    forward = losses(
        linear_baseline(table.batch, table.groups).outputs(table.batch, blank(table, table.batch))
    )
    other = replace(
        blank(table, table.batch), groups=groups, targets=batch.targets, masks=batch.masks
    )
    backward = losses(linear_baseline(batch, groups).outputs(batch, other))
    assert forward == pytest.approx(backward[::-1], rel=1e-5)


def test_weaker_penalties_are_not_tried_after_a_clear_rise():
    assert LOGISTIC_CS[0] < LOGISTIC_CS[-1]  # C is the inverse of the penalty
    assert POISSON_ALPHAS[0] > POISSON_ALPHAS[-1]
    tried = []
    totals = {1.0: 5.0, 2.0: 3.0, 3.0: 3.001, 4.0: 2.9, 5.0: 3.5, 6.0: 0.0}

    def fit(part, strength, steps):
        tried.append(strength)
        return np.zeros((1, 1)), np.full(1, totals[strength])

    one = np.arange(1)
    found = _best(
        list(totals), [(one, one)], fit, np.ones((1, 1)), np.ones(1), lambda raw, _: raw[:, 0]
    )
    assert found == 4.0  # a rise within the noise, at 3, does not end the search
    assert tried == [1.0, 2.0, 3.0, 4.0, 5.0]

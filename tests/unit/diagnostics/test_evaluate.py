from dataclasses import replace

import numpy as np
import pytest
import torch

from polytask.diagnostics import Outputs, evaluate, gaps, hard
from polytask.tasks import Binary, Multiclass, Multilabel, group_tasks, masked_sums


def random_outputs(table, seed=0):
    generator = torch.Generator().manual_seed(seed)
    outputs = {
        g.name: torch.randn(300, len(g.tasks), g.outputs, generator=generator) for g in table.groups
    }
    batch = table.batch
    return Outputs(table.groups, outputs, batch.targets, batch.masks, batch.row_weights)


def test_losses_equal_those_of_training(table):
    outputs = random_outputs(table)
    found = evaluate(outputs)
    for group in table.groups:
        loss = group.loss(outputs.outputs[group.name], outputs.targets[group.name])
        sums, counts = masked_sums(loss, outputs.masks[group.name], outputs.row_weights)
        for place, index in enumerate(group.indices):
            assert found[index].loss == pytest.approx(float(sums[place] / counts[place]), rel=1e-5)
            plain = float(loss[:, place][outputs.masks[group.name][:, place]].mean())
            assert found[index].loss != pytest.approx(plain, rel=1e-4), "row weights must count"


def test_gaps_never_count(table):
    outputs = random_outputs(table)
    before = evaluate(outputs)
    spoiled = {
        name: value.masked_fill(~outputs.masks[name].unsqueeze(-1), torch.nan)
        for name, value in outputs.outputs.items()
    }
    after = evaluate(outputs.with_outputs(spoiled))
    for old, new in zip(before, after, strict=True):
        assert old.loss == new.loss
        assert old.metrics == new.metrics


def test_rows_of_weight_zero_are_no_labels(table):
    weights = table.batch.row_weights.clone()
    weights[:100] = 0
    outputs = replace(random_outputs(table), row_weights=weights)
    found = evaluate(outputs)
    assert found[2].labels == 200


def test_undefined_is_none_not_nan(table):
    outputs = random_outputs(table)
    empty = replace(outputs, masks={k: torch.zeros_like(v) for k, v in outputs.masks.items()})
    for found in evaluate(empty):
        assert found.labels == 0
        assert found.loss is None
        assert set(found.metrics.values()) == {None}


def test_diverged_outputs_have_no_loss(table):
    outputs = random_outputs(table)
    broken = {name: torch.full_like(value, torch.nan) for name, value in outputs.outputs.items()}
    assert all(found.loss is None for found in evaluate(outputs.with_outputs(broken)))


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        (Binary("y", label_smoothing=0.2), np.array([0, 1, 1])),
        (Multiclass("y", label_smoothing=0.2), np.array(["a", "b", "c"], dtype=object)),
        (Multilabel("y", columns=("a", "b"), label_smoothing=0.2), np.array([[0, 1], [1, 0]])),
    ],
)
def test_reports_judge_on_hard_labels(spec, values):
    task = spec.fit(values)
    plain = replace(spec, label_smoothing=0.0).fit(values)
    target, _ = task.encode(values)
    output = torch.randn(len(target), task.outputs)
    groups = group_tasks([task])
    outputs = Outputs(
        groups,
        {"y": output[:, None]},
        {"y": target[:, None]},
        {"y": torch.ones(len(target), 1, dtype=torch.bool)},
        None,
    )
    found = evaluate(outputs)[0]
    assert found.loss == pytest.approx(float(plain.loss(output, target).mean()))
    assert found.loss != pytest.approx(float(task.loss(output, target).mean()), rel=1e-6)
    assert torch.equal(hard(task).baseline(), plain.baseline())


def test_gap_is_relative_to_the_validation_loss(table):
    seen, unseen = evaluate(random_outputs(table, 1)), evaluate(random_outputs(table, 2))
    for gap, a, b in zip(gaps(seen, unseen), seen, unseen, strict=True):
        assert gap == pytest.approx((b.loss - a.loss) / b.loss)
        assert gap != pytest.approx((b.loss - a.loss) / a.loss, rel=1e-9)
    nothing = [replace(one, loss=None) for one in seen]
    assert set(gaps(nothing, unseen)) == {None}

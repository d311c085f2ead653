"""Confidence penalty: CE − β·H(p) by its formula, by its gradient, and in training alone."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from polytask.data.batch import Batch
from polytask.errors import InvalidArgument
from polytask.regularization.inputs import Mixing
from polytask.regularization.outputs import Distillation, TeacherOutputs
from polytask.tasks import Binary, Multiclass, Multilabel, TaskGroup, build_spec, group_tasks
from polytask.tasks.confidence import confidence, two_class_confidence
from polytask.training.losses import example_of, training_sums
from polytask.training.measure import group_losses, own_loss
from polytask.training.teaching import Teaching

BETAS = (0.1, 0.7, 2.0)
ROWS, CLASSES = 24, 4
EXACT = {"rtol": 1e-12, "atol": 1e-13}


def double(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3.0 * torch.randn(shape, generator=generator, dtype=torch.float64)


def entropy(chances: Tensor) -> Tensor:
    """From probabilities, not from logits."""
    return -(chances * chances.log()).sum(-1)


def surprise(chances: Tensor, label: int) -> Tensor:
    return -chances[..., label].log()


def chances_of(spec: object, output: Tensor) -> Tensor:
    """``[labels, classes]`` of one row, written with exponentials."""
    if isinstance(spec, Multiclass):
        return (output.exp() / output.exp().sum())[None]
    chance = 1 / (1 + (-output).exp())
    return torch.stack([1 - chance, chance], -1)


def paper(spec: object, weights: object, output: Tensor, target: Tensor) -> Tensor:
    """One row: the mean over its observed labels of w_y (CE + β (log C − H(p)))."""
    terms = []
    labels = target.reshape(-1).long().tolist()
    for place, (chances, label) in enumerate(zip(chances_of(spec, output), labels, strict=True)):
        if label < 0:
            continue
        own = (
            1.0 if weights is None else np.asarray(weights).reshape(-1, len(chances))[place, label]
        )
        sure = math.log(len(chances)) - entropy(chances)
        terms.append(own * (surprise(chances, label) + spec.confidence_penalty * sure))
    return torch.stack(terms).mean()


def cells_of(kind: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    if kind == "multilabel":
        cells = (rng.random((ROWS, 3)) < 0.3).astype(float)
        cells[:2] = [[0, 1, 0], [1, 0, 1]]
        cells[2:][rng.random((ROWS - 2, 3)) < 0.4] = np.nan
        cells[np.isnan(cells).all(1), 1] = 1.0
        return cells
    cells = (rng.random(ROWS) < 0.3).astype(float)
    return np.arange(ROWS) % CLASSES * (1 - cells) if kind == "multiclass" else cells


def situation(kind: str, beta: float, class_weight: str = "none"):
    columns = ("a", "b", "c") if kind == "multilabel" else ()
    cells = cells_of(kind)
    task = build_spec(
        kind, "y", columns=columns, confidence_penalty=beta, class_weight=class_weight
    ).fit(cells)
    target, _ = task.encode(cells)
    return task, double(ROWS, task.outputs, seed=2), target


KINDS = ("binary", "multiclass", "multilabel")


@pytest.mark.parametrize("class_weight", ["none", "balanced"])
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradient_are_those_of_the_formula(kind, beta, class_weight):
    task, output, target = situation(kind, beta, class_weight)
    values, gradients = [], []
    for row in range(ROWS):
        leaf = output[row].clone().requires_grad_()
        value = paper(task.spec, task.class_weights, leaf, target[row])
        gradients.append(torch.autograd.grad(value, leaf)[0])
        values.append(value.detach())
    leaf = output.clone().requires_grad_()
    found = task.training_loss(leaf, target)
    torch.testing.assert_close(found.detach(), torch.stack(values), rtol=1e-11, atol=1e-12)
    found.sum().backward()
    torch.testing.assert_close(leaf.grad, torch.stack(gradients), rtol=1e-10, atol=1e-12)


def closed(logits: Tensor, y: Tensor, beta: float) -> Tensor:
    """∂(CE − βH)/∂z_i = p_i − 1[i = y] + β p_i (log p_i + H)."""
    p = logits.softmax(-1)
    hot = torch.nn.functional.one_hot(y, logits.shape[-1])
    return p - hot + beta * p * (p.log() + entropy(p)[:, None])


def reversed_sign(logits: Tensor, y: Tensor, beta: float) -> Tensor:
    return closed(logits, y, -beta)


def without_the_mean(logits: Tensor, y: Tensor, beta: float) -> Tensor:
    """Wrong: the entropy in the bracket is forgotten, the logits drift."""
    p = logits.softmax(-1)
    return closed(logits, y, 0.0) + beta * p * p.log()


def smoothing(logits: Tensor, y: Tensor, beta: float) -> Tensor:
    """Wrong: the divergence the other way round, which is label smoothing."""
    p = logits.softmax(-1)
    return closed(logits, y, 0.0) + beta * (p - 1 / logits.shape[-1])


def check_gradient(form, beta: float) -> None:
    task, output, target = situation("multiclass", beta)
    leaf = output.clone().requires_grad_()
    task.training_loss(leaf, target).sum().backward()
    torch.testing.assert_close(leaf.grad, form(output, target, beta), **EXACT)


@pytest.mark.parametrize("beta", BETAS)
def test_the_closed_form_of_the_gradient(beta):
    check_gradient(closed, beta)
    task, output, target = situation("binary", beta)
    leaf = output.clone().requires_grad_()
    task.training_loss(leaf, target).sum().backward()
    z, p = output, output.sigmoid()
    torch.testing.assert_close(leaf.grad, p - target[:, None] + beta * z * p * (1 - p), **EXACT)


@pytest.mark.parametrize("wrong", [reversed_sign, without_the_mean, smoothing])
@pytest.mark.parametrize("beta", BETAS)
def test_a_wrong_gradient_is_found(wrong, beta):
    with pytest.raises(AssertionError):
        check_gradient(wrong, beta)


def test_two_classes_are_the_binary_case():
    z = double(50, seed=3)
    both = torch.stack([torch.zeros_like(z), z], -1)
    torch.testing.assert_close(two_class_confidence(z), confidence(both), **EXACT)


@pytest.mark.parametrize("size", [0.0, 1e-4, 40.0, 1e4, 1e30])
def test_certain_and_uncertain_logits_have_finite_values_and_gradients(size):
    z = torch.tensor([size, -size], requires_grad=True)
    both = torch.stack([torch.zeros_like(z), z], -1)
    limit = math.log(2) if size >= 40 else 0.0
    for found in (two_class_confidence(z), confidence(both)):
        (gradient,) = torch.autograd.grad(found.sum(), z, retain_graph=True)
        torch.testing.assert_close(found, torch.full((2,), limit), rtol=0, atol=1e-6)
        torch.testing.assert_close(gradient, torch.zeros(2), rtol=0, atol=1e-4)


def test_from_probabilities_it_would_not_be_finite():
    """What the log domain is for: p log p of an underflown p is not a number."""
    chances = torch.tensor([0.0, 200.0]).softmax(-1)
    assert math.isnan(float(entropy(chances)))
    assert float(confidence(torch.tensor([0.0, 200.0]))) == pytest.approx(math.log(2))


@pytest.mark.parametrize("kind", KINDS)
def test_no_training_loss_is_negative(kind):
    """Methods that look at losses need it; CE − βH itself falls below 0."""
    task, output, target = situation(kind, 2.0)
    assert (task.training_loss(output, target) >= 0).all()
    plain = situation("binary", 2.0)[0]
    z, y = torch.tensor([[1.5]]), torch.tensor([1.0])
    assert float(plain.loss(z, y) - 2.0 * (math.log(2) - two_class_confidence(z[:, 0]))) < 0
    assert float(plain.training_loss(z, y)) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_only_training_sees_it(kind):
    """Losses of validation and reports, metrics and baselines are those without it."""
    with_it, output, target = situation(kind, 0.7, "balanced")
    without, _, _ = situation(kind, 0.0, "balanced")
    assert torch.equal(with_it.loss(output, target), without.loss(output, target))
    assert torch.equal(with_it.baseline(), without.baseline())
    assert torch.equal(without.training_loss(output, target), without.loss(output, target))
    assert (with_it.training_loss(output, target) > with_it.loss(output, target)).any()
    groups = group_tasks([with_it])
    batch = batch_of(groups[0], target, torch.ones(ROWS, 1, dtype=torch.bool), None)
    outputs = {"y": output[:, None]}
    measured = group_losses(outputs, batch, groups).sums
    (trained,) = training_sums(outputs, example_of(batch, None), groups, None)
    torch.testing.assert_close(measured[0], without.loss(output, target).sum(), **EXACT)
    torch.testing.assert_close(trained[0], with_it.training_loss(output, target).sum(), **EXACT)


def batch_of(group: TaskGroup, target: Tensor, mask: Tensor, weights: Tensor | None) -> Batch:
    name = group.name
    inputs, rows = torch.zeros(ROWS, 1), torch.arange(ROWS)
    return Batch(inputs, {name: target[:, None]}, {name: mask}, weights, rows)


MASK = (torch.arange(ROWS) % 3 > 0)[:, None]
WEIGHTS = double(ROWS, seed=5).abs() + 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_label_adds_neither_loss_nor_entropy(kind):
    task, output, target = situation(kind, 0.7)
    groups = group_tasks([task])
    leaf = output.clone().requires_grad_()
    batch = batch_of(groups[0], target, MASK, WEIGHTS)
    (sums,) = training_sums({"y": leaf[:, None]}, example_of(batch, None), groups, None)
    sums.sum().backward()
    known = MASK[:, 0]
    expected = (WEIGHTS * task.training_loss(output, target))[known].sum()
    torch.testing.assert_close(sums[0].detach(), expected, **EXACT)
    assert not leaf.grad[~known].any()
    assert leaf.grad[known].any(-1).all()
    entropy_of_gaps = (0.7 * WEIGHTS * confidence_of(kind, output))[~known].sum()
    with pytest.raises(AssertionError):
        torch.testing.assert_close(sums[0].detach(), expected + entropy_of_gaps, **EXACT)


def confidence_of(kind: str, output: Tensor) -> Tensor:
    return confidence(output) if kind == "multiclass" else two_class_confidence(output).mean(-1)


def test_a_missing_cell_of_a_multilabel_row_adds_no_entropy():
    task, output, target = situation("multilabel", 0.7)
    leaf = output.clone().requires_grad_()
    task.training_loss(leaf, target).sum().backward()
    assert (target < 0).any()
    assert not leaf.grad[target < 0].any()
    assert leaf.grad[target >= 0].all()


@pytest.mark.parametrize("kind", KINDS)
def test_members_of_an_ensemble_are_penalised_one_by_one(kind):
    task, _, target = situation(kind, 0.7)
    (group,) = group_tasks([task])
    outputs = double(ROWS, 5, 1, task.outputs, seed=6)
    found = own_loss(group, outputs, target[:, None])[:, 0]
    each = torch.stack([task.training_loss(outputs[:, m, 0], target) for m in range(5)])
    torch.testing.assert_close(found, each.mean(0), **EXACT)
    of_the_mean = task.loss(outputs[:, :, 0].transpose(0, 1), target.expand(5, *target.shape)).mean(
        0
    )
    of_the_mean = of_the_mean + 0.7 * confidence_of(
        kind, task.average(outputs[:, :, 0].transpose(0, 1))
    )
    with pytest.raises(AssertionError):
        torch.testing.assert_close(found, of_the_mean, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_mixed_rows_have_the_penalty_of_their_one_prediction(kind):
    """l (CE_i + βS) + (1 − l)(CE_j + βS) = the mixed cross-entropy + βS."""
    task, output, target = situation(kind, 0.7)
    groups = group_tasks([task])
    mixing = Mixing(torch.arange(ROWS).roll(1), double(ROWS, seed=7).sigmoid())
    everything = torch.ones(ROWS, 1, dtype=torch.bool)
    example = example_of(batch_of(groups[0], target, everything, None), mixing)
    (sums,) = training_sums({"y": output[:, None]}, example, groups, None)
    share = mixing.share
    mixed = share * task.loss(output, target)
    mixed = mixed + (1 - share) * task.loss(output, target[mixing.partner])
    expected = (mixed + 0.7 * confidence_of(kind, output)).sum()
    torch.testing.assert_close(sums[0], expected, **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_beside_a_teacher_it_belongs_to_the_loss_on_labels(kind):
    task, output, target = situation(kind, 0.7)
    groups = group_tasks([task])
    wanted = double(ROWS, 1, task.outputs, seed=8)
    teacher = TeacherOutputs.empty(groups, ROWS, torch.device("cpu"))
    teacher.fill({"y": wanted.float()}, torch.arange(ROWS), ["y"])
    teaching = Teaching(groups, teacher, Distillation(weight=0.25, temperature=2.0))
    example = example_of(batch_of(groups[0], target, MASK, None), None)
    (sums,) = training_sums({"y": output[:, None]}, example, groups, teaching)
    distilled = task.distillation_loss(output, wanted[:, 0].float(), 2.0)
    expected = (0.75 * task.training_loss(output, target) + 0.25 * distilled)[MASK[:, 0]].sum()
    torch.testing.assert_close(sums[0], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("spec", [Binary, Multiclass])
def test_strengths_are_checked_and_tasks_of_other_strength_stay_apart(spec):
    for beta in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InvalidArgument, match="confidence_penalty of target 'y'"):
            spec("y", confidence_penalty=beta)
    cells = np.array([0, 1, 2, 1]) if spec is Multiclass else np.array([0, 1, 1, 0])
    tasks = [
        spec(name, confidence_penalty=b).fit(cells)
        for name, b in zip("abc", (0.1, 0.2, 0.1), strict=True)
    ]
    assert [group.indices for group in group_tasks(tasks)] == [(0, 2), (1,)]
    assert "confidence penalty 0.1" in tasks[0].describe()


def test_numbers_have_no_entropy():
    for kind in ("regression", "count"):
        with pytest.raises(InvalidArgument, match=r"`confidence_penalty` does not apply"):
            build_spec(kind, "y", confidence_penalty=0.1)
    with pytest.raises(InvalidArgument, match="confidence_penalty"):
        Multilabel("y", columns=("a", "b"), confidence_penalty=-1.0)

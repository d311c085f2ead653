"""Every kind's distance from a teacher, against torch, scikit-learn and the task's own loss."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from polytask.errors import Unsupported
from polytask.tasks import SPECS, Regression, Task, group_tasks

KINDS = list(SPECS)
CLASSES = ["binary", "multiclass", "multilabel"]
TAUS = [1.0, 2.0, 5.0]


def raw(task, *shape: int, seed: int = 0, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(*shape, task.outputs, generator=generator, dtype=torch.float64)
    return scale * made


@pytest.fixture(params=KINDS)
def task(request, columns):
    spec, cells = columns[request.param]
    return spec.fit(cells)


def probabilities(kind: str, logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """[rows, distributions, classes], every softened distribution written out."""
    if kind == "multiclass":
        return torch.softmax(logits / temperature, -1)[:, None]
    positive = torch.sigmoid(logits / temperature)
    return torch.stack([1 - positive, positive], -1)


def by_torch(kind: str, output, teacher, temperature: float, factor: float) -> torch.Tensor:
    """KL(teacher ‖ student): `kl_div` takes the student's logarithms first."""
    own, wanted = (probabilities(kind, z, temperature) for z in (output, teacher))
    divergence = functional.kl_div(own.log(), wanted, reduction="none").sum(-1)
    return factor * divergence.mean(-1)


# All kinds ---------------------------------------------------------------------------------------


def test_zero_and_flat_at_the_teacher(task):
    teacher = raw(task, 50)
    output = teacher.clone().requires_grad_()
    loss = task.distillation_loss(output, teacher, 3.0)
    assert loss.shape == (50,)
    assert float(loss.detach().abs().max()) < 1e-13
    loss.sum().backward()
    assert float(output.grad.abs().max()) < 1e-13


def test_positive_away_from_the_teacher(task):
    loss = task.distillation_loss(raw(task, 200, seed=1), raw(task, 200), 3.0)
    assert float(loss.min()) > 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "regression"])
def test_the_labels_loss_is_no_distance(columns, kind):
    """Were the own loss on the teacher's decisions used, equality would not be 0."""
    spec, cells = columns[kind]
    task = spec.fit(cells)
    teacher = raw(task, 50)
    target = {
        "multiclass": lambda z: z.argmax(-1),
        "multilabel": lambda z: (z > 0).to(torch.int8),
        "binary": lambda z: (z[:, 0] > 0).double(),
        "count": lambda z: z[:, 0].exp(),
    }[kind](teacher)
    assert float(task.loss(teacher, target).max()) > 0.1


def test_no_gradient_reaches_the_teacher(task):
    """At the task itself, too: the sum must not be lowered by moving the teacher."""
    teacher = raw(task, 8).requires_grad_()
    output = raw(task, 8, seed=1).requires_grad_()
    task.distillation_loss(output, teacher, 2.0).sum().backward()
    assert teacher.grad is None
    assert output.grad.abs().sum() > 0


def test_leading_axes_are_free_and_the_teacher_has_no_members(task):
    """[rows, members, k, outputs] follow [rows, 1, k, outputs]."""
    output, teacher = raw(task, 6, 3, 2, seed=1), raw(task, 6, 1, 2)
    together = task.distillation_loss(output, teacher, 2.0)
    assert together.shape == (6, 3, 2)
    for member in range(3):
        for k in range(2):
            one = task.distillation_loss(output[:, member, k], teacher[:, 0, k], 2.0)
            assert torch.allclose(together[:, member, k], one, rtol=1e-12, atol=1e-14)
    shifted = task.distillation_loss(output[:, 0, 0], teacher[:, 0, 1], 2.0)
    assert not torch.allclose(together[:, 0, 0], shifted)


def test_a_group_is_its_tasks(columns, task):
    (group,) = group_tasks([task])
    output, teacher = raw(task, 5, 1, seed=1), raw(task, 5, 1)
    found = group.distillation_loss(output, teacher, 2.0)
    assert found.shape == (5, 1)
    assert torch.equal(found, task.distillation_loss(output, teacher, 2.0))


def test_half_precision_is_judged_in_single(task):
    output, teacher = raw(task, 9, seed=1).bfloat16(), raw(task, 9).bfloat16()
    half = task.distillation_loss(output, teacher, 2.0)
    assert half.dtype == torch.float32
    assert torch.equal(half, task.distillation_loss(output.float(), teacher.float(), 2.0))


def test_sure_outputs_stay_finite(task):
    scale = 20.0 if task.spec.kind in ("count", "regression") else 1e4
    output = raw(task, 50, seed=1, scale=scale).float().requires_grad_()
    loss = task.distillation_loss(output, raw(task, 50, scale=scale).float(), 1.0)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(output.grad).all()


# Classes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", TAUS)
@pytest.mark.parametrize("kind", CLASSES)
def test_classes_equal_torchs_divergence(columns, kind, temperature):
    spec, cells = columns[kind]
    task = spec.fit(cells)
    output, teacher = raw(task, 40, seed=1), raw(task, 40)
    found = task.distillation_loss(output, teacher, temperature)
    wanted = by_torch(kind, output, teacher, temperature, temperature**2)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    # Without τ², to the power 1, and the divergence the wrong way round.
    for factor in (1.0, temperature):
        mutant = by_torch(kind, output, teacher, temperature, factor)
        assert torch.allclose(found, mutant, rtol=0, atol=1e-3) == (temperature == 1)
    reversed_ = by_torch(kind, teacher, output, temperature, temperature**2)
    assert not torch.allclose(found, reversed_, rtol=0, atol=1e-3)
    # Softening one side only.
    own = probabilities(kind, output, 1.0).log()
    half = functional.kl_div(own, probabilities(kind, teacher, temperature), reduction="none")
    half = temperature**2 * half.sum(-1).mean(-1)
    assert torch.allclose(found, half, rtol=0, atol=1e-3) == (temperature == 1)


@pytest.mark.parametrize("kind", CLASSES)
def test_the_square_keeps_the_size_of_gradients(columns, kind):
    """In the limit of a large τ the gradient no longer depends on it."""
    spec, cells = columns[kind]
    task = spec.fit(cells)
    gradients = []
    for temperature in (1e3, 1e4):
        output = raw(task, 40, seed=1).requires_grad_()
        task.distillation_loss(output, raw(task, 40), temperature).sum().backward()
        gradients.append(output.grad)
    assert torch.allclose(*gradients, rtol=0, atol=1e-2)
    assert gradients[0].abs().max() > 0.2  # without the factor 10⁻⁶ of it would be left


def test_multiclass_ignores_a_shift_of_all_logits(columns):
    spec, cells = columns["multiclass"]
    task = spec.fit(cells)
    output, teacher = raw(task, 40, seed=1), raw(task, 40)
    found = task.distillation_loss(output + 7.0, teacher - 3.0, 2.0)
    assert torch.allclose(found, task.distillation_loss(output, teacher, 2.0))


# Counts ------------------------------------------------------------------------------------------


def test_counts_equal_half_the_deviance(columns):
    from sklearn.metrics import mean_poisson_deviance

    spec, cells = columns["count"]
    task = spec.fit(cells)
    output, teacher = raw(task, 40, seed=1), raw(task, 40)
    found = task.distillation_loss(output, teacher, 3.0)

    def deviance(truth, prediction) -> float:
        return mean_poisson_deviance(truth.exp().flatten(), prediction.exp().flatten())

    wanted = [deviance(teacher[i], output[i]) / 2 for i in range(40)]
    assert found.numpy() == pytest.approx(np.array(wanted), rel=1e-10, abs=1e-12)
    mutant = [deviance(output[i], teacher[i]) / 2 for i in range(40)]
    assert found.numpy() != pytest.approx(np.array(mutant), rel=1e-3)


def test_counts_near_a_teacher_with_large_rates(columns):
    """Terms of 10⁶ cancel down to 0.05: single precision has nothing left."""
    spec, cells = columns["count"]
    task = spec.fit(cells)
    teacher = torch.full((1, 1), float(np.log(1e6)))
    output = teacher + 3e-4
    own, wanted = output.double(), teacher.double()
    exact = float(own.exp() - wanted.exp() + wanted.exp() * (wanted - own))
    found = task.distillation_loss(output, teacher, 1.0)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(exact, rel=1e-5)
    rate = teacher.exp()
    assert float(output.exp() - rate + rate * (teacher - output)) != pytest.approx(exact, rel=1e-3)


# Numbers -----------------------------------------------------------------------------------------

NUMBERS = [Regression("t"), Regression("t", loss="absolute"), Regression("t", loss="huber")]


@pytest.mark.parametrize("spec", NUMBERS, ids=lambda spec: spec.loss)
def test_numbers_take_the_teacher_for_the_label(spec):
    task = spec.fit(np.arange(5.0))
    output, teacher = raw(task, 40, 3, seed=1), raw(task, 40, 3)
    found = task.distillation_loss(output, teacher, 2.0)
    assert torch.equal(found, task.loss(output, teacher.squeeze(-1)))
    assert torch.equal(found, task.distillation_loss(output, teacher, 7.0))  # nothing to soften
    reference = {
        "squared": functional.mse_loss,
        "absolute": functional.l1_loss,
        "huber": functional.huber_loss,
    }
    for name, function in reference.items():
        wanted = function(output, teacher, reduction="none").squeeze(-1)
        assert torch.allclose(found, wanted) == (name == spec.loss)


def test_a_kind_without_a_distance_says_so(columns):
    class Custom(Task):
        def encode(self, values): ...
        def loss(self, output, target): ...
        def predict(self, output): ...
        def metrics(self): ...
        def baseline(self): ...
        def state(self): ...
        @classmethod
        def from_state(cls, spec, state): ...

    custom = Custom()
    custom.spec = Regression("dose")
    with pytest.raises(Unsupported, match="'dose' of the kind 'regression' cannot follow"):
        custom.distillation_loss(torch.zeros(1, 1), torch.zeros(1, 1), 1.0)

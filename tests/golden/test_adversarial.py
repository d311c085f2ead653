"""Adversarial training against the paper's closed form and autograd on the formula."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from polytask import Binary, MultiTaskModel, Regression
from polytask.backbones import MLP
from polytask.balancing import FixedWeights, UncertaintyWeights
from polytask.data import Batch
from polytask.data.batches import label_counts
from polytask.regularization.inputs import Adversarial, Mixup
from polytask.regularization.update import SAM
from polytask.training import Defence
from polytask.training.step import Step

DEVIATION = 1e-12
EPSILON, SHARE, RATE = 0.2, 0.3, 0.1


def distance(first, second) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))


def test_logistic_regression_is_the_closed_form_of_the_paper():
    """ζ(ε‖w‖₁ − y (wᵀx + b)) with y = ±1 and ζ the softplus: section 5 of the paper."""
    torch.manual_seed(0)
    x, w, b = torch.randn(20, 6).double(), torch.randn(6).double(), torch.tensor(0.3).double()
    y = torch.sign(torch.randn(20).double())
    x.requires_grad_()
    functional.softplus(-y * (x @ w + b)).mean().backward()
    moved = Adversarial(EPSILON).moved(x)
    found = functional.softplus(-y * (moved @ w + b)).mean()
    expected = functional.softplus(EPSILON * w.abs().sum() - y * (x.detach() @ w + b)).mean()
    assert abs(float(found - expected)) < DEVIATION
    descending = functional.softplus(-y * ((2 * x.detach() - moved) @ w + b)).mean()
    assert abs(float(descending - expected)) > 0.1


def table() -> tuple[list, Batch]:
    """Two tasks of different kinds with gaps, and row weights."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(24, 4, generator=generator, dtype=torch.float64)
    a, b = x.sum(1).sin(), (x[:, 0] > x[:, 1]).double()
    a[::5], b[1::7] = torch.nan, torch.nan
    tasks = [Regression("a").fit(a.numpy()), Binary("b").fit(b.numpy())]
    encoded = {task.name: task.encode(v.numpy()) for task, v in zip(tasks, (a, b), strict=True)}
    batch = Batch(
        x,
        {name: target[:, None].double() for name, (target, _) in encoded.items()},
        {name: mask[:, None] for name, (_, mask) in encoded.items()},
        torch.tensor([0.5, 1.0, 2.0]).repeat(8),
        torch.arange(24),
    )
    return tasks, batch


def network(tasks, **options) -> MultiTaskModel:
    torch.manual_seed(4)
    options = {"dropout": 0.0, **options}
    return MultiTaskModel.hard(
        MLP(4, width=24, depth=2, activation="tanh", **options), tasks
    ).double()


def updated(balance=None, parts: int = 1, defence=None, **options) -> tuple[MultiTaskModel, Step]:
    tasks, batch = table()
    model = network(tasks, **options)
    balance = balance or FixedWeights([3.0, 0.2])
    parameters = [*model.parameters(), *balance.parameters()]
    step = Step(
        model, model.groups, balance, torch.optim.SGD(parameters, lr=RATE), 0.0,
        defence or Defence(adversarial=Adversarial(EPSILON, SHARE)),
    )  # fmt: skip
    batches = [
        Batch(
            batch.inputs[part::parts],
            {key: value[part::parts] for key, value in batch.targets.items()},
            {key: value[part::parts] for key, value in batch.masks.items()},
            batch.row_weights[part::parts],
            batch.rows[part::parts],
        )
        for part in range(parts)
    ]
    torch.manual_seed(5)
    assert step.update((batches, label_counts(batch)))
    return model, step


def by_hand(mutant: str = "", **options) -> list[Tensor]:
    """α J(x) + (1 − α) J(x + ε sign ∂J/∂x) written out, differentiated once."""
    tasks, batch = table()
    model = network(tasks, **options)
    groups = {group.name: group for group in model.groups}

    def losses(x: Tensor, seed: int) -> Tensor:
        torch.manual_seed(seed)  # the dropout masks
        outputs = model(x).outputs
        found = []
        for name, group in groups.items():
            weights = batch.row_weights[:, None] * batch.masks[name]
            found.append(
                (group.loss(outputs[name], batch.targets[name]) * weights).sum() / weights.sum()
            )
        return torch.stack(found)

    factors = torch.tensor([3.0, 0.2], dtype=torch.float64) / 3.2
    x = batch.inputs.clone().requires_grad_()
    clean = losses(x, 5)
    up = factors if mutant != "losses of equal weight" else torch.full_like(factors, 0.5)
    direction = torch.autograd.grad(up @ clean, x, retain_graph=True)[0]
    step = {"descends": -direction.sign(), "no sign": direction / direction.norm()}.get(
        mutant, direction.sign()
    )
    moved = x.detach() + EPSILON * step
    worse = losses(moved, 6 if mutant == "other masks" else 5)
    share = {"shares swapped": 1 - SHARE, "adversarial alone": 0.0}.get(mutant, SHARE)
    objective = share * factors @ clean + (1 - share) * factors @ worse
    gradients = torch.autograd.grad(objective, list(model.parameters()))
    return [p.detach() - RATE * g for p, g in zip(model.parameters(), gradients, strict=True)]


def weights_of(model: nn.Module) -> list[Tensor]:
    return [p.detach() for p in model.parameters()]


MUTANTS = [
    "descends", "no sign", "losses of equal weight", "other masks", "shares swapped",
    "adversarial alone",
]  # fmt: skip


def test_one_update_is_the_gradient_of_the_formula_with_the_same_dropout_masks():
    model, _ = updated(dropout=0.2)
    assert distance(weights_of(model), by_hand(dropout=0.2)) < DEVIATION


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_other_methods(mutant):
    model, _ = updated(dropout=0.2)
    assert distance(weights_of(model), by_hand(mutant, dropout=0.2)) > 1e-5


def test_micro_batches_are_one_batch():
    whole, _ = updated()
    parts, _ = updated(parts=3)
    assert distance(weights_of(whole), weights_of(parts)) < DEVIATION


def test_batch_statistics_move_once_and_by_the_rows_as_they_are():
    adversarial, _ = updated(normalization="batch")
    plain, _ = updated(normalization="batch", defence=Defence())
    found, wanted = dict(adversarial.named_buffers()), dict(plain.named_buffers())
    names = [name for name in wanted if "running" in name or "tracked" in name]
    assert names
    assert all(torch.equal(found[name], wanted[name]) for name in names)
    assert distance(weights_of(adversarial), weights_of(plain)) > 1e-4


def test_what_is_reported_are_the_losses_of_the_rows_as_they_are():
    _, adversarial = updated()
    _, plain = updated(defence=Defence())
    assert torch.equal(adversarial.totals, plain.totals)


def test_learned_task_weights_follow_the_rows_as_they_are():
    balances = [UncertaintyWeights(["regression", "classification"]).double() for _ in range(2)]
    updated(balances[0])
    updated(balances[1], defence=Defence())
    assert all(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in balances), strict=True))


def test_random_streams_go_on_as_if_there_were_one_pass():
    updated(dropout=0.2)
    after = torch.rand(1)
    updated(dropout=0.2, defence=Defence())
    assert torch.equal(after, torch.rand(1))


@pytest.mark.parametrize("beside", ["mixup", "sam"])
def test_it_acts_beside(beside):
    other = {"inputs": (Mixup(0.5),)} if beside == "mixup" else {"sam": SAM(0.1)}
    both, _ = updated(defence=Defence(adversarial=Adversarial(EPSILON), **other))
    alone, _ = updated(defence=Defence(**other))
    assert distance(weights_of(both), weights_of(alone)) > 1e-5


def test_mixed_rows_are_moved_with_their_mixed_losses():
    """Mixup with one share of one half everywhere: rows and losses of both partners."""
    tasks, batch = table()
    whole = batch._replace(
        masks={k: torch.ones_like(m) for k, m in batch.masks.items()}, row_weights=None
    )
    whole = whole._replace(targets={k: t.nan_to_num() for k, t in whole.targets.items()})
    partner = torch.arange(24).flip(0)

    class Half:
        mixes = True

        def __call__(self, batch: Batch):
            from polytask.regularization.inputs import Mixing

            mixed = 0.5 * (batch.inputs + batch.inputs[partner])
            share = torch.full((24,), 0.5, dtype=torch.float64)
            return batch._replace(inputs=mixed), Mixing(partner, share)

    model = network(tasks)
    step = Step(
        model, model.groups, FixedWeights([1.0, 1.0]),
        torch.optim.SGD(model.parameters(), lr=RATE), 0.0,
        Defence(inputs=(Half(),), adversarial=Adversarial(EPSILON, SHARE)),
    )  # fmt: skip
    assert step.update(([whole], label_counts(whole)))

    other = network(tasks)

    def objective(x: Tensor) -> Tensor:
        outputs, total = other(x).outputs, torch.zeros((), dtype=torch.float64)
        for group in other.groups:
            for rows in (torch.arange(24), partner):
                target = whole.targets[group.name][rows]
                total = total + 0.25 * group.loss(outputs[group.name], target).mean()
        return total

    x = (0.5 * (whole.inputs + whole.inputs[partner])).requires_grad_()
    clean = objective(x)
    (direction,) = torch.autograd.grad(clean, x, retain_graph=True)
    total = SHARE * clean + (1 - SHARE) * objective(x.detach() + EPSILON * direction.sign())
    gradients = torch.autograd.grad(total, list(other.parameters()))
    wanted = [p.detach() - RATE * g for p, g in zip(other.parameters(), gradients, strict=True)]
    assert distance(weights_of(model), wanted) < DEVIATION


def test_inputs_that_are_not_numbers_skip_the_update():
    tasks, batch = table()
    batch.inputs[0, 0] = torch.nan
    model = network(tasks, normalization="batch")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    step = Step(
        model, model.groups, FixedWeights([1.0, 1.0]),
        torch.optim.SGD(model.parameters(), lr=RATE), 0.0,
        Defence(adversarial=Adversarial(EPSILON)),
    )  # fmt: skip
    assert not step.update(([batch], label_counts(batch)))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

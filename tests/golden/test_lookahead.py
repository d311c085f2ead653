"""Lookahead against its closed form on a quadratic and a second implementation in the trainer."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from polytask import MultiTaskModel, Regression, Trainer
from polytask.backbones import MLP
from polytask.data import Batch, ResidentBatches
from polytask.optim import OptimizerSpec
from polytask.regularization.update import Lookahead
from polytask.regularization.weights import EMA
from polytask.training import Defence, NoStopping

DEVIATION = 1e-12


def distance(first, second) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("every", "share"), [(5, 0.4), (3, 0.8), (1, 0.3)])
def test_gradient_descent_on_a_quadratic_contracts_by_the_factor_of_the_paper(every, share):
    """With gradient descent, one round multiplies w by 1 − α + α (1 − ηh)^k."""
    curvature = torch.tensor([0.5, 2.0], dtype=torch.float64)
    model = nn.Linear(2, 1, bias=False).double()
    model.weight.data.fill_(1.0)
    optimizer, lookahead = SGD(model.parameters(), lr=0.3), Lookahead(every, share)
    lookahead.start(model)
    for update in range(1, 4 * every + 1):
        optimizer.zero_grad()
        (0.5 * (curvature * model.weight.square()).sum()).backward()
        optimizer.step()
        lookahead.update(model, update)
    factor = 1 - share + share * (1 - 0.3 * curvature) ** every
    assert distance([model.weight.detach()[0]], [factor**4]) < DEVIATION
    for wrong in (
        share + (1 - share) * (1 - 0.3 * curvature) ** every,
        1 - share + share * (1 - 0.3 * curvature) ** (every + 1),
    ):
        assert distance([model.weight.detach()[0]], [wrong**4]) > 1e-3


def problem() -> tuple[MultiTaskModel, Regression, ResidentBatches, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(32, 4, generator=generator, dtype=torch.float64)
    values = inputs.sum(1).sin()
    task = Regression("y").fit(values.numpy())
    target, mask = task.encode(values.numpy())
    target = target.double()
    table = Batch(inputs, {"y": target[:, None]}, {"y": mask[:, None]}, None, torch.arange(32))
    torch.manual_seed(2)
    model = MultiTaskModel.hard(MLP(4, width=6, depth=1, dropout=0.0), [task]).double()
    return model, task, ResidentBatches(table, batch_size=32), inputs, target


def by_hand(updates: int, mutant: str = "") -> tuple[list[Tensor], list[Tensor]]:
    """SGD with momentum inside, k = 5, α = 0.5: slow weights, and an EMA of what trains."""
    model, _, _, inputs, target = problem()
    fast = {name: p.detach().clone() for name, p in model.named_parameters()}
    slow = dict(fast)
    speed = {name: torch.zeros_like(p) for name, p in fast.items()}
    average: dict[str, Tensor] = {}

    def loss(values: dict[str, Tensor]) -> Tensor:
        output = torch.func.functional_call(model, values, inputs).outputs["y"]
        return (output[:, 0, 0] - target).square().mean()

    gradient = torch.func.grad(loss)
    for update in range(1, updates + 1):
        found = gradient(fast)
        speed = {name: 0.9 * speed[name] + g for name, g in found.items()}
        fast = {name: w - 0.05 * speed[name] for name, w in fast.items()}
        before = fast
        if update % (4 if mutant == "k − 1" else 5) == 0:
            slow = {name: w + 0.5 * (fast[name] - w) for name, w in slow.items()}
            if mutant != "the fast weights go on":
                fast = slow
            if mutant == "momentum reset":
                speed = {name: torch.zeros_like(p) for name, p in fast.items()}
        taken = before if mutant == "averaged before" else fast
        average = {n: 0.9 * average.get(n, w) + 0.1 * w for n, w in taken.items()}
    kept = fast if mutant == "fast weights kept" else slow
    return list(kept.values()), list(average.values())


def trained(epochs: int, **defence) -> list[Tensor]:
    """One update per epoch, the last weights kept."""
    model, task, batches, _, _ = problem()
    Trainer(
        model,
        [task],
        optimizer=OptimizerSpec("sgd", learning_rate=0.05, weight_decay=0.0, momentum=0.9),
        defence=Defence(lookahead=Lookahead(5, 0.5), **defence),
        clip_norm=0.0,
        epochs=epochs,
        stopping=NoStopping(),
    ).fit(batches)
    return [p.detach() for p in model.parameters()]


def test_the_trainer_keeps_the_slow_weights_of_the_formula():
    assert distance(trained(23), by_hand(23)[0]) < DEVIATION


@pytest.mark.parametrize(
    "mutant", ["k − 1", "the fast weights go on", "momentum reset", "fast weights kept"]
)
def test_mutants_are_other_methods(mutant):
    assert distance(trained(23), by_hand(23, mutant)[0]) > 1e-4


def test_an_average_takes_in_the_weights_after_the_step_back():
    found = trained(10, averaging=EMA(0.9, warmup=False))
    assert distance(found, by_hand(10)[1]) < DEVIATION
    assert distance(found, by_hand(10, "averaged before")[1]) > 1e-4

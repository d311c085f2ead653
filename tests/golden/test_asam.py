"""ASAM against scipy's worst point, a second implementation, and the law that gave it its name."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD

from polytask import MultiTaskModel, Regression, Trainer
from polytask.backbones import MLP
from polytask.data import Batch, ResidentBatches
from polytask.optim import OptimizerSpec, parameter_kinds
from polytask.optim.roles import Kind, ParameterInfo, Role
from polytask.regularization.update import ASAM, SAM, unscaled
from polytask.training import Defence, NoStopping

DEVIATION = 1e-12


def distance(first, second) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))


def test_the_climb_is_the_worst_point_that_scipy_finds():
    """Argmax of g·ε under ‖T⁻¹ε‖ ≤ ρ, two weights and a bias."""
    w, b = torch.tensor([1.5, -0.2], dtype=torch.float64), torch.tensor([4.0], dtype=torch.float64)
    weight, bias = nn.Parameter(w.clone()), nn.Parameter(b.clone())
    weight.grad, bias.grad = torch.tensor([0.7, -2.0]).double(), torch.tensor([0.4]).double()
    asam = ASAM(0.3, eta=0.05)
    asam.leave([bias])
    asam.climb_([weight, bias])
    found = torch.cat([weight.detach() - w, bias.detach() - b]).numpy()
    scale, gradient = np.array([1.55, 0.25, 1.0]), np.array([0.7, -2.0, 0.4])
    radius = {"type": "ineq", "fun": lambda e: 0.3**2 - np.sum((e / scale) ** 2)}
    best = minimize(
        lambda e: -gradient @ e,
        np.full(3, 0.01),
        jac=lambda e: -gradient,
        constraints=[radius],
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    assert found == pytest.approx(best.x, abs=1e-6)
    for mutant in (np.ones(3), np.sqrt(scale), np.array([1.55, 0.25, 4.05])):
        other = 0.3 * mutant**2 * gradient / np.linalg.norm(mutant * gradient)
        assert other != pytest.approx(best.x, abs=1e-3)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3)).double()


def rows(count: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    return inputs, torch.randn(count, 3, generator=generator, dtype=torch.float64)


def trained_with_polytask(steps: int = 20) -> list[Tensor]:
    net, (inputs, targets), asam = network(), rows(), ASAM(0.4, eta=0.02)
    parameters = list(net.parameters())
    asam.leave(p for name, p in net.named_parameters() if name.endswith("bias"))
    optimizer = SGD(parameters, lr=0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.mse_loss(net(inputs), targets).backward()
        saved = asam.climb_(parameters)
        optimizer.zero_grad()
        functional.mse_loss(net(inputs), targets).backward()
        asam.restore_(saved)
        optimizer.step()
    return [p.detach() for p in parameters]


def worst(weights: dict[str, Tensor], gradient: dict[str, Tensor], mutant: str, rho: float = 0.4,
          eta: float = 0.02) -> dict[str, Tensor]:  # fmt: skip
    """Flat vectors and a diagonal matrix, as the paper writes it."""
    flat = torch.cat([value.flatten() for value in weights.values()])
    g = torch.cat([value.flatten() for value in gradient.values()])
    biases = torch.cat([torch.full((v.numel(),), n.endswith("bias")) for n, v in weights.items()])
    diagonal = flat.abs() + (0.0 if mutant == "without eta" else eta)
    if mutant != "scaled biases":
        diagonal = torch.where(biases, 1.0, diagonal)
    t = torch.diag(diagonal)
    up = (t if mutant == "T once" else t @ t) @ g
    length = torch.linalg.vector_norm(g if mutant == "norm of g" else t @ g)
    moved = flat + rho * up / length
    pieces = moved.split([value.numel() for value in weights.values()])
    return {n: p.view_as(weights[n]) for n, p in zip(weights, pieces, strict=True)}


def trained_by_hand(mutant: str = "", steps: int = 20) -> list[Tensor]:
    net, (inputs, targets) = network(), rows()
    weights = {name: p.detach().clone() for name, p in net.named_parameters()}
    speeds = {name: torch.zeros_like(w) for name, w in weights.items()}

    def loss(values: dict[str, Tensor]) -> Tensor:
        return ((torch.func.functional_call(net, values, inputs) - targets) ** 2).mean()

    gradient = torch.func.grad(loss)
    for _ in range(steps):
        second = gradient(worst(weights, gradient(weights), mutant))
        for name, value in second.items():
            speeds[name] = 0.9 * speeds[name] + value
            weights[name] = weights[name] - 0.1 * speeds[name]
    return list(weights.values())


def test_twenty_steps_with_momentum_equal_a_second_implementation():
    assert distance(trained_with_polytask(), trained_by_hand()) < DEVIATION


@pytest.mark.parametrize("mutant", ["T once", "norm of g", "scaled biases", "without eta"])
def test_mutants_are_other_methods(mutant):
    assert distance(trained_with_polytask(), trained_by_hand(mutant)) > 1e-4


@pytest.mark.parametrize("adaptive", [True, False])
def test_the_worst_loss_does_not_see_how_a_network_is_written_down(adaptive):
    """One layer times 5, the next divided by 5: the same function, the same worst loss nearby."""
    inputs, targets = rows()
    losses = []
    for factor in (1.0, 5.0):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False))
        net = net.double()
        with torch.no_grad():
            net[0].weight.mul_(factor)
            net[2].weight.div_(factor)
        functional.mse_loss(net(inputs), targets).backward()
        climb = ASAM(0.4, eta=0.0) if adaptive else SAM(0.4)
        climb.climb_(list(net.parameters()))
        losses.append(float(functional.mse_loss(net(inputs), targets).detach()))
    assert (abs(losses[0] - losses[1]) < DEVIATION) == adaptive


def test_what_is_left_in_its_own_units_is_what_the_authors_names_say():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Embedding(4, 2), nn.LayerNorm(2))
    kinds = parameter_kinds(net)
    infos = [
        ParameterInfo(name, p, Role.BACKBONE, kinds[name], frozenset("a"))
        for name, p in net.named_parameters()
    ]
    left = {id(p) for p in unscaled(infos)}
    names = {name for name, p in net.named_parameters() if id(p) in left}
    assert names == {name for name in kinds if "weight" not in name}
    scalar = nn.Parameter(torch.zeros(()))
    missing = nn.Parameter(torch.zeros(2))
    for kind, p in ((Kind.SCALAR, scalar), (Kind.MISSING, missing)):
        assert unscaled([ParameterInfo("weight", p, Role.BACKBONE, kind, frozenset("a"))]) == [p]


@pytest.mark.parametrize("own_optimizer", [False, True])
def test_the_trainer_takes_the_step_of_the_formula_biases_apart(own_optimizer):
    """One full batch, plain SGD: w − η ∇L(w + ε), also where the optimizer is the user's own."""
    inputs, targets = rows()
    task = Regression("y").fit(targets[:, 0].numpy())
    target, mask = task.encode(targets[:, 0].numpy())
    table = Batch(
        inputs, {"y": target[:, None].double()}, {"y": mask[:, None]}, None, torch.arange(32)
    )
    torch.manual_seed(2)
    model = MultiTaskModel.hard(MLP(5, width=6, depth=2, dropout=0.0), [task]).double()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    def loss(values: dict[str, Tensor]) -> Tensor:
        output = torch.func.functional_call(model, values, inputs).outputs["y"]
        return (output[:, 0, 0] - target).square().mean()

    gradient = torch.func.grad(loss)
    expected = {}
    for mutant in ("", "scaled biases"):
        second = gradient(worst(before, gradient(before), mutant))
        expected[mutant] = [value - 0.1 * second[name] for name, value in before.items()]
    spec = OptimizerSpec("sgd", learning_rate=0.1, weight_decay=0.0, momentum=0.0)
    Trainer(
        model,
        [task],
        optimizer=SGD(model.parameters(), lr=0.1) if own_optimizer else spec,
        defence=Defence(sam=ASAM(0.4, eta=0.02)),
        clip_norm=0.0,
        epochs=1,
        stopping=NoStopping(),
    ).fit(ResidentBatches(table, batch_size=32))
    found = [p.detach() for p in model.parameters()]
    assert distance(found, expected[""]) < DEVIATION
    assert distance(found, expected["scaled biases"]) > 1e-5
